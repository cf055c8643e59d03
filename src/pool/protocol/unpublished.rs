//! The word in which a worker records the answers that it has written into its ring and not
//! published yet.
//!
//! To publish an answer costs two shared writes and perhaps a wake-up; a short task costs less. So
//! the worker writes the answers of short tasks ahead, behind the published end of the ring, and
//! publishes up to 4 KiB of them as one block. If it is killed in between, the pool reads this word
//! and takes the answers out of the ring (`WorkerProcess::salvage`): tasks that are done are never
//! run again and never reported as failed.
//!
//! # Order of operations
//!
//! 1. Worker: writes an answer behind the ones before it.
//! 2. Worker: stores this word, which now counts one more. From here on the answer survives a
//!    death.
//! 3. Worker: runs the next task, or publishes the block.
//!
//! Killed between 1 and 2, the answer is lost and its task counts as the one that was running: it
//! fails or is retried, as if the worker had died at its last instruction. Killed after publishing
//! and before the next store, the word still describes the published block; `mark` tells that its
//! record is no longer the next one of the ring, and the pool ignores it.

use crate::channel::cells::{AtomicU64, Ordering};

/// Position and size of the answers that are written ahead: one block, head included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unpublished {
    /// Sequence number that the ring gives the block when it is published. It tells a block that is
    /// still unpublished from one that was published since the word was stored.
    pub(crate) mark: u32,
    /// Number of answers in the block.
    pub(crate) count: u16,
    /// Length of the block in bytes, head included. The worker's blocks are at most 4 KiB.
    pub(crate) bytes: u16,
}

impl Unpublished {
    /// Stores the word, in the worker, after the answers were written.
    #[inline]
    pub(crate) fn store(self, word: &AtomicU64) {
        let value =
            u64::from(self.mark) << 32 | u64::from(self.count) << 16 | u64::from(self.bytes);
        // Release: a pool that loads this value sees the bytes that were written before it. One
        // store of 64 bits, so that no death leaves half of it.
        word.store(value, Ordering::Release);
    }

    /// Loads the word, in the pool, after the worker has ended.
    pub(crate) fn load(word: &AtomicU64) -> Unpublished {
        // Acquire: pairs with the store above. The kernel has reported the worker's death before,
        // but the memory model does not know that.
        let value = word.load(Ordering::Acquire);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "shifted and cut as it was put together"
        )]
        Unpublished { mark: (value >> 32) as u32, count: (value >> 16) as u16, bytes: value as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let word = AtomicU64::new(0);
        let ahead = Unpublished { mark: u32::MAX - 1, count: 515, bytes: 4095 };
        ahead.store(&word);
        assert_eq!(Unpublished::load(&word), ahead);
    }
}
