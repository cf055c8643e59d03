//! A permit of a semaphore, as its holder has it. The state machine is `raw::permits`.

use std::fmt;
use std::marker::PhantomData;

use super::error::AcquireError;
use super::raw::permits::Permits;
use super::table::Table;
use crate::sys::wait::poll::Deadline;

/// A permit of a [`Semaphore`](crate::Semaphore) or [`BoundedSemaphore`](crate::BoundedSemaphore),
/// given back when it is dropped. It stays in its thread; if that dies, the kernel sees to it that
/// the permit comes back.
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit<'a> {
    table: &'a Table,
    place: usize,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl Permit<'_> {
    /// Takes the permit out of the semaphore for good: it comes back by nobody's drop or death,
    /// only by [`release`](crate::Semaphore::release). So one process can take what another gives,
    /// as CPython's semaphores are used for signals.
    ///
    /// ```
    /// use multiproc::{Process, Semaphore};
    ///
    /// // A signal: the child gives, this process takes.
    /// let done = Semaphore::new(0)?;
    /// let child = Process::new(|done: Semaphore| done.release(), (done.clone(),)).start()?;
    /// done.acquire()?.forget();
    /// assert_eq!(done.value(), 0);
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn forget(self) {
        let permit = std::mem::ManuallyDrop::new(self);
        permits(permit.table).forget(permit.place);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        permits(self.table).release(self.place);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// Takes a permit of the semaphore in `table`, or waits for one until `deadline`.
pub(super) fn acquire(
    table: &Table,
    deadline: Deadline,
) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
    let place = permits(table).acquire(deadline)?;
    Ok(Permit { table, place, thread: PhantomData })
}

/// The state machine over the memory of `table`.
pub(super) fn permits(table: &Table) -> Permits<'_> {
    Permits::new(table.cells())
}
