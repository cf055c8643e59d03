//! Errors of locks and of whatever else is acquired.
//!
//! Both carry the guard's type, because a poisoned lock is held all the same: the guard is inside.

use std::fmt;

use super::raw::members::Missed;
use super::raw::{gate, permits};
use crate::error::{Cause, Error};

/// A lock was taken, but the one who had it before died or panicked holding it.
///
/// What the lock protects may be half changed. Look at it, repair it, and say so with
/// `clear_poison` of the lock; until then, everybody who takes the lock is told. As with the
/// standard library's mutexes, the guard is inside.
#[must_use]
pub struct Poisoned<G> {
    guard: G,
    pid: u32,
    how: How,
}

/// The way in which its last holder poisoned a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Died,
    Panicked,
}

impl<G> Poisoned<G> {
    pub(super) fn new(guard: G, pid: u32, how: How) -> Poisoned<G> {
        Poisoned { guard, pid, how }
    }

    /// Takes the guard out: the lock is held as long as that lives.
    ///
    /// ```
    /// use multiproc::{AcquireError, Lock, Process};
    ///
    /// fn panics(lock: Lock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     panic!("while it holds the lock");
    /// }
    ///
    /// let lock = Lock::new()?;
    /// Process::new(panics, (lock.clone(),)).start()?.join().unwrap_err();
    /// let Err(AcquireError::Poisoned(poisoned)) = lock.acquire() else { panic!("not poisoned") };
    /// assert!(!poisoned.is_owner_dead()); // it panicked
    /// assert!(poisoned.get_ref().lock().locked());
    /// let _guard = poisoned.into_inner();
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn into_inner(self) -> G {
        self.guard
    }

    /// Returns the guard, without taking it out.
    pub fn get_ref(&self) -> &G {
        &self.guard
    }

    /// Returns the guard for changes: of what a guard of a value holds, for example.
    ///
    /// ```
    /// use multiproc::{AcquireError, Lock, Process};
    ///
    /// fn panics(lock: Lock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     panic!("while it holds the lock");
    /// }
    ///
    /// let lock = Lock::new()?;
    /// Process::new(panics, (lock.clone(),)).start()?.join().unwrap_err();
    /// if let Err(AcquireError::Poisoned(mut poisoned)) = lock.acquire() {
    ///     let guard = poisoned.get_mut();
    ///     assert!(guard.lock().is_poisoned());
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.guard
    }

    /// Returns the process that held the lock, by its number at that time. Another process may have
    /// the number by now: do not signal it.
    ///
    /// ```
    /// use multiproc::{AcquireError, Lock, Process};
    ///
    /// fn dies(lock: Lock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     std::process::abort();
    /// }
    ///
    /// let lock = Lock::new()?;
    /// let child = Process::new(dies, (lock.clone(),)).start()?;
    /// child.join().unwrap_err();
    /// let Err(AcquireError::Poisoned(poisoned)) = lock.acquire() else { panic!("not poisoned") };
    /// assert_eq!((poisoned.pid(), poisoned.is_owner_dead()), (child.pid(), true));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns `true` if the process (or its thread) ended while it held the lock. If not, it
    /// panicked, and dropped the guard while it unwound.
    #[must_use]
    pub fn is_owner_dead(&self) -> bool {
        self.how == How::Died
    }

    pub(super) fn map<H>(self, f: impl FnOnce(G) -> H) -> Poisoned<H> {
        Poisoned { guard: f(self.guard), pid: self.pid, how: self.how }
    }
}

impl<G> fmt::Display for Poisoned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Died => "ended",
            How::Panicked => "panicked",
        };
        write!(f, "process {} {how} while it held the lock", self.pid)
    }
}

impl<G> fmt::Debug for Poisoned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<G> std::error::Error for Poisoned<G> {}

/// Why a lock or the like was not acquired, or not as it should be.
///
/// ```
/// use multiproc::{AcquireError, Lock, Process};
///
/// fn dies_holding(lock: Lock) {
///     let _guard = lock.acquire().unwrap();
///     std::process::abort();
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let lock = Lock::new()?;
/// let child = Process::new(dies_holding, (lock.clone(),)).start()?;
/// let pid = child.pid();
/// let _ = child.join();
/// match lock.acquire() {
///     Err(AcquireError::Poisoned(poisoned)) => {
///         assert_eq!(poisoned.pid(), pid);
///         let _guard = poisoned.into_inner();
///         lock.clear_poison(); // after looking at what it protects
///     }
///     other => panic!("{other:?}"),
/// }
/// assert!(lock.acquire().is_ok());
/// # Ok(())
/// # }
/// ```
///
/// The kernel follows a thread's robust list for 2048 entries only (`ROBUST_LIST_LIMIT`), which is
/// where the limit of 1900 held locks comes from.
#[must_use]
#[non_exhaustive]
pub enum AcquireError<G> {
    /// It was acquired, but its last owner died or panicked. The guard is inside.
    Poisoned(Poisoned<G>),
    /// Others held it for all the time that there was.
    Busy,
    /// This thread holds it already, and would wait for itself.
    Deadlock,
    /// As many threads as there is room for (16 384) hold or wait for it, or this thread holds 1900
    /// locks and the like.
    TooMany,
    /// The guard is of another lock.
    OtherLock,
}

impl<G> AcquireError<G> {
    /// Goes on over a [`Poisoned`]: returns the guard if the lock was acquired all the same.
    ///
    /// # Errors
    /// It was not acquired.
    ///
    /// ```
    /// use multiproc::{Lock, Process};
    ///
    /// fn dies(lock: Lock) {
    ///     let _guard = lock.acquire().unwrap();
    ///     std::process::exit(1);
    /// }
    ///
    /// let lock = Lock::new()?;
    /// let _ = Process::new(dies, (lock.clone(),)).start()?.join();
    /// // A counter of events, say, where one lost count does no harm.
    /// let _guard = lock.acquire().or_else(|error| error.recover())?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn recover(self) -> Result<G, AcquireError<G>> {
        match self {
            AcquireError::Poisoned(poisoned) => Ok(poisoned.into_inner()),
            error => Err(error),
        }
    }

    /// Returns `true` if others held it for all the time that there was: the time-out of all locks.
    ///
    /// ```
    /// let lock = multiproc::Lock::new()?;
    /// let _guard = lock.acquire()?;
    /// assert!(lock.try_acquire().unwrap_err().is_busy());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, AcquireError::Busy)
    }

    /// Returns `true` if it was acquired, after a holder that died or panicked.
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
    /// assert!(lock.acquire().unwrap_err().is_poisoned());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self, AcquireError::Poisoned(_))
    }

    pub(super) fn map<H>(self, f: impl FnOnce(G) -> H) -> AcquireError<H> {
        match self {
            AcquireError::Poisoned(poisoned) => AcquireError::Poisoned(poisoned.map(f)),
            AcquireError::Busy => AcquireError::Busy,
            AcquireError::Deadlock => AcquireError::Deadlock,
            AcquireError::TooMany => AcquireError::TooMany,
            AcquireError::OtherLock => AcquireError::OtherLock,
        }
    }
}

impl<G> From<Missed> for AcquireError<G> {
    fn from(missed: Missed) -> AcquireError<G> {
        match missed {
            Missed::Locked => AcquireError::Busy,
            Missed::Full => AcquireError::TooMany,
        }
    }
}

impl<G> From<gate::Refused> for AcquireError<G> {
    fn from(refused: gate::Refused) -> AcquireError<G> {
        match refused {
            gate::Refused::Busy => AcquireError::Busy,
            gate::Refused::Deadlock => AcquireError::Deadlock,
            gate::Refused::Full => AcquireError::TooMany,
        }
    }
}

impl<G> From<permits::Refused> for AcquireError<G> {
    fn from(refused: permits::Refused) -> AcquireError<G> {
        match refused {
            permits::Refused::Busy => AcquireError::Busy,
            permits::Refused::Full => AcquireError::TooMany,
        }
    }
}

impl<G> fmt::Display for AcquireError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Poisoned(poisoned) => poisoned.fmt(f),
            AcquireError::Busy => f.write_str("it is held by others"),
            AcquireError::Deadlock => f.write_str("this thread holds it already"),
            AcquireError::TooMany => f.write_str(
                "too many threads hold it or wait for it, or this one holds too many locks",
            ),
            AcquireError::OtherLock => f.write_str("the guard is of another lock"),
        }
    }
}

impl<G> fmt::Debug for AcquireError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<G> std::error::Error for AcquireError<G> {}

impl<G> From<AcquireError<G>> for Error {
    /// Lets go of what a [`Poisoned`] holds.
    fn from(error: AcquireError<G>) -> Error {
        Cause::Acquire(error.to_string()).into()
    }
}
