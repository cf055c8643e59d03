//! A table of members in shared memory of its own.

use serde::{Deserialize, Serialize};

use super::raw::members::{Entered, Members};
use super::segment::{Crossing, Segment};
use crate::error::Result;
use crate::sys::wait::robust::RobustCell;

/// Sets how many threads can hold or wait for one object. Memory is taken as they come.
const MAX_MEMBERS: usize = 16_384;

/// The lock and the members.
const LENGTH: usize = (1 + MAX_MEMBERS) * size_of::<RobustCell>();

/// The shared memory of an object with members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Table(Crossing<LENGTH>);

impl Table {
    pub(super) fn create(what: &str, object: u64) -> Result<Table> {
        let table = Table(Crossing(Segment::create(what, LENGTH)?));
        if let Some(entered) = table.enter() {
            entered.set_object(object);
        }
        Ok(table)
    }

    pub(super) fn members(&self) -> Members<'_> {
        let cells = self.0.0.memory().many(0, 1 + MAX_MEMBERS);
        Members::new(&cells[0], &cells[1..])
    }

    /// A guard in its memory begins to live.
    pub(super) fn pin(&self) {
        self.0.0.memory().pin();
    }

    /// A guard in its memory is gone, if it was this thread's.
    pub(super) fn unpin_if(&self, was_own: bool) {
        if was_own {
            self.0.0.memory().unpin();
        }
    }

    /// Locks it; `None` if somebody who should not holds it on.
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        self.members().enter(crate::sys::wait::poll::Deadline::now())
    }
}
