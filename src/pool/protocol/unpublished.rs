//! Describes what a worker has written into its ring but not published: a word that it shares with
//! its pool.

use crate::channel::cells::{AtomicU64, Ordering};

/// Answers that are written, behind the head of their block: how many, and the bytes of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unpublished {
    /// Which record they are to be.
    pub(crate) mark: u32,
    pub(crate) count: u16,
    pub(crate) bytes: u16,
}

impl Unpublished {
    /// In the worker, when it has written them.
    #[inline]
    pub(crate) fn store(self, word: &AtomicU64) {
        let value =
            u64::from(self.mark) << 32 | u64::from(self.count) << 16 | u64::from(self.bytes);
        // Release: who sees it sees what was written.
        word.store(value, Ordering::Release);
    }

    /// In the pool, when the worker is gone.
    pub(crate) fn load(word: &AtomicU64) -> Unpublished {
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
