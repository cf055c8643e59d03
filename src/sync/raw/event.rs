//! A flag in one word, with the number of times that it was cleared. A waiter that is killed leaves
//! nothing behind but `WAITED_FOR`, which costs the next `set` one needless call of the kernel.
//!
//! ```text
//!  bit 0      SET: the flag
//!  bit 1      WAITED_FOR: somebody may sleep on the word
//!  bits 2..   how often the flag was cleared, modulo 2^30
//! ```
//!
//! Setting it and waking those who wait is one step of the kernel (`FUTEX_WAKE_OP`), because nobody
//! else would wake them if the one who sets it were killed in between. A waiter goes on when it
//! finds the flag set, or a greater number than when it began: then the flag was set and cleared
//! again while it slept.

use super::platform::{AtomicU32, Deadline, Ordering, futex};

const SET: u32 = 1;
/// Somebody may be asleep.
const WAITED_FOR: u32 = 2;
/// The first bit of the number of times.
const TIMES: u32 = 2;

/// Returns the flag. `Acquire`: whoever sees it set sees what happened before `set`.
pub(crate) fn is_set(word: &AtomicU32) -> bool {
    word.load(Ordering::Acquire) & SET != 0
}

/// Sets the flag and wakes all who wait.
///
/// Without waiters it is one compare-exchange. It is written even if the flag is set already, so
/// that whoever sees it set also sees what this thread did before. With waiters, or if the word
/// changed in between, the kernel sets the bit and wakes in one step; it can be asked too often,
/// never too late.
pub(crate) fn set(word: &AtomicU32) {
    let seen = word.load(Ordering::Relaxed);
    // Written also if it is set already: who sees it set shall see what happened before.
    if seen & (SET | WAITED_FOR) == WAITED_FOR
        || word.compare_exchange(seen, seen | SET, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        futex::set_bit_and_wake(word, SET);
    }
}

/// Clears the flag, if it is set, and counts that.
///
/// `WAITED_FOR` goes away with it: the `set` that came before woke all who slept, and whoever is
/// about to sleep finds another value in the word than it gave the kernel, and looks again.
pub(crate) fn clear(word: &AtomicU32) {
    let seen = word.load(Ordering::Relaxed);
    if seen & SET != 0 {
        // Only from the value that was seen: a `set` that comes between must not be undone.
        let next = (seen >> TIMES).wrapping_add(1) << TIMES;
        // If it changed, somebody else cleared it (and set it again, perhaps: after us, then).
        let _ = word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Waits until the flag is set; returns false if it was not until `deadline`.
///
/// 1. Read the number of times.
/// 2. If the flag is set or the number differs, return.
/// 3. Put `WAITED_FOR` into the word.
/// 4. Sleep as long as the word has exactly this value.
///
/// A `set` between 2 and 3 makes the exchange fail; one between 3 and 4 changes the word, so that
/// the kernel does not put this thread to sleep. Killed at any step, it has promised nothing to
/// anybody.
pub(crate) fn wait(word: &AtomicU32, deadline: Deadline) -> bool {
    // What counts as "since I came" is decided here, before anything else is looked at.
    wait_since(word, times(word), deadline)
}

/// Returns how often the flag was cleared, for `wait_since`.
pub(crate) fn times(word: &AtomicU32) -> u32 {
    word.load(Ordering::Acquire) >> TIMES
}

/// Prepares to sleep on the word as `wait_since` does: returns the value that it has then; `None`
/// if `wait_since` would return, or if others change the word again and again.
#[cfg(feature = "async")]
pub(crate) fn arm(word: &AtomicU32, times: u32) -> Option<u32> {
    for _ in 0..64 {
        let seen = word.load(Ordering::Acquire);
        if seen & SET != 0 || seen >> TIMES != times {
            return None;
        }
        let waited_for = seen | WAITED_FOR;
        if seen == waited_for
            || word.compare_exchange(seen, waited_for, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return Some(waited_for);
        }
    }
    None
}

/// Waits until the flag is set or has been since `times` was read; false if not until `deadline`.
pub(crate) fn wait_since(word: &AtomicU32, times: u32, deadline: Deadline) -> bool {
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen & SET != 0 || seen >> TIMES != times {
            return true;
        }
        if deadline.is_over() {
            return false;
        }
        let waited_for = seen | WAITED_FOR;
        if seen == waited_for
            || word.compare_exchange(seen, waited_for, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            // If the exchange failed, the word changed: look again instead of sleeping.
            futex::wait(word, waited_for, deadline);
        }
    }
}
