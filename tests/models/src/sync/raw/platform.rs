//! What the state machines stand on.

pub(crate) use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use crate::backend::{fence, yield_now};
pub(crate) use crate::sys::atomic::AtomicU32;
pub(crate) use crate::sys::wait::futex;
pub(crate) use crate::sys::wait::poll::Deadline;
pub(crate) use crate::sys::wait::robust::{self, OWNER, OWNER_DIED, Own, RobustCell, WAITERS};

/// Others run in every order anyway.
pub(crate) const SPINS: usize = 0;

/// A time that does not come.
pub(crate) const HURRIES_AFTER: Duration = Duration::from_secs(10);

pub(crate) fn spin() {}
