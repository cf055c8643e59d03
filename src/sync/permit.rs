//! A permit of a semaphore, and how it is come by.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow::{Break, Continue};

use super::error::AcquireError;
use super::raw::members::{Entered, Member};
use super::table::Table;
use crate::sys::wait::poll::Deadline;

/// Holds what members of a semaphore are.
const HOLDS: u32 = 1;
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
    pub fn forget(self) {
        let permit = std::mem::ManuallyDrop::new(self);
        let members = permit.table.members();
        match members.enter(Deadline::now()) {
            // A forked copy has only the copy of a permit.
            Some(entered) if !entered.own(permit.place).is_own() => {
                permit.table.unpin_if(entered.leave(permit.place))
            }
            Some(entered) => {
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

/// Takes a permit of the semaphore in `table`.
pub(super) fn acquire(
    table: &Table,
    deadline: Deadline,
) -> Result<Permit<'_>, AcquireError<Permit<'_>>> {
    let acquired = table.members().wait_for(WAITS, 0, deadline, |entered, own| {
        remove_dead(&entered);
        let free = value(&entered);
        if free > 0 {
            let Ok(place) = entered.take_role(own, HOLDS, 0) else {
                return Break(Err(AcquireError::TooMany));
            };
            if free > 1 {
                wake_next(&entered);
            }
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

/// Returns how many permits are free. (The dead are buried already.)
fn value(entered: &Entered<'_>) -> u64 {
    let held = entered.living().filter(|member| member.role == HOLDS).count();
    entered.object().saturating_sub(held as u64)
}

/// Returns how many permits are free, for those who only ask.
pub(super) fn free(table: &Table) -> u64 {
    let Some(entered) = table.enter() else { return 0 };
    remove_dead(&entered);
    value(&entered)
}

/// Adds a permit, unless there were more than `most` free ones then.
pub(super) fn add(table: &Table, most: u64) -> bool {
    let Some(entered) = table.members().enter(Deadline::Never) else { return false };
    remove_dead(&entered);
    if value(&entered) >= most || entered.object() == u64::MAX {
        return false;
    }
    wake_next(&entered);
    entered.set_object(entered.object() + 1);
    true
}

fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|_| {
        entered.living().filter(|member| member.role == WAITS).for_each(Member::wake)
    });
}

/// Wakes who has waited longest.
fn wake_next(entered: &Entered<'_>) {
    if let Some(next) =
        entered.living().filter(|member| member.role == WAITS).min_by_key(|member| member.ticket)
    {
        next.wake();
    }
}
