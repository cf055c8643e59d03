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
    /// Makes a table without members. `what` names the object in errors.
    pub(super) fn create(what: &str) -> Result<Table> {
        Ok(Table(Crossing(Segment::create(what, LENGTH)?)))
    }

    /// Returns all cells in this process's mapping, for objects that use them in their own way.
    pub(super) fn cells(&self) -> &[RobustCell] {
        self.0.0.memory().many(0, 1 + MAX_MEMBERS)
    }

    /// Returns the table in this process's mapping.
    pub(super) fn members(&self) -> Members<'_> {
        let cells = self.cells();
        Members::new(&cells[0], &cells[1..])
    }

    /// Locks the table; `None` if somebody holds it for longer than anybody has a reason to
    /// (`members::SHORT_LOCK_TIMEOUT`).
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        self.members().enter(crate::sys::wait::poll::Deadline::now())
    }
}
