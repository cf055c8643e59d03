//! Counts how many things threads have in hand, of which the dead have none.

use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::raw::members::{Entered, Member, Missed};
use super::table::Table;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;

/// A count for each thread that has something in hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outstanding {
    table: Table,
}

/// Holds what members are: their value is how many they have.
const HOLDS: u32 = 1;
/// Waits until nobody has any.
const WAITS: u32 = 2;

/// Sets how long to sleep at a time where there is no room for one more who waits.
const ROUND: Duration = Duration::from_millis(50);

impl Outstanding {
    pub(crate) fn new() -> Result<Outstanding> {
        Ok(Outstanding { table: Table::create("joinable", 0)? })
    }

    /// This thread has one more; false if there is no room for another thread.
    pub(crate) fn add(&self) -> bool {
        let Some(entered) = self.table.enter() else { return false };
        remove_dead(&entered);
        match entered.living().find(|member| member.role == HOLDS && member.is_own()) {
            Some(own) => {
                own.set_value(own.value.saturating_add(1));
                true
            }
            None => {
                let joined = entered.join(HOLDS, 1).is_ok();
                if joined {
                    self.table.pin();
                }
                joined
            }
        }
    }

    /// This thread has one less, or if it has none, another one, of this process if there is one;
    /// false if nobody has any.
    pub(crate) fn remove(&self) -> bool {
        let Some(entered) = self.table.members().enter(Deadline::Never) else { return false };
        remove_dead(&entered);
        let holders = || entered.living().filter(|member| member.role == HOLDS && member.value > 0);
        let Some(holder) = holders().find(|member| member.is_own()).or_else(|| holders().next())
        else {
            return false;
        };
        if in_hand(&entered) == 1 {
            wake_all(&entered);
        }
        holder.set_value(holder.value - 1);
        if holder.value == 1 && holder.is_own() {
            self.table.unpin_if(entered.leave(holder.place));
        }
        true
    }

    /// Returns how many there are in all.
    pub(crate) fn count(&self) -> usize {
        let Some(entered) = self.table.enter() else { return 0 };
        remove_dead(&entered);
        usize::try_from(in_hand(&entered)).unwrap_or(usize::MAX)
    }

    /// Waits until nobody has any and `is_empty` says that no more are to come; false at the
    /// deadline.
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
