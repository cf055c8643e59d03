//! Waits on a condition variable until a state holds or a deadline is over.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::wait::poll::Deadline;

/// Blocks until `is_so` holds of the state behind `guard`, and returns whether it did by
/// `deadline`.
///
/// The state is looked at before the deadline, so a wait of no time at all is a question.
/// `Condvar::wait_timeout_while` would need a duration: a deadline that never comes has none, and
/// one that is a point in time has another after each spurious wake-up.
///
/// A poisoned lock is taken as it is: who panicked while it was held has shown the panic, and the
/// state is one that each of its users leaves whole between two statements.
pub(super) fn wait_until<T>(
    changed: &Condvar,
    mut guard: MutexGuard<'_, T>,
    deadline: Deadline,
    is_so: impl Fn(&T) -> bool,
) -> bool {
    while !is_so(&guard) {
        guard = match deadline.left() {
            Some(Duration::ZERO) => return false,
            Some(left) => {
                changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
        };
    }
    true
}
