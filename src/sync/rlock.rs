//! A lock that its holder can acquire again.
//!
//! A [`Lock`] with a count in a field of the cell that only the holder writes. A holder that dies
//! leaves any count: the next one begins at 1.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{AcquireError, Poisoned};
use super::lock::Lock;
use super::owner;
use super::raw::mutex;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust;

/// A lock that the thread which holds it can acquire again, and must release as often: CPython's
/// `multiprocessing.RLock`.
///
/// Everything else is as with [`Lock`].
///
/// ```
/// use multiproc::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.acquire()?;
/// let inner = lock.acquire()?;
/// assert_eq!(lock.to_string(), "<RLock(MainProcess, 2)>");
/// drop((outer, inner));
/// assert_eq!(lock.to_string(), "<RLock(None, 0)>");
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Each [`acquire`](RLock::acquire) of the holder gives one more guard, and the lock is free when
/// all are dropped, in any order. A poisoned lock tells at each acquisition, at the nested ones,
/// too.
///
/// It cannot be awaited: its holder is a thread, and two tasks of one thread would hold it at a
/// time. Await a [`Lock`].
#[derive(Clone, Serialize, Deserialize)]
pub struct RLock {
    lock: Lock,
}

/// In a cell's fields: how many guards the holder has. Only the holder writes it, with the lock
/// held.
const DEPTH: usize = 3;

impl RLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// assert_eq!(multiproc::RLock::new()?.to_string(), "<RLock(None, 0)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<RLock> {
        Ok(RLock { lock: Lock::new()? })
    }

    /// Waits until no other thread holds the lock, and takes it, once more if this thread holds it
    /// already. CPython's `acquire()`.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::TooMany`] after 4 billion times.
    ///
    /// ```
    /// use multiproc::RLock;
    ///
    /// fn outer(lock: &RLock) -> multiproc::Result<u32> {
    ///     let _guard = lock.acquire()?;
    ///     inner(lock)
    /// }
    ///
    /// fn inner(lock: &RLock) -> multiproc::Result<u32> {
    ///     let _guard = lock.acquire()?; // no deadlock
    ///     Ok(7)
    /// }
    ///
    /// assert_eq!(outer(&RLock::new()?)?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes the lock if no other thread holds it, and never sleeps. CPython's
    /// `acquire(block=False)`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if one does; those of [`acquire`](RLock::acquire).
    ///
    /// ```
    /// use multiproc::RLock;
    ///
    /// let lock = RLock::new()?;
    /// let _guard = lock.try_acquire()?;
    /// assert!(lock.try_acquire().is_ok()); // of the same thread
    /// let of_another = std::thread::scope(|scope| {
    ///     scope.spawn(|| lock.try_acquire().is_err_and(|error| error.is_busy())).join().unwrap()
    /// });
    /// assert!(of_another);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::now())
    }

    /// Takes the lock, or gives up after `timeout`. CPython's `acquire(timeout=..)`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if another thread held it for all that time; those of
    /// [`acquire`](RLock::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::RLock;
    ///
    /// let lock = RLock::new()?;
    /// let _guard = lock.acquire_timeout(Duration::from_millis(10))?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Takes the lock, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](RLock::acquire_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let lock = multiproc::RLock::new()?;
    /// assert!(lock.acquire_deadline(Instant::now()).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::at(deadline))
    }

    /// If this thread is the owner, the count goes up; otherwise the lock is taken, and the count
    /// begins at 1, whatever a dead owner left there. Killed between the two, the thread leaves a
    /// count that nobody reads.
    fn acquire_until(
        &self,
        deadline: Deadline,
    ) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        let cell = self.lock.cell();
        let depth = &cell.fields[DEPTH];
        // Nobody else can become or cease to be the owner while this thread asks about itself.
        if mutex::is_own(cell) {
            let deeper =
                depth.load(Ordering::Relaxed).checked_add(1).ok_or(AcquireError::TooMany)?;
            depth.store(deeper, Ordering::Relaxed);
        } else {
            self.lock.take(deadline)?;
            depth.store(1, Ordering::Relaxed);
        }
        let guard = RLockGuard { lock: self, thread: PhantomData };
        match self.lock.poison() {
            Some((pid, how)) => Err(AcquireError::Poisoned(Poisoned::new(guard, pid, how))),
            None => Ok(guard),
        }
    }

    /// Returns `true` if somebody holds the lock at this moment, this thread included. CPython's
    /// `locked()`.
    ///
    /// ```
    /// let lock = multiproc::RLock::new()?;
    /// let _guard = lock.acquire()?;
    /// assert!(lock.locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn locked(&self) -> bool {
        self.lock.locked()
    }

    /// Returns `true` if a holder died or panicked and nobody has called
    /// [`clear_poison`](RLock::clear_poison) since.
    ///
    /// ```
    /// use multiproc::{Process, RLock};
    ///
    /// fn dies(lock: RLock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     std::process::abort();
    /// }
    ///
    /// let lock = RLock::new()?;
    /// let child = Process::new(dies, (lock.clone(),)).start()?;
    /// child.join().unwrap_err();
    /// assert!(lock.acquire().is_err_and(|error| error.is_poisoned()));
    /// assert!(lock.is_poisoned());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.lock.is_poisoned()
    }

    /// Declares that the data behind the lock are in order again, as [`Lock::clear_poison`] does.
    ///
    /// ```
    /// use multiproc::{Process, RLock};
    ///
    /// fn dies(lock: RLock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     std::process::abort();
    /// }
    ///
    /// let lock = RLock::new()?;
    /// Process::new(dies, (lock.clone(),)).start()?.join().unwrap_err();
    /// let _guard = lock.acquire().unwrap_err().recover()?;
    /// lock.clear_poison();
    /// assert!(!lock.is_poisoned());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn clear_poison(&self) {
        self.lock.clear_poison();
    }
}

impl fmt::Display for RLock {
    /// `<RLock(MainProcess, 2)>`: the holder and how often it has it, in CPython's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = mutex::owner(self.lock.cell());
        let depth = match holder {
            0 => "0".to_owned(),
            own if own == robust::tid() => {
                self.lock.cell().fields[DEPTH].load(Ordering::Relaxed).to_string()
            }
            _ => "nonzero".to_owned(),
        };
        write!(f, "<RLock({}, {depth})>", owner::describe(holder))
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Holds an [`RLock`] once, and lets go of it when it is dropped. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        let cell = self.lock.lock.cell();
        let depth = &cell.fields[DEPTH];
        match depth.load(Ordering::Relaxed) {
            deep @ 2.. if mutex::is_own(cell) => depth.store(deep - 1, Ordering::Relaxed),
            // (A forked copy does not hold it, and releases nothing.)
            _ => self.lock.lock.release(),
        }
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RLockGuard({})", self.lock)
    }
}
