//! Waits on a condition variable until a condition holds or a deadline is over.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::wait::poll::Deadline;

/// Waits until `is_so` holds of what `guard` protects. Returns `false` if it does not by
/// `deadline`.
///
/// The condition is tried before the deadline, so a deadline that is over makes this a question.
/// [`Condvar::wait_timeout_while`] takes a duration, where a deadline may also be a point in time
/// or never come.
///
/// A poisoned lock is used as it is: a thread that panicked must not make others hang.
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
