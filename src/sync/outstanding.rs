//! Items that consumers of a joinable queue have in hand: taken, and not yet reported as done.
//!
//! CPython counts them in a semaphore (`_unfinished_tasks`), so a consumer that dies keeps `join()`
//! waiting for ever. Here each thread that has items is a member of a table, and its value is how
//! many; the items of a dead thread go with its cell.

use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::raw::members::{Entered, Member, Missed};
use super::table::Table;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;

/// The counts of all threads that have items in hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outstanding {
    table: Table,
}

/// The role of a thread that has items; its value is their number.
const HOLDS: u32 = 1;
/// The role of a thread that waits until nobody has any.
const WAITS: u32 = 2;

/// Time that a waiter sleeps at once if there is no free cell for it: nobody wakes it then.
const ROUND: Duration = Duration::from_millis(50);

impl Outstanding {
    /// Makes a table in which nobody has anything.
    pub(crate) fn new() -> Result<Outstanding> {
        Ok(Outstanding { table: Table::create("joinable")? })
    }

    /// Adds one item to this thread's. Returns false if there is no room for another thread or the
    /// table is held on.
    pub(crate) fn add(&self) -> bool {
        let Some(entered) = self.table.enter() else { return false };
        remove_dead(&entered);
        match entered.living().find(|member| member.role == HOLDS && member.is_own()) {
            // One cell for a thread, however many items it has.
            Some(own) => {
                own.set_value(own.value.saturating_add(1));
                true
            }
            None => entered.join(HOLDS, 1).is_ok(),
        }
    }

    /// Takes one item off this thread's count, or if it has none, off another thread's (the
    /// consumer that took an item need not be the one that reports it). Returns false if nobody has
    /// any.
    ///
    /// Waiters are woken before the count changes, see `raw::members`.
    pub(crate) fn remove(&self) -> bool {
        let Some(entered) = self.table.members().enter(Deadline::Never) else { return false };
        remove_dead(&entered);
        let holders = || entered.living().filter(|member| member.role == HOLDS && member.value > 0);
        // The own count first, so that this thread's death takes with it only what it has.
        let Some(holder) = holders().find(|member| member.is_own()).or_else(|| holders().next())
        else {
            return false;
        };
        // The last item: whoever waits for the end may go on. Woken first, changed then.
        if in_hand(&entered) == 1 {
            wake_all(&entered);
        }
        holder.set_value(holder.value - 1);
        if holder.value == 1 && holder.is_own() {
            entered.leave(holder.place);
        }
        true
    }

    /// Returns how many items are in hand, of the living.
    pub(crate) fn count(&self) -> usize {
        let Some(entered) = self.table.enter() else { return 0 };
        remove_dead(&entered);
        usize::try_from(in_hand(&entered)).unwrap_or(usize::MAX)
    }

    /// Waits until nobody has any items and `is_empty` says that none are left to be taken. Returns
    /// false at `deadline`.
    ///
    /// The queue is asked first, then the counts: a consumer adds to its count before it takes an
    /// item out of the queue, so an item that left the queue in between is found in hand.
    pub(crate) fn wait_empty(&self, deadline: Deadline, is_empty: impl Fn() -> bool) -> bool {
        loop {
            let waited = self.table.members().wait_for(WAITS, 0, deadline, |entered, own| {
                remove_dead(&entered);
                // In this order: what is taken between is in hand by then.
                let is_done = is_empty() && in_hand(&entered) == 0;
                if is_done || deadline.is_over() {
                    own.map(|place| entered.leave(place));
                    return Break(is_done);
                }
                Continue(entered)
            });
            match waited {
                Ok(is_done) => return is_done,
                Err(Missed::Locked) => return false,
                // Nobody would wake us.
                Err(Missed::Full) => {
                    std::thread::sleep(deadline.left().map_or(ROUND, |left| left.min(ROUND)))
                }
            }
        }
    }
}

/// The sum over the living, which a process that means no good could make as high as it likes.
fn in_hand(entered: &Entered<'_>) -> u64 {
    entered
        .living()
        .filter(|member| member.role == HOLDS)
        .fold(0, |sum: u64, member| sum.saturating_add(member.value))
}

fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|_| wake_all(entered));
}

fn wake_all(entered: &Entered<'_>) {
    entered.living().filter(|member| member.role == WAITS).for_each(Member::wake);
}
