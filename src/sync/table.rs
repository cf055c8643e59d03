//! A table of members in shared memory of its own: what semaphores, conditions, barriers and
//! reader-writer locks consist of.

use serde::{Deserialize, Serialize};

use super::raw::members::{Entered, Members};
use super::segment::{Crossing, Segment};
use crate::error::Result;
use crate::sys::wait::robust::RobustCell;

/// Number of threads that can hold or wait for one object. 1 MiB of address space; the kernel gives
/// pages as cells are used.
const MAX_MEMBERS: usize = 16_384;

/// In bytes: the table's lock and the members' cells.
const LENGTH: usize = (1 + MAX_MEMBERS) * size_of::<RobustCell>();

/// The shared memory of an object with members. Cloning it copies a handle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Table(Crossing<LENGTH>);

impl Table {
    /// Makes a table without members whose object's number is `object`. `what` names the object in
    /// errors.
    pub(super) fn create(what: &str, object: u64) -> Result<Table> {
        let table = Table(Crossing(Segment::create(what, LENGTH)?));
        if let Some(entered) = table.enter() {
            entered.set_object(object);
        }
        Ok(table)
    }

    /// Returns the table in this process's mapping.
    pub(super) fn members(&self) -> Members<'_> {
        let cells = self.0.0.memory().many(0, 1 + MAX_MEMBERS);
        Members::new(&cells[0], &cells[1..])
    }

    /// Keeps the mapping while a guard lives, even if it is forgotten: the robust list leads into
    /// it.
    pub(super) fn pin(&self) {
        self.0.0.memory().pin();
    }

    /// Undoes one `pin` if the guard's cell was in this thread's list: a forked copy has not pinned
    /// anything.
    pub(super) fn unpin_if(&self, was_own: bool) {
        if was_own {
            self.0.0.memory().unpin();
        }
    }

    /// Locks the table; `None` if somebody holds it for longer than anybody has a reason to
    /// (`members::SHORT_LOCK_TIMEOUT`).
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        self.members().enter(crate::sys::wait::poll::Deadline::now())
    }
}
