//! Semaphores: so many at a time.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::AcquireError;
use super::permit::{self, Permit};
use super::table::Table;
use crate::error::{Cause, Result};
use crate::sys::wait::poll::Deadline;

/// So many permits, for threads of any process: CPython's `multiprocessing.Semaphore`.
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
    /// A semaphore with `value` permits.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new(value: u32) -> Result<Semaphore> {
        Ok(Semaphore { table: Table::create("semaphore", value.into())? })
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`AcquireError::TooMany`].
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::Never)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if there is none.
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::now())
    }

    /// Waits for a permit, for `timeout` at the most.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if none came.
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::after(timeout))
    }

    /// Does the same as [`acquire_timeout`](Semaphore::acquire_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](Semaphore::acquire_timeout).
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        permit::acquire(&self.table, Deadline::at(deadline))
    }

    /// Adds a permit, above what there were at first if need be.
    pub fn release(&self) {
        permit::add(&self.table, u64::MAX);
    }

    /// Returns how many permits are free at this moment.
    #[must_use]
    pub fn value(&self) -> u64 {
        permit::free(&self.table)
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

/// A [`Semaphore`] of which never more permits can be free than at first: CPython's
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
    /// A semaphore with `value` permits, never more.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new(value: u32) -> Result<BoundedSemaphore> {
        Ok(BoundedSemaphore { semaphore: Semaphore::new(value)?, bound: value })
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`AcquireError::TooMany`].
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.acquire()
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if there is none.
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.try_acquire()
    }

    /// Waits for a permit, for `timeout` at the most.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if none came.
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.acquire_timeout(timeout)
    }

    /// Does the same as [`acquire_timeout`](BoundedSemaphore::acquire_timeout), with a point in
    /// time.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](BoundedSemaphore::acquire_timeout).
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
        self.semaphore.acquire_deadline(deadline)
    }

    /// Adds a permit in the place of one that was [forgotten](Permit::forget).
    ///
    /// # Errors
    /// All are free already.
    pub fn release(&self) -> Result<()> {
        if permit::add(&self.semaphore.table, self.bound.into()) {
            return Ok(());
        }
        Err(Cause::BadInput("semaphore or lock released too many times".into()).into())
    }

    /// Returns how many permits are free at this moment.
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
