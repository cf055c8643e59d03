//! A flag in one word, with the number of times that it was cleared. Who dies asleep leaves nothing
//! behind.
//!
//! Setting it and waking those who wait is one step, as nobody else would wake them if the one who
//! sets it died in between. Who waits goes on when the flag is set, or was and is cleared again.

use super::platform::{AtomicU32, Deadline, Ordering, futex};

const SET: u32 = 1;
/// Somebody may be asleep.
const WAITED_FOR: u32 = 2;
/// The first bit of the number of times.
const TIMES: u32 = 2;

pub(crate) fn is_set(word: &AtomicU32) -> bool {
    word.load(Ordering::Acquire) & SET != 0
}

pub(crate) fn set(word: &AtomicU32) {
    let seen = word.load(Ordering::Relaxed);
    // Written also if it is set already: who sees it set shall see what happened before.
    if seen & (SET | WAITED_FOR) == WAITED_FOR
        || word.compare_exchange(seen, seen | SET, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        futex::set_bit_and_wake(word, SET);
    }
}

pub(crate) fn clear(word: &AtomicU32) {
    let seen = word.load(Ordering::Relaxed);
    if seen & SET != 0 {
        let next = (seen >> TIMES).wrapping_add(1) << TIMES;
        // If it changed, somebody else cleared it (and set it again, perhaps: after us, then).
        let _ = word.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Waits until it is set; false if it was not until the deadline.
pub(crate) fn wait(word: &AtomicU32, deadline: Deadline) -> bool {
    let times = word.load(Ordering::Acquire) >> TIMES;
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
            futex::wait(word, waited_for, deadline);
        }
    }
}
