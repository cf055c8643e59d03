//! The claim word: one atomic that decides, for each task, whether the worker begins it or the pool
//! takes it back, never both.
//!
//! The pool sends tasks to a worker ahead of need, in order. The worker claims the next ones by
//! adding to the count before it runs them: one at a time, or a few at once if they are short. To
//! take back what is not begun, the pool closes the word; the same instruction tells it how many
//! tasks were begun. The worker opens the word again when it meets [`Request::Open`] in its link,
//! behind the tasks that were taken back and that it therefore skips.
//!
//! ```text
//! | closed: 1 bit | epoch: 15 bits | tasks begun: 48 bits |
//! ```
//!
//! Each closing has a number, its *epoch*, so that a message from before a later closing opens
//! nothing. 15 bits are enough: the pool sends one `Open` for each closing, and the link cannot
//! hold 32,768 of them that the worker has not read.
//!
//! # Order of operations
//!
//! 1. Pool: [`ClaimHandle::close`] sets the bit and reads the count.
//! 2. Pool: sends `Open(epoch)` behind all that it had sent.
//! 3. Worker: [`begin`] meets a closed word and runs nothing more of what it has.
//! 4. Worker: reads `Open(epoch)` and calls [`open`] with its own count of tasks begun, as its
//!    failed attempts in step 3 have added to that of the word.
//!
//! A worker that is killed between any two of these leaves a count that is right for the pool: its
//! attempts before step 1 succeeded and are counted, those after it failed, and the pool keeps the
//! count of step 1. If the program dies, its workers end with it, and nobody reads the word.
//!
//! [`Request::Open`]: super::messages::Request::Open

use crate::channel::cells::{AtomicU64, Ordering};

/// Set while the worker may begin nothing.
const CLOSED: u64 = 1 << 63;
/// Position of the epoch in the word.
const EPOCH_SHIFT: u32 = 48;
/// The bits of the epoch.
const EPOCH: u64 = 0x7fff << EPOCH_SHIFT;
/// The bits that count tasks begun: at a task each nanosecond, they last for three days; at the
/// measured rate of a worker, for years.
const COUNT: u64 = (1 << EPOCH_SHIFT) - 1;

/// The number of a closing, modulo 2^15.
pub(crate) type Epoch = u16;

/// Claims the next `count` tasks, in the worker. Returns `false` if the pool has closed the word:
/// then none of them may be run.
#[inline]
pub(crate) fn begin(word: &AtomicU64, count: u32) -> bool {
    // A plain addition, as a loop of compare-and-exchange costs more than a short task. It also
    // adds to a word that is closed, which does no harm: the count is written anew when the word
    // opens.
    //
    // SeqCst: the pool decides from this word and from answers in the ring which tasks are begun;
    // both sides must agree on which came first.
    word.fetch_add(count.into(), Ordering::SeqCst) & CLOSED == 0
}

/// Opens the word, in the worker, unless the pool has closed it again since `epoch`. `begun` is the
/// number of tasks that the worker has begun since it started.
pub(crate) fn open(word: &AtomicU64, epoch: Epoch, begun: u64) {
    // Fails, as it should, for a word that is open or was closed again: the later closing has an
    // `Open` of its own on its way.
    let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
        (old & CLOSED != 0 && epoch_of(old) == epoch).then_some((old & EPOCH) | (begun & COUNT))
    });
}

/// The pool's side of the claim word. The driver owns one for each worker, and calls it with the
/// driver's lock held.
#[derive(Debug, Default)]
pub(crate) struct ClaimHandle {
    /// Epoch of the last closing, and the number of tasks begun at that moment. It is not shared: a
    /// worker that lies in the word cannot change what was read before.
    closed: Option<(Epoch, u64)>,
}

impl ClaimHandle {
    /// Closes the word. Returns how many tasks are begun, and the epoch that opens the word again.
    pub(crate) fn close(&mut self, word: &AtomicU64) -> (u64, Epoch) {
        // Never fails: the closure gives a new value for whatever is there.
        let before = word
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                let epoch = u64::from(epoch_of(old).wrapping_add(1)) << EPOCH_SHIFT & EPOCH;
                Some(CLOSED | epoch | (old & COUNT))
            })
            .unwrap_or_else(|old| old);
        let epoch = epoch_of(before).wrapping_add(1) & 0x7fff;
        let begun = match self.closed {
            // Still closed by the last closing: the worker's failed attempts are in the count, so
            // the number that was read then is the one that holds.
            Some((_, begun)) if before & CLOSED != 0 => begun,
            _ => before & COUNT,
        };
        self.closed = Some((epoch, begun));
        (begun, epoch)
    }

    /// Returns whether the word is closed: the worker has not come to the last opening yet.
    pub(crate) fn is_closed(word: &AtomicU64) -> bool {
        // Relaxed: only a hint that the worker is alive, which no task depends on.
        word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Returns how many tasks are begun, without closing the word.
    pub(crate) fn begun(&self, word: &AtomicU64) -> u64 {
        // SeqCst, as in `begin`: the count must not be older than answers that were read before.
        let now = word.load(Ordering::SeqCst);
        match self.closed {
            // While the word is closed, its count has failed attempts in it.
            Some((_, begun)) if now & CLOSED != 0 => begun,
            _ => now & COUNT,
        }
    }
}

/// Extracts the epoch of a word.
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
        assert!(!begin(&word, 1) && ClaimHandle::is_closed(&word));
        let (begun, second) = gate.close(&word);
        assert_eq!(begun, 1, "the worker's vain attempts do not count");
        assert_ne!(first, second);
        open(&word, first, 1);
        assert!(!begin(&word, 1));
        open(&word, second, 1);
        assert!(begin(&word, 1) && !ClaimHandle::is_closed(&word));
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
