//! Nobody looks again before it sleeps: that is the more difficult way.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Spin;

pub(crate) fn own_cpu() -> u64 {
    0
}

impl Spin {
    pub(crate) const fn new() -> Spin {
        Spin
    }

    pub(crate) fn until(&mut self, _: u64, _: u64, _: Instant, _: impl FnMut() -> bool) -> bool {
        false
    }

    pub(crate) fn slept(&mut self, _: Duration) {}
}
