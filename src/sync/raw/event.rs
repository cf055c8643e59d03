//! A flag in one word: unset, set, or unset with somebody asleep. Who dies asleep leaves nothing behind.

use super::platform::{AtomicU32, Deadline, Ordering, futex};

const UNSET: u32 = 0;
pub(crate) const SET: u32 = 1;
const WAITED_FOR: u32 = 2;

pub(crate) fn set(word: &AtomicU32) {
    if word.swap(SET, Ordering::AcqRel) == WAITED_FOR {
        futex::wake(word, u32::MAX);
    }
}

pub(crate) fn clear(word: &AtomicU32) {
    let _ = word.compare_exchange(SET, UNSET, Ordering::AcqRel, Ordering::Relaxed);
}

/// Waits until it is set; false if it was not until the deadline.
pub(crate) fn wait(word: &AtomicU32, deadline: Deadline) -> bool {
    loop {
        match word.compare_exchange(UNSET, WAITED_FOR, Ordering::AcqRel, Ordering::Acquire) {
            Err(SET) => return true,
            Ok(_) | Err(_) if deadline.is_over() => return false,
            Ok(_) | Err(WAITED_FOR) => futex::wait(word, WAITED_FOR, deadline),
            // No value of ours: somebody else wrote it.
            Err(other) => {
                let _ = word.compare_exchange(other, WAITED_FOR, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }
}
