//! When a worker looks after what its tasks have left behind.

use std::time::{Duration, Instant};

use crate::sys::process::leftovers::Leftovers;

/// Time below which a request has started no process, as that takes longer.
const SHORTEST: Duration = Duration::from_micros(100);

/// Requests between two looks of a worker that never has to wait for one.
const BUSY: u32 = 256;

/// What tasks have left behind, and when it is looked at.
pub(super) struct Left {
    leftovers: Leftovers,
    /// When the first request came after a wait.
    begun: Instant,
    /// When to look at the latest; `None` if there was nothing.
    due: Option<Instant>,
    requests: u32,
}

impl Left {
    pub(super) fn new() -> Left {
        Left { leftovers: Leftovers::default(), begun: Instant::now(), due: None, requests: 0 }
    }

    /// Looks, unless that would be in vain or too often. Returns when to look again, if the worker
    /// is idle until then.
    pub(super) fn due(&mut self, is_idle: bool) -> Option<Instant> {
        self.requests = self.requests.wrapping_add(1);
        if !is_idle && !self.requests.is_multiple_of(BUSY) {
            return None;
        }
        let now = Instant::now();
        if self.due.is_some() || !is_idle || now >= self.begun + SHORTEST {
            self.due = self.leftovers.take(now);
        }
        self.due.filter(|_| is_idle)
    }

    /// A request has come.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }
}
