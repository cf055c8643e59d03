//! A permit of a semaphore: a member of its table with the role `HOLDS`.
//!
//! The object's number is how many permits exist; those that are free are that number less the
//! members that hold one. So a permit whose holder dies is free without anybody's doing; only
//! somebody who waits for it has to be woken, which the kernel does.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow::{Break, Continue};

use super::error::AcquireError;
use super::raw::members::{Entered, Member};
use super::table::Table;
use crate::sys::wait::poll::Deadline;

/// The role of a member that holds a permit.
const HOLDS: u32 = 1;
/// The role of a member that waits for one.
const WAITS: u32 = 2;

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
        let members = permit.table.members();
        match members.enter(Deadline::now()) {
            // A forked copy has only the copy of a permit.
            Some(entered) if !entered.own(permit.place).is_own() => {
                permit.table.unpin_if(entered.leave(permit.place))
            }
            Some(entered) => {
                // The number of free permits stays the same, so nobody is woken. Killed between the
                // two stores, the holder's death takes its member out, and the permit is forgotten
                // all the same; the other order would give it back.
                entered.set_object(entered.object().saturating_sub(1));
                permit.table.unpin_if(entered.leave(permit.place));
            }
            None => permit.table.unpin_if(members.resign(permit.place)),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let members = self.table.members();
        match members.enter(Deadline::now()) {
            Some(entered) => {
                wake_next(&entered);
                self.table.unpin_if(entered.leave(self.place));
            }
            None => self.table.unpin_if(members.resign(self.place)),
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// Takes a permit of the semaphore in `table`, or waits for one until `deadline`.
///
/// 1. Remove the dead, whose permits are free then.
/// 2. If a permit is free, become a member that holds one: a single store, before which the permit
///    is free and after which it is held.
/// 3. If more are free, wake the next one who waits.
/// 4. Otherwise wait as a member, and begin again when woken.
///
/// Step 3 passes a wake-up on: `release` wakes one waiter for each permit, and that one may find
/// that a newcomer was faster, or be killed.
pub(super) fn acquire(
    table: &Table,
    deadline: Deadline,
) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
    let acquired = table.members().wait_for(WAITS, 0, deadline, |entered, own| {
        remove_dead(&entered);
        // Counted anew each time: there is no number that a death could leave wrong.
        let free = value(&entered);
        if free > 0 {
            let Ok(place) = entered.take_role(own, HOLDS, 0) else {
                return Break(Err(AcquireError::TooMany));
            };
            // Whoever gave the permits woke one waiter for each, but the wake-up of one that was
            // killed, or was overtaken, has to be passed on.
            if free > 1 {
                // Before the permit is back, see `raw::members`: the waiter stands at the table's
                // lock by then.
                wake_next(&entered);
            }
            // A permit may be forgotten and the semaphore dropped; the robust list leads into its
            // memory still.
            table.pin();
            return Break(Ok(Permit { table, place, thread: PhantomData }));
        }
        if deadline.is_over() {
            own.map(|place| entered.leave(place));
            return Break(Err(AcquireError::Busy));
        }
        Continue(entered)
    });
    acquired.unwrap_or_else(|missed| Err(missed.into()))
}

/// Returns how many permits are free. Call `remove_dead` before.
fn value(entered: &Entered<'_>) -> u64 {
    let held = entered.living().filter(|member| member.role == HOLDS).count();
    entered.object().saturating_sub(held as u64)
}

/// Returns how many permits are free, for those who only ask; 0 if the table is held on.
pub(super) fn free(table: &Table) -> u64 {
    let Some(entered) = table.enter() else { return 0 };
    remove_dead(&entered);
    value(&entered)
}

/// Adds a permit, unless `most` or more are free. Returns whether it did.
///
/// A waiter is woken before the number changes; it waits for the table's lock meanwhile.
pub(super) fn add(table: &Table, most: u64) -> bool {
    let Some(entered) = table.members().enter(Deadline::Never) else { return false };
    remove_dead(&entered);
    // The greatest number is left out, so that the next addition cannot wrap around.
    if value(&entered) >= most || entered.object() == u64::MAX {
        return false;
    }
    wake_next(&entered);
    entered.set_object(entered.object() + 1);
    true
}

/// Removes the dead, and wakes all who wait: several deaths may have freed several permits, and the
/// kernel woke one for each, perhaps the same.
fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|_| {
        entered.living().filter(|member| member.role == WAITS).for_each(Member::wake)
    });
}

/// Wakes the one who has waited longest.
fn wake_next(entered: &Entered<'_>) {
    if let Some(next) =
        entered.living().filter(|member| member.role == WAITS).min_by_key(|member| member.ticket)
    {
        next.wake();
    }
}
