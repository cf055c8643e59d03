//! The memory that a worker and its pool share beside their link: four words that the pool can read
//! at any time, whatever the worker is doing, and after its death.
//!
//! The link tells the pool what came of tasks, in order, and only when the worker gets to say it.
//! These words answer the rest: how many tasks the worker has begun (so which one it is running),
//! since when, how long it was busy, and which answers it has written but not published.
//!
//! Nothing here is trusted. A worker that writes nonsense has its own tasks misjudged: they fail
//! early or late, or are given to others after some seconds. All words are plain atomics, so there
//! is no reference to memory that could change under the reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::{self, ClaimHandle, Epoch};
use super::unpublished::Unpublished;
use crate::error::Result;
use crate::sync::segment::{Crossing, Segment};
use crate::sys::wait::poll;

/// Size of the mapping: one page, the least there is.
const LENGTH: usize = 4096;

/// Offset of the claim word. The others stand two cache lines away: the worker writes them at every
/// task or pause, and the pool's polling of the claim would take their line from it.
const CLAIM: usize = 0;
/// Offset of the time at which the last task with a deadline began: nanoseconds of the monotonic
/// clock.
const STARTED: usize = 128;
/// Offset of the time at work so far, in nanoseconds.
const BUSY: usize = 136;
/// Offset of the word of [`Unpublished`] answers.
const AHEAD: usize = 144;

/// The words of one worker. The pool makes them, keeps a mapping, and sends the other to the worker
/// with its duty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerMemory(Crossing<LENGTH>);

impl WorkerMemory {
    /// Makes the memory, all zero: nothing begun, nothing written ahead.
    ///
    /// # Errors
    /// The system has no memory or no descriptors.
    pub(crate) fn create() -> Result<WorkerMemory> {
        Ok(WorkerMemory(Crossing(Segment::create("pool", LENGTH)?)))
    }

    /// The word at an offset, which is one of the constants above.
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        let Crossing(segment) = &self.0;
        Arc::as_ref(segment).memory().at(offset)
    }

    /// Claims the next `count` tasks, in the worker: see [`claim::begin`].
    #[inline]
    pub(crate) fn begin(&self, count: u32) -> bool {
        claim::begin(self.word(CLAIM), count)
    }

    /// Records, in the worker, what it has written ahead. Called after each short answer.
    #[inline]
    pub(crate) fn has_written(&self, ahead: Unpublished) {
        ahead.store(self.word(AHEAD));
    }

    /// Reads, in the pool and after the worker's end, what it had written ahead.
    pub(crate) fn ahead(&self) -> Unpublished {
        Unpublished::load(self.word(AHEAD))
    }

    /// Opens the claim word again, in the worker: see [`claim::open`].
    pub(crate) fn open(&self, epoch: Epoch, begun: u64) {
        claim::open(self.word(CLAIM), epoch, begun);
    }

    /// Records, in the worker, when the next task starts. Called before
    /// [`begin`](WorkerMemory::begin), so that a task that counts as begun never has the time of
    /// the one before it.
    pub(crate) fn starts(&self, now: Duration) {
        // Release: a pool that sees the claim that follows sees this time.
        self.word(STARTED).store(nanoseconds(now), Ordering::Release);
    }

    /// Records, in the worker, the time that it has spent on tasks so far.
    #[inline]
    pub(crate) fn was_busy(&self, busy: Duration) {
        // Relaxed: a statistic that nothing else depends on.
        self.word(BUSY).store(nanoseconds(busy), Ordering::Relaxed);
    }

    /// Closes the claim word, in the pool: see [`ClaimHandle::close`].
    pub(crate) fn close(&self, gate: &mut ClaimHandle) -> (u64, Epoch) {
        gate.close(self.word(CLAIM))
    }

    /// Returns how many tasks are begun, in the pool: see [`ClaimHandle::begun`].
    pub(crate) fn begun(&self, gate: &ClaimHandle) -> u64 {
        gate.begun(self.word(CLAIM))
    }

    /// Returns, in the pool, whether the worker may begin nothing: see [`ClaimHandle::is_closed`].
    pub(crate) fn is_closed(&self) -> bool {
        ClaimHandle::is_closed(self.word(CLAIM))
    }

    /// Returns, in the pool, for how long the task that began last with a deadline has been
    /// running, as far as the worker can be believed: a start in the future counts as now.
    pub(crate) fn running_for(&self) -> Duration {
        // Acquire: pairs with the store in `starts`, which comes before the claim.
        let started = Duration::from_nanos(self.word(STARTED).load(Ordering::Acquire));
        poll::monotonic().saturating_sub(started)
    }

    /// Returns, in the pool, how long the worker has been at work so far.
    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(self.word(BUSY).load(Ordering::Relaxed))
    }
}

/// Converts a duration to a word; one of more than 584 years becomes the largest.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
