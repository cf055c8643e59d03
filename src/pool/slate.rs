//! The memory that a worker and its pool share beside their messages: what the pool has to know of a worker at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{self, Epoch, Gate};
use crate::error::Result;
use crate::sync::segment::{Crossing, Segment};
use crate::sys::poll;

const LENGTH: usize = 4096;

/// Where the words are: what the worker writes at every task is apart from the claim.
const CLAIM: usize = 0;
const STARTED: usize = 128;
const BUSY: usize = 136;
const AHEAD: usize = 144;

/// Answers that a worker has written into its ring but not published: how many, and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Which record they are to be.
    pub(super) mark: u32,
    pub(super) count: u16,
    pub(super) bytes: u16,
}

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
        let word = u64::from(ahead.mark) << 32 | u64::from(ahead.count) << 16 | u64::from(ahead.bytes);
        // Release: who sees it sees what was written.
        self.word(AHEAD).store(word, Ordering::Release);
    }

    /// In the pool, when the worker is gone: what it had written ahead.
    pub(super) fn ahead(&self) -> Ahead {
        let word = self.word(AHEAD).load(Ordering::Acquire);
        #[expect(clippy::cast_possible_truncation, reason = "shifted and cut as it was put together")]
        Ahead { mark: (word >> 32) as u32, count: (word >> 16) as u16, bytes: word as u16 }
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
