//! The memory that a worker and its pool share beside their messages: what the pool has to know of a worker at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use super::claim::{self, Epoch, Gate};
use crate::error::Result;
use crate::sync::segment::{Crossing, Segment};
use crate::sys::wait::poll;

const LENGTH: usize = 4096;

/// Where the words are: what the worker writes at every task is apart from the claim.
const CLAIM: usize = 0;
const STARTED: usize = 128;
const BUSY: usize = 136;
const AHEAD: usize = 144;

/// A worker's words. A hostile worker can write there what it likes: it harms nobody but itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slate(Crossing<LENGTH>);

impl Slate {
    pub(super) fn create() -> Result<Slate> {
        Ok(Slate(Crossing(Segment::create("pool", LENGTH)?)))
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        let Crossing(segment) = &self.0;
        Arc::as_ref(segment).memory().at(offset)
    }

    /// In the worker: whether the next tasks are to be begun.
    #[inline]
    pub(super) fn begin(&self, count: u32) -> bool {
        claim::begin(self.word(CLAIM), count)
    }

    /// In the worker: what it has written ahead.
    #[inline]
    pub(super) fn has_written(&self, ahead: Ahead) {
        ahead.store(self.word(AHEAD));
    }

    /// In the pool, when the worker is gone: what it had written ahead.
    pub(super) fn ahead(&self) -> Ahead {
        Ahead::load(self.word(AHEAD))
    }

    /// In the worker: what was taken back is behind.
    pub(super) fn open(&self, epoch: Epoch, begun: u64) {
        claim::open(self.word(CLAIM), epoch, begun);
    }

    /// In the worker, ahead of `begin`: when the task starts.
    pub(super) fn starts(&self, now: Duration) {
        self.word(STARTED).store(nanoseconds(now), Ordering::Release);
    }

    /// In the worker: how long it was at work so far.
    #[inline]
    pub(super) fn was_busy(&self, busy: Duration) {
        self.word(BUSY).store(nanoseconds(busy), Ordering::Relaxed);
    }

    /// In the pool: see `Gate::close`.
    pub(super) fn close(&self, gate: &mut Gate) -> (u64, Epoch) {
        gate.close(self.word(CLAIM))
    }

    /// In the pool: see `Gate::begun`.
    pub(super) fn begun(&self, gate: &Gate) -> u64 {
        gate.begun(self.word(CLAIM))
    }

    /// In the pool: for how long the task that began last has been running, as far as one can believe it.
    pub(super) fn running_for(&self) -> Duration {
        let started = Duration::from_nanos(self.word(STARTED).load(Ordering::Acquire));
        poll::monotonic().saturating_sub(started)
    }

    /// In the pool: how long it was at work so far.
    pub(super) fn busy(&self) -> Duration {
        Duration::from_nanos(self.word(BUSY).load(Ordering::Relaxed))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
