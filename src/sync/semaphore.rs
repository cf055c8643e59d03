//! Semaphores: a number of permits, of which each is held by one thread at a time.
//!
//! What a permit is, and how it comes back from the dead, is in `permit`.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
use super::awaited::turnstile;
use super::error::AcquireError;
use super::permit::{self, Permit};
use super::table::Table;
use crate::error::{Cause, Result};
use crate::sys::wait::poll::Deadline;

/// A number of permits for threads of any process: CPython's `multiprocessing.Semaphore`.
///
/// To acquire it gives a [`Permit`], which comes back when it is dropped, or when the thread that
/// holds it dies, however that happens. For signals, where one process takes what another gives,
/// [`Permit::forget`] it and [`release`](Semaphore::release) elsewhere.
///
/// ```
/// use multiproc::{Process, Semaphore};
///
/// fn worker(slots: Semaphore) {
///     let _permit = slots.acquire().unwrap();
///     // no more than two of us are here at a time
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let slots = Semaphore::new(2)?;
/// let children: Vec<_> =
///     (0..4).map(|_| Process::new(worker, (slots.clone(),)).start()).collect::<Result<_, _>>()?;
/// for child in children {
///     child.join()?;
/// }
/// assert_eq!(slots.value(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Semaphore {
    table: Table,
}

impl Semaphore {
    /// Makes a semaphore with `value` permits; 0 is allowed, for signals.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// assert_eq!(multiproc::Semaphore::new(3)?.to_string(), "<Semaphore(value=3)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(value: u32) -> Result<Semaphore> {
        let table = Table::create("semaphore")?;
        permit::permits(&table).begin_with(value);
        Ok(Semaphore { table })
    }

    /// Waits for a permit. CPython's `acquire()`.
    ///
    /// Who has waited longest is woken first; a newcomer may be quicker.
    ///
    /// # Errors
    /// [`AcquireError::TooMany`].
    ///
    /// ```
    /// use multiproc::{Process, Semaphore};
    ///
    /// fn dies(slots: Semaphore) {
    ///     std::mem::forget(slots.acquire().unwrap());
    ///     std::process::abort();
    /// }
    ///
    /// let slots = Semaphore::new(1)?;
    /// Process::new(dies, (slots.clone(),)).start()?.join().unwrap_err();
    /// let _permit = slots.acquire()?; // it came back with the death of its holder
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::Never)
    }

    /// Takes a permit if one is free, and never sleeps. CPython's `acquire(block=False)`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if there is none.
    ///
    /// ```
    /// use multiproc::Semaphore;
    ///
    /// let slots = Semaphore::new(1)?;
    /// let permit = slots.try_acquire()?;
    /// assert!(slots.try_acquire().unwrap_err().is_busy());
    /// drop(permit);
    /// assert!(slots.try_acquire().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::now())
    }

    /// Waits for a permit, for `timeout` at the most. CPython's `acquire(timeout=..)`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if none came.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Semaphore;
    ///
    /// let slots = Semaphore::new(0)?;
    /// assert!(slots.acquire_timeout(Duration::from_millis(1)).unwrap_err().is_busy());
    /// slots.release();
    /// assert!(slots.acquire_timeout(Duration::from_millis(1)).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::after(timeout))
    }

    /// Waits for a permit, until `deadline` at the most.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](Semaphore::acquire_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let slots = multiproc::Semaphore::new(1)?;
    /// let _permit = slots.acquire_deadline(Instant::now())?;
    /// assert!(slots.acquire_deadline(Instant::now()).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::at(deadline))
    }

    /// Waits for a permit without blocking the thread that polls. For any executor. (Feature
    /// `async`.)
    ///
    /// As with [`Lock::acquire_async`](crate::Lock::acquire_async), the thread of the last poll is
    /// the holder, and the permit stays in it; one that is [forgotten](Permit::forget) is nobody's.
    /// While tasks of this process wait, a thread of the library takes a permit for them and gives
    /// it back at once: at these moments [`value`](Semaphore::value) is one less.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: it has taken nothing before it is ready.
    ///
    /// # Errors
    /// [`AcquireError::TooMany`].
    ///
    /// ```
    /// let slots = multiproc::Semaphore::new(1)?;
    /// async_io::block_on(async {
    ///     let _permit = slots.acquire_async().await?;
    ///     assert_eq!(slots.value(), 0);
    ///     Ok::<(), multiproc::Error>(())
    /// })?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn acquire_async(
        &self,
    ) -> impl Future<Output = Result<Permit<'_>, AcquireError<Permit<'_>>>> + Send {
        turnstile::until(
            (std::ptr::from_ref(&self.table.cells()[0]).addr(), 3),
            || Some(self.try_acquire()).filter(|got| !matches!(got, Err(AcquireError::Busy))),
            || self.clone(),
        )
    }

    /// Adds a permit, above the number at the start if need be, and wakes one who waits for one.
    /// CPython's `release()`.
    ///
    /// It is not for giving back a [`Permit`], which does that itself when it is dropped.
    ///
    /// ```
    /// use multiproc::Semaphore;
    ///
    /// let slots = Semaphore::new(0)?;
    /// slots.release();
    /// slots.release();
    /// assert_eq!(slots.value(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn release(&self) {
        permit::permits(&self.table).add(u64::MAX);
    }

    /// Returns how many permits are free at this moment. CPython's `get_value()`.
    ///
    /// ```
    /// let slots = multiproc::Semaphore::new(3)?;
    /// let _permit = slots.acquire()?;
    /// assert_eq!(slots.value(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn value(&self) -> u64 {
        permit::permits(&self.table).value()
    }
}

#[cfg(feature = "async")]
impl turnstile::Passage for Semaphore {
    /// Takes a permit and gives it back, which wakes the next one who sleeps.
    fn pass(&self, deadline: Deadline) -> bool {
        // Too many: a task is to have the error.
        !matches!(permit::acquire(&self.table, deadline), Err(AcquireError::Busy))
    }
}

impl fmt::Display for Semaphore {
    /// `<Semaphore(value=2)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Semaphore(value={})>", self.value())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A [`Semaphore`] of which never more permits can be free than at the start: CPython's
/// `multiprocessing.BoundedSemaphore`.
///
/// ```
/// use multiproc::BoundedSemaphore;
///
/// let slots = BoundedSemaphore::new(1)?;
/// assert!(slots.release().is_err());
/// slots.acquire()?.forget();
/// assert_eq!(slots.to_string(), "<BoundedSemaphore(value=0, maxvalue=1)>");
/// slots.release()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct BoundedSemaphore {
    semaphore: Semaphore,
    bound: u32,
}

impl BoundedSemaphore {
    /// Makes a semaphore with `value` permits, which is also the bound.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let slots = multiproc::BoundedSemaphore::new(1)?;
    /// assert_eq!(slots.to_string(), "<BoundedSemaphore(value=1, maxvalue=1)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(value: u32) -> Result<BoundedSemaphore> {
        Ok(BoundedSemaphore { semaphore: Semaphore::new(value)?, bound: value })
    }

    /// Waits for a permit, as [`Semaphore::acquire`] does.
    ///
    /// # Errors
    /// [`AcquireError::TooMany`].
    ///
    /// ```
    /// let slots = multiproc::BoundedSemaphore::new(1)?;
    /// let permit = slots.acquire()?;
    /// assert_eq!(slots.value(), 0);
    /// drop(permit);
    /// assert_eq!(slots.value(), 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.acquire()
    }

    /// Takes a permit if one is free, as [`Semaphore::try_acquire`] does.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if there is none.
    ///
    /// ```
    /// let slots = multiproc::BoundedSemaphore::new(0)?;
    /// assert!(slots.try_acquire().unwrap_err().is_busy());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.try_acquire()
    }

    /// Waits for a permit, for `timeout` at the most.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if none came.
    ///
    /// ```
    /// let slots = multiproc::BoundedSemaphore::new(1)?;
    /// assert!(slots.acquire_timeout(std::time::Duration::from_millis(1)).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.acquire_timeout(timeout)
    }

    /// Waits for a permit, until `deadline` at the most.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](BoundedSemaphore::acquire_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let slots = multiproc::BoundedSemaphore::new(1)?;
    /// assert!(slots.acquire_deadline(Instant::now()).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.acquire_deadline(deadline)
    }

    /// Waits for a permit without blocking the thread that polls. For any executor. (Feature
    /// `async`.)
    ///
    /// As with [`Lock::acquire_async`](crate::Lock::acquire_async), the thread of the last poll is
    /// the holder, and the permit stays in it; one that is [forgotten](Permit::forget) is nobody's.
    /// While tasks of this process wait, a thread of the library takes a permit for them and gives
    /// it back at once: at these moments [`value`](BoundedSemaphore::value) is one less.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: it has taken nothing before it is ready.
    ///
    /// # Errors
    /// [`AcquireError::TooMany`].
    ///
    /// ```
    /// let slots = multiproc::BoundedSemaphore::new(1)?;
    /// async_io::block_on(async {
    ///     let _permit = slots.acquire_async().await?;
    ///     assert_eq!(slots.value(), 0);
    ///     Ok::<(), multiproc::Error>(())
    /// })?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn acquire_async(
        &self,
    ) -> impl Future<Output = Result<Permit<'_>, AcquireError<Permit<'_>>>> + Send {
        self.semaphore.acquire_async()
    }

    /// Adds a permit in the place of one that was [forgotten](Permit::forget). CPython's
    /// `release()`, with its `ValueError` in the same words.
    ///
    /// # Errors
    /// All are free already.
    ///
    /// ```
    /// use multiproc::BoundedSemaphore;
    ///
    /// let slots = BoundedSemaphore::new(2)?;
    /// slots.acquire()?.forget();
    /// slots.release()?;
    /// let error = slots.release().unwrap_err();
    /// assert_eq!(error.to_string(), "semaphore or lock released too many times");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        if permit::permits(&self.semaphore.table).add(self.bound.into()) {
            return Ok(());
        }
        Err(Cause::BadInput("semaphore or lock released too many times".into()).into())
    }

    /// Returns how many permits are free at this moment.
    ///
    /// ```
    /// assert_eq!(multiproc::BoundedSemaphore::new(3)?.value(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn value(&self) -> u64 {
        self.semaphore.value()
    }
}

impl fmt::Display for BoundedSemaphore {
    /// `<BoundedSemaphore(value=1, maxvalue=2)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<BoundedSemaphore(value={}, maxvalue={})>", self.value(), self.bound)
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
