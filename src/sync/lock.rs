//! A lock: one holder at a time, whichever thread of whichever process.
//!
//! The state machine is `raw::mutex`. Added here are the holder's process, poison, and the memory,
//! which stays mapped as long as the kernel's robust list leads into it, even if all handles are
//! dropped and only a forgotten guard is left (`segment`).

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::{Duration, Instant};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "async")]
use super::awaited::turnstile;
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

/// In a cell's fields: the process that holds the lock; 0 while somebody is on the way in or out. A
/// lock that is found dead with 0 here was not held: nothing of what it protects was touched.
const HOLDER: usize = 0;
/// In a cell's fields: 0, `DIED` or `PANICKED`.
const POISON: usize = 1;
/// In a cell's fields: the process that poisoned the lock. Written before `POISON`.
const CULPRIT: usize = 2;

const DIED: u32 = 1;
const PANICKED: u32 = 2;

impl Lock {
    /// Makes a lock that nobody holds, in a memory file of its own: one descriptor and one page.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let lock = multiproc::Lock::new()?;
    /// assert_eq!(lock.to_string(), "<Lock(owner=None)>");
    /// let _guard = lock.acquire()?;
    /// assert_eq!(lock.to_string(), "<Lock(owner=MainProcess)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<Lock> {
        Ok(Lock { segment: Crossing(Segment::create("lock", size_of::<RobustCell>())?), place: 0 })
    }

    /// Makes a lock at the beginning of memory with room for something else, `length` bytes in all.
    /// `what` names the object in an error.
    pub(super) fn with_room(what: &str, length: usize) -> Result<Lock> {
        Ok(Lock { segment: Crossing(Segment::create(what, length)?), place: 0 })
    }

    /// Returns the memory that it lies in.
    pub(super) fn segment(&self) -> &Segment {
        &self.segment.0
    }

    /// Returns the first lock of the same memory. A decoded lock says itself which one it is; an
    /// object that lies behind its lock accepts only the first.
    pub(super) fn first(self) -> Lock {
        Lock { place: 0, ..self }
    }

    /// Returns `true` if this thread holds it. In a forked copy of the holder: false.
    pub(super) fn is_own(&self) -> bool {
        mutex::is_own(self.cell())
    }

    /// Makes `count` locks that share one descriptor, and cross together with that one. Each takes
    /// 64 bytes, a cache line.
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

    /// Waits until nobody else holds the lock, takes it, and returns a guard that holds it.
    ///
    /// Signals do not end the wait. CPython's `acquire()`.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::Deadlock`] if this thread holds
    /// it already.
    ///
    /// ```
    /// use multiproc::{AcquireError, Lock};
    ///
    /// let lock = Lock::new()?;
    /// let guard = lock.acquire()?;
    /// assert!(matches!(lock.acquire(), Err(AcquireError::Deadlock)));
    /// drop(guard);
    /// let _guard = lock.acquire()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes the lock if nobody holds it, and never sleeps. CPython's `acquire(block=False)`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody does, this thread included; [`AcquireError::Poisoned`],
    /// with the guard.
    ///
    /// ```
    /// use multiproc::Lock;
    ///
    /// let lock = Lock::new()?;
    /// let guard = lock.try_acquire()?;
    /// assert!(lock.try_acquire().unwrap_err().is_busy());
    /// drop(guard);
    /// assert!(lock.try_acquire().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        match self.acquire_until(Deadline::now()) {
            Err(AcquireError::Deadlock) => Err(AcquireError::Busy),
            acquired => acquired,
        }
    }

    /// Takes the lock, or gives up after `timeout`. A time of 0 looks once. CPython's
    /// `acquire(timeout=..)`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if it was held for all that time; those of
    /// [`acquire`](Lock::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Lock, Process};
    ///
    /// fn impatient(lock: Lock) -> bool {
    ///     lock.acquire_timeout(Duration::from_millis(1)).is_err_and(|error| error.is_busy())
    /// }
    ///
    /// let lock = Lock::new()?;
    /// let _guard = lock.acquire()?;
    /// assert!(Process::new(impatient, (lock.clone(),)).start()?.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Takes the lock, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](Lock::acquire_timeout).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use multiproc::Lock;
    ///
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// let (first, second) = (Lock::new()?, Lock::new()?);
    /// let _both = (first.acquire_deadline(deadline)?, second.acquire_deadline(deadline)?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.acquire_until(Deadline::at(deadline))
    }

    /// Waits until nobody else holds the lock, and takes it, without blocking the thread that
    /// polls. For any executor. (Feature `async`.)
    ///
    /// Who holds a lock is for the kernel to know, which knows threads of processes: the lock is
    /// taken in the last poll, by the thread that polls, and its guard stays in that thread. So a
    /// task that holds the guard over an `.await` is not `Send`; drop the guard before, or run the
    /// task on an executor of one thread. Two tasks of one thread exclude each other like others; a
    /// task that waits for what it holds itself waits for ever, where
    /// [`acquire`](Lock::acquire) says [`Deadlock`](AcquireError::Deadlock).
    ///
    /// While tasks of this process wait, a thread of the library takes the lock for them and gives
    /// it back at once, so that at these moments [`try_acquire`](Lock::try_acquire) of others may
    /// find it held. Tasks are called in the order in which they came; others may be faster.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: it has taken nothing before it is ready, and the next
    /// in line is called. For a time limit, use the executor's.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::TooMany`].
    ///
    /// ```
    /// use multiproc::Lock;
    ///
    /// let lock = Lock::new()?;
    /// async_io::block_on(async {
    ///     let _guard = lock.acquire_async().await?;
    ///     assert!(lock.locked());
    ///     Ok::<(), multiproc::Error>(())
    /// })?;
    /// assert!(!lock.locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    #[inline]
    pub fn acquire_async(
        &self,
    ) -> impl Future<Output = Result<LockGuard<'_>, AcquireError<LockGuard<'_>>>> + Send {
        turnstile::until(
            (std::ptr::from_ref(self.cell()).addr(), 0),
            || match self.acquire_until(Deadline::now()) {
                // Held by others, or by another task of this thread.
                Err(AcquireError::Busy | AcquireError::Deadlock) => None,
                acquired => Some(acquired),
            },
            || self.clone(),
        )
    }

    /// Common part of all public ways to acquire: takes the lock, then says whether it is poisoned.
    #[inline]
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

    /// Takes the lock without a guard.
    ///
    /// # Errors
    /// `TooMany` if this thread's robust list is at its limit: the kernel would not look at one
    /// more cell. `Busy`, `Deadlock` as for `mutex::lock`.
    ///
    /// 1. `mutex::lock_as` takes the word.
    /// 2. If the last owner died with its process in `HOLDER`, the lock is poisoned: `CULPRIT`,
    ///    then `POISON`.
    /// 3. `HOLDER` gets this process.
    /// 4. A compiler fence keeps what the caller does behind that store. (The kernel marks the word
    ///    after the thread's last instruction, so no fence between processors is needed to order
    ///    them.)
    ///
    /// Killed between 1 and 3, it leaves what the owner before left in `HOLDER`: a dead holder is
    /// reported by the next one, too, and 0 means that nothing was touched.
    #[inline]
    pub(super) fn take<G>(&self, deadline: Deadline) -> Result<(), AcquireError<G>> {
        let (own, cell) = (robust::own(), self.cell());
        if own.is_full() {
            return Err(AcquireError::TooMany);
        }
        // 1. The word is ours, or somebody else's until the deadline.
        let taken = mutex::lock_as(own, cell, deadline).map_err(|why| match why {
            NotTaken::Busy => AcquireError::Busy,
            NotTaken::Own => AcquireError::Deadlock,
        })?;
        Self::see_death(cell, taken);
        // 3. From here on, a death is one of a holder.
        cell.fields[HOLDER].store(own.pid(), Ordering::Relaxed);
        // Nothing of what the caller does next comes before.
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Poisons the lock if it was taken from a holder that died.
    #[inline]
    fn see_death(cell: &RobustCell, taken: Taken) {
        if taken == Taken::FromDead {
            let holder = cell.fields[HOLDER].load(Ordering::Relaxed);
            // Who died on the way in or out has not touched what the lock protects.
            if holder != 0 {
                cell.fields[CULPRIT].store(holder, Ordering::Relaxed);
                cell.fields[POISON].store(DIED, Ordering::Relaxed);
            }
        }
    }

    /// Releases the lock, if this thread holds it; poisons it if the thread is panicking.
    ///
    /// 1. `CULPRIT`, then `POISON`, if a panic is under way.
    /// 2. A compiler fence keeps what the caller did before the next store.
    /// 3. `HOLDER` becomes 0.
    /// 4. `mutex::unlock_as`.
    ///
    /// Killed before 3, the thread is a dead holder, and the next one is told. Killed between 3 and
    /// 4, it is found dead with `HOLDER` 0: a clean release.
    #[inline]
    pub(super) fn release(&self) {
        let (own, cell) = (robust::own(), self.cell());
        // A forked copy of the guard has the copy of a lock that it does not hold: it only leaves
        // its list.
        if cell.word.load(Ordering::Relaxed) & OWNER == own.tid() {
            if std::thread::panicking() {
                cell.fields[CULPRIT].store(own.pid(), Ordering::Relaxed);
                cell.fields[POISON].store(PANICKED, Ordering::Relaxed);
            }
            // Nothing of what the caller did before comes after.
            compiler_fence(Ordering::SeqCst);
            // 3. From here on, a death is one on the way out.
            cell.fields[HOLDER].store(0, Ordering::Relaxed);
        }
        // 4. Also if the word is not ours: somebody else may have written there, and the cell is in
        //    this thread's list.
        mutex::unlock_as(own, cell);
    }

    /// Returns who poisoned it and how, or `None`. To be asked with the lock held: only then nobody
    /// changes the two fields in between.
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

    /// Returns `true` if somebody holds the lock at this moment, this thread included. The answer
    /// may be outdated when the caller sees it. CPython's `locked()` (of version 3.14).
    ///
    /// ```
    /// use multiproc::Lock;
    ///
    /// let lock = Lock::new()?;
    /// assert!(!lock.locked());
    /// let guard = lock.acquire()?;
    /// assert!(lock.locked());
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn locked(&self) -> bool {
        mutex::owner(self.cell()) != 0
    }

    /// Returns `true` if a holder died or panicked and nobody has called
    /// [`clear_poison`](Lock::clear_poison) since. A holder that died is seen only once the next
    /// one has taken the lock.
    ///
    /// ```
    /// use multiproc::{Lock, Process};
    ///
    /// fn panics(lock: Lock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     panic!("while it holds the lock");
    /// }
    ///
    /// let lock = Lock::new()?;
    /// Process::new(panics, (lock.clone(),)).start()?.join().unwrap_err();
    /// assert!(lock.is_poisoned());
    /// assert!(lock.acquire().is_err_and(|error| error.is_poisoned()));
    /// lock.clear_poison();
    /// assert!(lock.acquire().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison().is_some()
    }

    /// Declares that the data behind the lock are in order again: the next one to acquire it is
    /// told nothing.
    ///
    /// Call it with the lock held, after looking at what it protects, as with
    /// [`std::sync::Mutex::clear_poison`]. See [`is_poisoned`](Lock::is_poisoned) for an example.
    ///
    /// ```
    /// use multiproc::{Lock, Process};
    ///
    /// fn dies(lock: Lock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     std::process::abort();
    /// }
    ///
    /// let lock = Lock::new()?;
    /// let child = Process::new(dies, (lock.clone(),)).start()?;
    /// child.join().unwrap_err();
    /// let _guard = lock.acquire().or_else(|error| error.recover())?;
    /// // .. look at what the lock protects, and mend it ..
    /// lock.clear_poison();
    /// assert!(!lock.is_poisoned());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn clear_poison(&self) {
        self.cell().fields[POISON].store(0, Ordering::Relaxed);
    }

    /// Returns `true` if `other` is the same lock, by its memory file and place in it.
    pub(super) fn is_same(&self, other: &Lock) -> bool {
        // Some processes have the memory of a lock at two addresses: it came in two messages.
        self.place == other.place && self.segment.0.is_same(&other.segment.0)
    }

    /// Returns its cell. The place was checked when the lock was made or decoded.
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
        // The place is what another process says; the length is the kernel's word.
        if place as usize >= segment.0.memory().length() / size_of::<RobustCell>() {
            return Err(D::Error::custom("a lock beyond the end of its memory"));
        }
        Ok(Lock { segment, place })
    }
}

#[cfg(feature = "async")]
impl turnstile::Passage for Lock {
    /// Takes the lock and gives it back, and is never its holder.
    ///
    /// 1. `mutex::lock_as` takes the word.
    /// 2. If the last owner died as the holder, the lock is poisoned, as in `take`.
    /// 3. `HOLDER` becomes 0: a death from here on is one of nobody.
    /// 4. `mutex::unlock_as`, which wakes the next one.
    ///
    /// Killed between 1 and 3, it leaves what the dead owner left, and the next one does the same.
    fn pass(&self, deadline: Deadline) -> bool {
        let (own, cell) = (robust::own(), self.cell());
        match mutex::lock_as(own, cell, deadline) {
            Ok(taken) => {
                Self::see_death(cell, taken);
                cell.fields[HOLDER].store(0, Ordering::Relaxed);
                mutex::unlock_as(own, cell);
                true
            }
            Err(_) => false,
        }
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

/// Holds a [`Lock`], and releases it when it is dropped. It stays in its thread, because the kernel
/// knows the holder of a lock by its thread.
///
/// A forgotten guard ([`std::mem::forget`]) holds the lock until its thread ends; then the lock is
/// poisoned.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl<'a> LockGuard<'a> {
    /// Returns the lock that it holds.
    ///
    /// ```
    /// use multiproc::Lock;
    ///
    /// let lock = Lock::new()?;
    /// let guard = lock.acquire()?;
    /// assert!(guard.lock().locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
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
