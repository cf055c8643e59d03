//! The memory that a worker and its pool share beside their messages: what the pool has to know of
//! a worker at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{self, ClaimHandle, Epoch};
use super::unpublished::Unpublished;
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
pub(crate) struct WorkerMemory(Crossing<LENGTH>);

impl WorkerMemory {
    pub(crate) fn create() -> Result<WorkerMemory> {
        Ok(WorkerMemory(Crossing(Segment::create("pool", LENGTH)?)))
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        let Crossing(segment) = &self.0;
        Arc::as_ref(segment).memory().at(offset)
    }

    /// In the worker: whether the next tasks are to be begun.
    #[inline]
    pub(crate) fn begin(&self, count: u32) -> bool {
        claim::begin(self.word(CLAIM), count)
    }

    /// In the worker: what it has written ahead.
    #[inline]
    pub(crate) fn has_written(&self, ahead: Unpublished) {
        ahead.store(self.word(AHEAD));
    }

    /// In the pool, when the worker is gone: what it had written ahead.
    pub(crate) fn ahead(&self) -> Unpublished {
        Unpublished::load(self.word(AHEAD))
    }

    /// In the worker: what was taken back is behind.
    pub(crate) fn open(&self, epoch: Epoch, begun: u64) {
        claim::open(self.word(CLAIM), epoch, begun);
    }

    /// In the worker, ahead of `begin`: when the task starts.
    pub(crate) fn starts(&self, now: Duration) {
        self.word(STARTED).store(nanoseconds(now), Ordering::Release);
    }

    /// In the worker: how long it was at work so far.
    #[inline]
    pub(crate) fn was_busy(&self, busy: Duration) {
        self.word(BUSY).store(nanoseconds(busy), Ordering::Relaxed);
    }

    /// In the pool: see `ClaimHandle::close`.
    pub(crate) fn close(&self, gate: &mut ClaimHandle) -> (u64, Epoch) {
        gate.close(self.word(CLAIM))
    }

    /// In the pool: see `ClaimHandle::begun`.
    pub(crate) fn begun(&self, gate: &ClaimHandle) -> u64 {
        gate.begun(self.word(CLAIM))
    }

    /// In the pool: for how long the task that began last has been running, as far as one can
    /// believe it.
    pub(crate) fn running_for(&self) -> Duration {
        let started = Duration::from_nanos(self.word(STARTED).load(Ordering::Acquire));
        poll::monotonic().saturating_sub(started)
    }

    /// In the pool: how long it was at work so far.
    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(self.word(BUSY).load(Ordering::Relaxed))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
