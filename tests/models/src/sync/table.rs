//! A small table of members.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::raw::members::{Entered, Members};
use super::segment::{Crossing, Segment};
use crate::error::Result;
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust::RobustCell;

const MAX_MEMBERS: usize = 4;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table(Crossing<0>);

impl Table {
    pub(crate) fn create(what: &str) -> Result<Table> {
        let segment: Arc<Segment> =
            Segment::create(what, (1 + MAX_MEMBERS) * size_of::<RobustCell>())?;
        Ok(Table(Crossing(segment)))
    }

    pub(crate) fn cells(&self) -> &[RobustCell] {
        self.0.0.all()
    }

    pub(crate) fn members(&self) -> Members<'_> {
        let cells = self.cells();
        Members::new(&cells[0], &cells[1..])
    }

    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.members().enter(Deadline::now())
    }
}
