//! Describes who may begin a task: a word that a worker and its pool share, so that a task is begun
//! or taken back, never both.
//!
//! Tasks go to a worker ahead of need, in order. The worker takes a number before it begins one, or
//! a few at once if they are short; the pool closes the word to take back all that are not begun,
//! and learns by the same instruction how many are. The worker opens the word again when it meets
//! the message that says so, behind those that were taken back. Each closing has a number, so that
//! a message from before a later closing opens nothing.
//!
//! ```text
//! | closed: 1 bit | number of the closing: 15 bits | tasks begun: 48 bits |
//! ```

use crate::channel::cells::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;
const EPOCH_SHIFT: u32 = 48;
const EPOCH: u64 = 0x7fff << EPOCH_SHIFT;
const COUNT: u64 = (1 << EPOCH_SHIFT) - 1;

/// The number of a closing.
pub(crate) type Epoch = u16;

/// Takes the numbers of so many more tasks; `false` if they are not to be begun.
#[inline]
pub(crate) fn begin(word: &AtomicU64, count: u32) -> bool {
    // More on a closed word does not matter: its count is written anew when it opens.
    word.fetch_add(count.into(), Ordering::SeqCst) & CLOSED == 0
}

/// Opens the word again, if it is closed by that closing still. `begun` is how many tasks were.
pub(crate) fn open(word: &AtomicU64, epoch: Epoch, begun: u64) {
    let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
        (old & CLOSED != 0 && epoch_of(old) == epoch).then_some((old & EPOCH) | (begun & COUNT))
    });
}

/// Describes what the pool knows of the word.
#[derive(Debug, Default)]
pub(crate) struct ClaimHandle {
    /// The last closing, and how many tasks were begun at it.
    closed: Option<(Epoch, u64)>,
}

impl ClaimHandle {
    /// Keeps further tasks from being begun, and returns how many are, and what opens the word
    /// again.
    pub(crate) fn close(&mut self, word: &AtomicU64) -> (u64, Epoch) {
        let before = word
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                let epoch = u64::from(epoch_of(old).wrapping_add(1)) << EPOCH_SHIFT & EPOCH;
                Some(CLOSED | epoch | (old & COUNT))
            })
            .unwrap_or_else(|old| old);
        let epoch = epoch_of(before).wrapping_add(1) & 0x7fff;
        let begun = match self.closed {
            // Not opened meanwhile: what its count says now is no count.
            Some((_, begun)) if before & CLOSED != 0 => begun,
            _ => before & COUNT,
        };
        self.closed = Some((epoch, begun));
        (begun, epoch)
    }

    /// Returns how many tasks are begun.
    pub(crate) fn begun(&self, word: &AtomicU64) -> u64 {
        let now = word.load(Ordering::SeqCst);
        match self.closed {
            Some((_, begun)) if now & CLOSED != 0 => begun,
            _ => now & COUNT,
        }
    }
}

fn epoch_of(word: u64) -> Epoch {
    u16::try_from((word & EPOCH) >> EPOCH_SHIFT).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_not_begun_until_it_is_opened() {
        let (word, mut gate) = (AtomicU64::new(0), ClaimHandle::default());
        assert!(begin(&word, 1) && begin(&word, 1));
        assert_eq!(gate.begun(&word), 2);
        let (begun, first) = gate.close(&word);
        assert_eq!(begun, 2);
        assert!(!begin(&word, 1) && !begin(&word, 1));
        assert_eq!(gate.begun(&word), 2);
        open(&word, first, 2);
        assert!(begin(&word, 1));
        assert_eq!(gate.begun(&word), 3);
    }

    #[test]
    fn an_older_opening_opens_nothing() {
        let (word, mut gate) = (AtomicU64::new(0), ClaimHandle::default());
        assert!(begin(&word, 1));
        let (_, first) = gate.close(&word);
        assert!(!begin(&word, 1));
        let (begun, second) = gate.close(&word);
        assert_eq!(begun, 1, "the worker's vain attempts do not count");
        assert_ne!(first, second);
        open(&word, first, 1);
        assert!(!begin(&word, 1));
        open(&word, second, 1);
        assert!(begin(&word, 1));
        assert_eq!(gate.begun(&word), 2);
    }

    #[test]
    fn the_number_of_a_closing_may_come_round() {
        let (word, mut gate) = (AtomicU64::new(0), ClaimHandle::default());
        for round in 0..70_000_u64 {
            assert!(begin(&word, 1));
            let (begun, epoch) = gate.close(&word);
            assert_eq!(begun, round + 1);
            assert!(!begin(&word, 1));
            open(&word, epoch, round + 1);
        }
    }

    /// A worker and its pool, with nothing between them but the word: each task is begun or taken
    /// back.
    #[test]
    fn a_task_is_begun_or_taken_back() {
        const TASKS: u64 = if cfg!(miri) { 30 } else { 20_000 };
        let word = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| (0..TASKS).take_while(|_| begin(&word, 1)).count() as u64);
            let pool = scope.spawn(|| ClaimHandle::default().close(&word).0);
            assert_eq!(worker.join().expect("worker"), pool.join().expect("pool").min(TASKS));
        });
    }
}
