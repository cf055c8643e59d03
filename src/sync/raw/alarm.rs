//! A cell by which the kernel wakes somebody if a thread dies between two steps: armed before the
//! first, disarmed after the second. Nobody takes it as a lock, so that no other's wake-up can be
//! mistaken for its own.
//!
//! An end of a queue uses one where a change and a wake-up belong together: if the thread is killed
//! after the change, nobody else knows that somebody is to be woken. The kernel does.

use super::platform::{Ordering, Own, RobustCell, WAITERS};

/// From here on, the death of this thread wakes one who sleeps on the cell's word.
///
/// 1. `begin` announces the cell as pending (`list_op_pending`), so that the kernel looks at it
///    although it is not in the list yet.
/// 2. The word gets this thread's number with `WAITERS`, without which the kernel wakes nobody.
/// 3. The cell enters the list.
/// 4. `end` takes the announcement back.
///
/// Killed after 1, the thread has changed nothing; after 2, the kernel finds the cell by the
/// announcement; after 3, by either.
#[inline]
pub(crate) fn arm(own: Own, cell: &RobustCell) {
    // 1. From here on the kernel looks at the word. Without an owner in it, a death wakes somebody
    //    for nothing at the most.
    own.begin(cell);
    // 2. Armed. A plain store: no other thread writes to the word while the end's lock is held.
    cell.word.store(own.tid() | WAITERS, Ordering::Release);
    // 3. For when `end` has taken the announcement back, and other cells are announced.
    own.enlist(cell);
    own.end();
}

/// Undoes `arm`, again under an announcement: a thread that is killed after it left the list, with
/// its number still in the word, wakes somebody for nothing, which does no harm.
#[inline]
pub(crate) fn disarm(own: Own, cell: &RobustCell) {
    own.begin(cell);
    own.delist(cell);
    cell.word.store(0, Ordering::Release);
    own.end();
}
