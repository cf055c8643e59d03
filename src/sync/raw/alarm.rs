//! A cell by which the kernel wakes somebody if a thread dies between two steps: armed before the
//! first, disarmed after the second. Nobody takes it as a lock, so that no other's wake-up can be
//! mistaken for its own.

use super::platform::{Ordering, Own, RobustCell, WAITERS};

/// From here on, the death of this thread wakes one who sleeps on the cell's word.
#[inline]
pub(crate) fn arm(own: Own, cell: &RobustCell) {
    own.begin(cell);
    cell.word.store(own.tid() | WAITERS, Ordering::Release);
    own.enlist(cell);
    own.end();
}

#[inline]
pub(crate) fn disarm(own: Own, cell: &RobustCell) {
    own.begin(cell);
    own.delist(cell);
    cell.word.store(0, Ordering::Release);
    own.end();
}
