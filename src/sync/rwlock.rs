//! A lock that many read or one writes.
//!
//! The state machine is `raw::gate`. Added here is what users see.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
use super::awaited::turnstile;
use super::error::{AcquireError, How, Poisoned};
#[cfg(feature = "async")]
use super::raw::gate::Refused;
use super::raw::gate::{Gate, PANICKED};
use super::table::Table;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;

/// A lock that any number of threads of any processes may hold to read, or one to write. (CPython
/// has none.)
///
/// A reader waits behind a writer that waits, so that readers do not keep writers out; a thread
/// that reads already may read again. Otherwise whoever is quickest goes first, but one that has
/// waited for a millisecond goes before newcomers.
///
/// A reader that dies is as if it had released. A writer that dies or panics poisons the lock, as
/// with [`Lock`](crate::Lock).
///
/// ```
/// use multiproc::RwLock;
///
/// let lock = RwLock::new()?;
/// {
///     let _one = lock.read()?;
///     let _another = lock.read()?;
///     assert_eq!(lock.to_string(), "<RwLock(2 read)>");
///     assert!(lock.try_write().is_err());
/// }
/// let _writer = lock.write()?;
/// assert_eq!(lock.to_string(), "<RwLock(written)>");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct RwLock {
    table: Table,
}

impl RwLock {
    /// Makes a lock that nobody holds. It costs a descriptor and, as it is used, pages of memory.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// assert_eq!(multiproc::RwLock::new()?.to_string(), "<RwLock(free)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<RwLock> {
        Ok(RwLock { table: Table::create("rwlock")? })
    }

    /// Waits until nobody writes or waits to write, and takes the lock to read.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::Deadlock`] if this thread
    /// writes; [`AcquireError::TooMany`].
    ///
    /// ```
    /// use multiproc::{Process, RwLock};
    ///
    /// fn reads(lock: RwLock) -> bool {
    ///     lock.read().is_ok()
    /// }
    ///
    /// let lock = RwLock::new()?;
    /// let _reader = lock.read()?;
    /// assert!(Process::new(reads, (lock.clone(),)).start()?.join()?); // beside us
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read(&self) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::Never)
    }

    /// Takes the lock to read if nobody writes or waits to write, and never sleeps.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody writes or waits to; those of [`read`](RwLock::read).
    ///
    /// ```
    /// let lock = multiproc::RwLock::new()?;
    /// let _one = lock.try_read()?;
    /// assert!(lock.try_read().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_read(&self) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::now())
    }

    /// Takes the lock to read, or gives up after `timeout`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] after that time; those of [`read`](RwLock::read).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::RwLock;
    ///
    /// let lock = RwLock::new()?;
    /// let writer = lock.write()?;
    /// std::thread::scope(|scope| {
    ///     let reader = || lock.read_timeout(Duration::from_millis(1)).map(drop);
    ///     scope.spawn(move || assert!(reader().unwrap_err().is_busy()));
    /// });
    /// # drop(writer);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::after(timeout))
    }

    /// Takes the lock to read, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`read_timeout`](RwLock::read_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let lock = multiproc::RwLock::new()?;
    /// assert!(lock.read_deadline(Instant::now()).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_deadline(
        &self,
        deadline: Instant,
    ) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::at(deadline))
    }

    /// Waits until nobody else reads or writes, and takes the lock to write.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::Deadlock`] if this thread reads
    /// or writes; [`AcquireError::TooMany`].
    ///
    /// ```
    /// use multiproc::{AcquireError, RwLock};
    ///
    /// let lock = RwLock::new()?;
    /// let reader = lock.read()?;
    /// assert!(matches!(lock.write(), Err(AcquireError::Deadlock))); // it would wait for itself
    /// drop(reader);
    /// let _writer = lock.write()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write(&self) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::Never)
    }

    /// Takes the lock to write if nobody reads or writes, and never sleeps.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody reads or writes; those of [`write`](RwLock::write).
    ///
    /// ```
    /// let lock = multiproc::RwLock::new()?;
    /// let reader = lock.read()?;
    /// assert!(lock.try_write().unwrap_err().is_busy());
    /// drop(reader);
    /// assert!(lock.try_write().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_write(&self) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::now())
    }

    /// Takes the lock to write, or gives up after `timeout`. Readers that came behind it in that
    /// time go on then.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] after that time; those of [`write`](RwLock::write).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = multiproc::RwLock::new()?;
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::after(timeout))
    }

    /// Takes the lock to write, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`write_timeout`](RwLock::write_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let lock = multiproc::RwLock::new()?;
    /// let _writer = lock.write_deadline(Instant::now())?;
    /// assert_eq!(lock.to_string(), "<RwLock(written)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write_deadline(
        &self,
        deadline: Instant,
    ) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::at(deadline))
    }

    /// Waits until nobody writes or waits to write, and takes the lock to read, without blocking
    /// the thread that polls. For any executor. (Feature `async`.)
    ///
    /// As with [`Lock::acquire_async`](crate::Lock::acquire_async), the thread of the last poll is
    /// the holder, and the guard stays in it. A task waits also for what its own thread holds to
    /// write, as another task may have it.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: it has taken nothing before it is ready.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::TooMany`].
    ///
    /// ```
    /// let lock = multiproc::RwLock::new()?;
    /// async_io::block_on(async {
    ///     let _reader = lock.read_async().await?;
    ///     assert_eq!(lock.to_string(), "<RwLock(1 read)>");
    ///     Ok::<(), multiproc::Error>(())
    /// })?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn read_async(
        &self,
    ) -> impl Future<Output = Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>>> + Send {
        turnstile::until(
            (std::ptr::from_ref(&self.table.cells()[0]).addr(), 1),
            || Some(self.try_read()).filter(is_settled),
            || Reading(self.clone()),
        )
    }

    /// Waits until nobody else reads or writes, and takes the lock to write, without blocking the
    /// thread that polls. For any executor. (Feature `async`.)
    ///
    /// All else is as with [`read_async`](RwLock::read_async). Readers wait behind it for as long
    /// as a writer waits, as in [`write`](RwLock::write), with a gap now and then.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: it has taken nothing before it is ready. Readers may
    /// wait behind it for a quarter of a second longer.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::TooMany`].
    ///
    /// ```
    /// let lock = multiproc::RwLock::new()?;
    /// async_io::block_on(async {
    ///     let _writer = lock.write_async().await?;
    ///     assert_eq!(lock.to_string(), "<RwLock(written)>");
    ///     Ok::<(), multiproc::Error>(())
    /// })?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn write_async(
        &self,
    ) -> impl Future<Output = Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>>> + Send {
        turnstile::until(
            (std::ptr::from_ref(&self.table.cells()[0]).addr(), 2),
            || Some(self.try_write()).filter(is_settled),
            || Writing(self.clone()),
        )
    }

    fn read_until(&self, deadline: Deadline) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        let place = self.gate().read(deadline)?;
        self.or_poisoned(ReadGuard { table: &self.table, place, thread: PhantomData })
    }

    fn write_until(
        &self,
        deadline: Deadline,
    ) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.gate().write(deadline)?;
        self.or_poisoned(WriteGuard { table: &self.table, thread: PhantomData })
    }

    fn or_poisoned<G>(&self, guard: G) -> Result<G, AcquireError<G>> {
        match self.gate().poison() {
            Some((how, pid)) => {
                let how = if how == PANICKED { How::Panicked } else { How::Died };
                Err(AcquireError::Poisoned(Poisoned::new(guard, pid, how)))
            }
            None => Ok(guard),
        }
    }

    fn gate(&self) -> Gate<'_> {
        Gate::new(self.table.cells())
    }

    /// Returns `true` if a writer died or panicked and nobody has called
    /// [`clear_poison`](RwLock::clear_poison) since. Readers do not poison.
    ///
    /// ```
    /// use multiproc::{Process, RwLock};
    ///
    /// fn dies(lock: RwLock) {
    ///     let _writer = lock.write().unwrap();
    ///     std::process::abort();
    /// }
    ///
    /// let lock = RwLock::new()?;
    /// Process::new(dies, (lock.clone(),)).start()?.join().unwrap_err();
    /// assert!(lock.is_poisoned());
    /// let _reader = lock.read().or_else(|error| error.recover())?;
    /// lock.clear_poison();
    /// assert!(!lock.is_poisoned());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.gate().see_dead_writer();
        self.gate().poison().is_some()
    }

    /// Declares that the data behind the lock are in order again. See
    /// [`is_poisoned`](RwLock::is_poisoned).
    pub fn clear_poison(&self) {
        self.gate().clear_poison();
    }
}

/// Whether there is nothing to wait for. Another task of this thread may hold what is in the way,
/// so it is no deadlock.
#[cfg(feature = "async")]
fn is_settled<G>(acquired: &Result<G, AcquireError<G>>) -> bool {
    !matches!(acquired, Err(AcquireError::Busy | AcquireError::Deadlock))
}

/// Passes as a reader, whose death does nothing.
#[cfg(feature = "async")]
struct Reading(RwLock);

#[cfg(feature = "async")]
impl turnstile::Passage for Reading {
    fn pass(&self, deadline: Deadline) -> bool {
        match self.0.gate().read(deadline) {
            Ok(place) => self.0.gate().end_reading(place),
            // A task is to have the error.
            Err(why) => return why == Refused::Full,
        }
        true
    }

    /// Many can read at a time.
    fn is_for_one(&self) -> bool {
        false
    }
}

/// Passes as a writer that dies, if at all, before it has written.
#[cfg(feature = "async")]
struct Writing(RwLock);

#[cfg(feature = "async")]
impl turnstile::Passage for Writing {
    fn pass(&self, deadline: Deadline) -> bool {
        self.0.gate().pass(deadline).is_ok()
    }
}

impl fmt::Display for RwLock {
    /// `<RwLock(free)>`, `<RwLock(2 read)>` or `<RwLock(written)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gate().holders() {
            (0, false) => f.write_str("<RwLock(free)>"),
            (readers, false) => write!(f, "<RwLock({readers} read)>"),
            _ => f.write_str("<RwLock(written)>"),
        }
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Holds a [`RwLock`] to read, and lets go of it when it is dropped. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReadGuard<'a> {
    table: &'a Table,
    place: usize,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        let gate = Gate::new(self.table.cells());
        gate.end_reading(self.place);
    }
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadGuard")
    }
}

/// Holds a [`RwLock`] to write, and lets go of it when it is dropped; poisons it if that is because
/// of a panic. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a> {
    table: &'a Table,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        let gate = Gate::new(self.table.cells());
        gate.end_writing(std::thread::panicking());
    }
}

impl fmt::Debug for WriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteGuard")
    }
}
