//! Memory that consists of cells.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Result;
use crate::sys::wait::robust::RobustCell;

#[derive(Debug)]
pub(crate) struct Segment(Vec<RobustCell>);

impl Segment {
    pub(crate) fn create(_what: &str, length: usize) -> Result<Arc<Segment>> {
        Ok(Arc::new(Segment(
            (0..length / size_of::<RobustCell>()).map(|_| RobustCell::new()).collect(),
        )))
    }

    pub(crate) fn memory(&self) -> &Segment {
        self
    }

    pub(crate) fn is_same(&self, other: &Segment) -> bool {
        std::ptr::eq(self, other)
    }

    pub(crate) fn length(&self) -> usize {
        self.0.len() * size_of::<RobustCell>()
    }

    pub(crate) fn at(&self, offset: usize) -> &RobustCell {
        &self.0[offset / size_of::<RobustCell>()]
    }

    pub(crate) fn all(&self) -> &[RobustCell] {
        &self.0
    }
}

/// It never crosses.
#[derive(Clone, Debug)]
pub(crate) struct Crossing<const LENGTH: usize>(pub(crate) Arc<Segment>);

impl<const LENGTH: usize> Serialize for Crossing<LENGTH> {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        unimplemented!("models do not send")
    }
}

impl<'de, const LENGTH: usize> Deserialize<'de> for Crossing<LENGTH> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Crossing<LENGTH>, D::Error> {
        unimplemented!("models do not receive")
    }
}
