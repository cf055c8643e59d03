//! A lock that its holder can acquire again.

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
#[derive(Clone, Serialize, Deserialize)]
pub struct RLock {
    lock: Lock,
}

/// Of a cell's fields: how often the holder has it. Only the holder writes there.
const DEPTH: usize = 3;

impl RLock {
    /// A new lock, which nobody holds.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new() -> Result<RLock> {
        Ok(RLock { lock: Lock::new()? })
    }

    /// Waits until no other thread holds it.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::TooMany`] after 4 billion times.
    pub fn acquire(&self) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::Never)
    }

    /// Acquires it if no other thread holds it.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if one does; those of [`acquire`](RLock::acquire).
    pub fn try_acquire(&self) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::now())
    }

    /// Waits for `timeout` at the most.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if another thread held it for all that time; those of
    /// [`acquire`](RLock::acquire).
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Does the same as [`acquire_timeout`](RLock::acquire_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](RLock::acquire_timeout).
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        self.acquire_until(Deadline::at(deadline))
    }

    fn acquire_until(
        &self,
        deadline: Deadline,
    ) -> Result<RLockGuard<'_>, AcquireError<RLockGuard<'_>>> {
        let cell = self.lock.cell();
        let depth = &cell.fields[DEPTH];
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

    /// Returns whether somebody holds it at this moment.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.lock.locked()
    }

    /// Returns whether a holder died or panicked, and nobody has said since that all is well.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.lock.is_poisoned()
    }

    /// Says that what the lock protects is in order again.
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

/// Holds an [`RLock`] once. It stays in its thread.
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
