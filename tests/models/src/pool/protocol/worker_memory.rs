//! The memory that a worker and its pool share, of which the checkers see the words that decide.

use std::sync::Arc;
use std::time::Duration;

use super::claim::{self, ClaimHandle, Epoch};
use super::unpublished::Unpublished;
use crate::channel::cells::AtomicU64;

#[derive(Clone)]
pub(crate) struct WorkerMemory(Arc<[AtomicU64; 2]>);

impl WorkerMemory {
    pub(crate) fn new() -> WorkerMemory {
        let words = std::array::from_fn(|_| AtomicU64::new(0));
        words.iter().for_each(AtomicU64::touch);
        WorkerMemory(Arc::new(words))
    }

    pub(crate) fn begin(&self, count: u32) -> bool {
        claim::begin(&self.0[0], count)
    }

    pub(crate) fn open(&self, epoch: Epoch, begun: u64) {
        claim::open(&self.0[0], epoch, begun);
    }

    pub(crate) fn close(&self, gate: &mut ClaimHandle) -> (u64, Epoch) {
        gate.close(&self.0[0])
    }

    pub(crate) fn begun(&self, gate: &ClaimHandle) -> u64 {
        gate.begun(&self.0[0])
    }

    pub(crate) fn has_written(&self, ahead: Unpublished) {
        ahead.store(&self.0[1]);
    }

    pub(crate) fn ahead(&self) -> Unpublished {
        Unpublished::load(&self.0[1])
    }

    /// Statistics, which nothing depends on.
    pub(crate) fn was_busy(&self, _busy: Duration) {}
}
