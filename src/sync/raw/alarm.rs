//! A cell by which the kernel wakes somebody if a thread dies between two steps: armed before the first, disarmed after the
//! second. Nobody takes it as a lock, so that no other's wake-up can be mistaken for its own.

use super::platform::{Ordering, RobustCell, WAITERS, robust};

/// From here on, the death of this thread wakes one who sleeps on the cell's word.
pub(crate) fn arm(cell: &RobustCell) {
    robust::begin(cell);
    cell.word.store(robust::tid() | WAITERS, Ordering::Release);
    robust::enlist(cell);
    robust::end();
}

pub(crate) fn disarm(cell: &RobustCell) {
    robust::begin(cell);
    robust::delist(cell);
    cell.word.store(0, Ordering::Release);
    robust::end();
}
