//! The platform of the state machines: atomics, sleeping (`futex(2)`), deadlines, and robust lists.
//!
//! `tests/models` puts another file in the place of this one, with loom's atomics and a modelled
//! kernel. So a name that is added here has to be added there.

pub(crate) use std::hint::spin_loop as spin;
pub(crate) use std::sync::atomic::{AtomicU32, Ordering};
pub(crate) use std::thread::yield_now;
use std::time::Duration;

pub(crate) use crate::sys::wait::futex;
pub(crate) use crate::sys::wait::poll::Deadline;
pub(crate) use crate::sys::wait::robust::{self, OWNER, OWNER_DIED, Own, RobustCell, WAITERS};

/// Number of looks at a word before a thread sleeps on it: some microseconds, which is what a short
/// critical section takes, and less than to sleep and be woken.
pub(crate) const SPINS: usize = 100;

/// Time after which one who waits for a lock says that it hurries.
pub(crate) const HURRIES_AFTER: Duration = Duration::from_millis(1);

/// Orders the sequentially consistent accesses before and behind it, which are in order by
/// themselves: nothing to be done here. Loom takes them for weaker than they are, and its platform
/// has a fence in this place.
#[inline]
pub(crate) fn fence() {}
