//! A lock: one holder at a time, whichever thread of whichever process.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::{Duration, Instant};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{AcquireError, How, Poisoned};
use super::owner;
use super::raw::mutex::{self, NotTaken, Taken};
use super::segment::{Crossing, Segment};
use crate::error::{Cause, Result};
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust::{self, OWNER, RobustCell};

/// A lock that one thread of one process holds at a time: CPython's `multiprocessing.Lock`.
///
/// Clone it for other threads, pass it to other processes as an argument or inside a message. To
/// acquire it gives a guard, which releases it when it is dropped. It is not reentrant
/// ([`RLock`](crate::RLock) is), and knows its holder: unlike CPython's, only the holder can
/// release it. (What one process acquires and another releases is a
/// [`Semaphore`](crate::Semaphore).)
///
/// If the holder dies, however that happens, the lock is released by the kernel, and whoever
/// acquires it next is told: [`AcquireError::Poisoned`]. A holder that panics poisons it, too.
///
/// It costs two atomic operations and some stores as long as nobody waits, a descriptor and a page
/// of memory; see [`many`](Lock::many) for locks by the thousand.
///
/// ```
/// use multiproc::{Lock, Process};
///
/// fn worker(lock: Lock, number: u32) -> multiproc::Result<()> {
///     let _guard = lock.acquire()?;
///     println!("{number} is alone here");
///     Ok(())
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let lock = Lock::new()?;
/// let children: Vec<_> = (0..3)
///     .map(|number| {
///         let target = |lock, number| worker(lock, number).unwrap();
///         Process::new(target, (lock.clone(), number)).start()
///     })
///     .collect::<Result<_, _>>()?;
/// for child in children {
///     child.join()?;
/// }
/// assert_eq!(lock.to_string(), "<Lock(owner=None)>");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Lock {
    segment: Crossing<{ size_of::<RobustCell>() }>,
    /// Its place among those of the segment.
    place: u32,
}

/// Of a cell's fields: the process that holds the lock, 0 on the way in and out.
const HOLDER: usize = 0;
/// Of a cell's fields: 0, or how it got poisoned.
const POISON: usize = 1;
/// Of a cell's fields: the process that poisoned it.
const CULPRIT: usize = 2;

const DIED: u32 = 1;
const PANICKED: u32 = 2;

impl Lock {
    /// A new lock, which nobody holds.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new() -> Result<Lock> {
        Ok(Lock { segment: Crossing(Segment::create("lock", size_of::<RobustCell>())?), place: 0 })
    }

    /// A lock at the beginning of memory with room for something else, `length` bytes in all.
    pub(super) fn with_room(what: &str, length: usize) -> Result<Lock> {
        Ok(Lock { segment: Crossing(Segment::create(what, length)?), place: 0 })
    }

    /// The memory that it lies in.
    pub(super) fn segment(&self) -> &Segment {
        &self.segment.0
    }

    /// The first lock of the same memory.
    pub(super) fn first(self) -> Lock {
        Lock { place: 0, ..self }
    }

    /// Returns whether this thread holds it.
    pub(super) fn is_own(&self) -> bool {
        mutex::is_own(self.cell())
    }

    /// `count` locks that share one descriptor, and cross together with that one.
    ///
    /// They are for those who trust each other: a process that was given one of them has the memory
    /// of all.
    ///
    /// # Errors
    /// The system lacks descriptors or memory; `count` is more than 16 million.
    ///
    /// ```
    /// use multiproc::{Lock, Process};
    ///
    /// let locks = Lock::many(10_000)?;
    /// let free = |locks: Vec<Lock>| locks.iter().filter(|lock| !lock.locked()).count();
    /// let child = Process::new(free, (locks,));
    /// assert_eq!(child.start()?.join()?, 10_000);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn many(count: usize) -> Result<Vec<Lock>> {
        let most = 1 << 24;
        let places = u32::try_from(count).ok().filter(|count| *count <= most);
        let places = places.ok_or_else(|| {
            Cause::BadInput(format!("{count} locks at once are more than {most}"))
        })?;
        if places == 0 {
            return Ok(Vec::new());
        }
        let segment = Segment::create("lock", count * size_of::<RobustCell>())?;
        Ok((0..places)
            .map(|place| Lock { segment: Crossing(Arc::clone(&segment)), place })
            .collect())
    }

    /// Waits until nobody else holds it, and holds it as long as the guard lives.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::Deadlock`] if this thread holds
    /// it already.
    pub fn acquire(&self) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.acquire_until(Deadline::Never)
    }

    /// Acquires it if nobody holds it.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody does, this thread included; [`AcquireError::Poisoned`],
    /// with the guard.
    pub fn try_acquire(&self) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        match self.acquire_until(Deadline::now()) {
            Err(AcquireError::Deadlock) => Err(AcquireError::Busy),
            acquired => acquired,
        }
    }

    /// Waits for `timeout` at the most; like [`acquire`](Lock::acquire) else.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if it was held for all that time; those of
    /// [`acquire`](Lock::acquire).
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Does the same as [`acquire_timeout`](Lock::acquire_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](Lock::acquire_timeout).
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.acquire_until(Deadline::at(deadline))
    }

    pub(super) fn acquire_until(
        &self,
        deadline: Deadline,
    ) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.take(deadline)?;
        let guard = LockGuard { lock: self, thread: PhantomData };
        match self.poison() {
            Some((pid, how)) => Err(AcquireError::Poisoned(Poisoned::new(guard, pid, how))),
            None => Ok(guard),
        }
    }

    /// Takes it without a guard.
    #[inline]
    pub(super) fn take<G>(&self, deadline: Deadline) -> Result<(), AcquireError<G>> {
        let (own, cell) = (robust::own(), self.cell());
        if own.is_full() {
            return Err(AcquireError::TooMany);
        }
        let taken = mutex::lock_as(own, cell, deadline).map_err(|why| match why {
            NotTaken::Busy => AcquireError::Busy,
            NotTaken::Own => AcquireError::Deadlock,
        })?;
        self.segment.0.memory().pin();
        if taken == Taken::FromDead {
            let holder = cell.fields[HOLDER].load(Ordering::Relaxed);
            // Who died on the way in or out has not touched what the lock protects.
            if holder != 0 {
                cell.fields[CULPRIT].store(holder, Ordering::Relaxed);
                cell.fields[POISON].store(DIED, Ordering::Relaxed);
            }
        }
        cell.fields[HOLDER].store(own.pid(), Ordering::Relaxed);
        // Nothing of what the caller does next comes before.
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Releases it, if this thread holds it; poisons it if it does so because of a panic.
    #[inline]
    pub(super) fn release(&self) {
        let (own, cell) = (robust::own(), self.cell());
        if cell.word.load(Ordering::Relaxed) & OWNER == own.tid() {
            if std::thread::panicking() {
                cell.fields[CULPRIT].store(own.pid(), Ordering::Relaxed);
                cell.fields[POISON].store(PANICKED, Ordering::Relaxed);
            }
            // Nothing of what the caller did before comes after.
            compiler_fence(Ordering::SeqCst);
            cell.fields[HOLDER].store(0, Ordering::Relaxed);
        }
        if mutex::unlock_as(own, cell) {
            self.segment.0.memory().unpin();
        }
    }

    /// Returns who poisoned it, and how.
    #[inline]
    pub(super) fn poison(&self) -> Option<(u32, How)> {
        let cell = self.cell();
        let how = match cell.fields[POISON].load(Ordering::Relaxed) {
            0 => return None,
            PANICKED => How::Panicked,
            _ => How::Died,
        };
        Some((cell.fields[CULPRIT].load(Ordering::Relaxed), how))
    }

    /// Returns whether somebody holds it at this moment.
    #[must_use]
    pub fn locked(&self) -> bool {
        mutex::owner(self.cell()) != 0
    }

    /// Returns whether a holder died or panicked, and nobody has said since that all is well.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison().is_some()
    }

    /// Says that what the lock protects is in order again.
    pub fn clear_poison(&self) {
        self.cell().fields[POISON].store(0, Ordering::Relaxed);
    }

    /// Returns whether `other` is the same lock.
    pub(super) fn is_same(&self, other: &Lock) -> bool {
        // Some processes have the memory of a lock at two addresses: it came in two messages.
        self.place == other.place && self.segment.0.is_same(&other.segment.0)
    }

    pub(super) fn cell(&self) -> &RobustCell {
        self.segment.0.memory().at(self.place as usize * size_of::<RobustCell>())
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        (&self.segment, self.place).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Lock, D::Error> {
        let (segment, place): (Crossing<{ size_of::<RobustCell>() }>, u32) =
            Deserialize::deserialize(deserializer)?;
        if place as usize >= segment.0.memory().length() / size_of::<RobustCell>() {
            return Err(D::Error::custom("a lock beyond the end of its memory"));
        }
        Ok(Lock { segment, place })
    }
}

impl fmt::Display for Lock {
    /// `<Lock(owner=MainProcess)>`, in CPython's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Lock(owner={})>", owner::describe(mutex::owner(self.cell())))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Holds a [`Lock`], and releases it when it is dropped. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl<'a> LockGuard<'a> {
    /// The lock that it holds.
    #[must_use]
    pub fn lock(&self) -> &'a Lock {
        self.lock
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        self.lock.release();
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockGuard({})", self.lock)
    }
}
