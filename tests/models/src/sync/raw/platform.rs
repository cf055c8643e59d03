//! What the state machines stand on.

pub(crate) use std::sync::atomic::Ordering;

pub(crate) use crate::sys::atomic::AtomicU32;
pub(crate) use crate::sys::wait::futex;
pub(crate) use crate::sys::wait::poll::Deadline;
pub(crate) use crate::sys::wait::robust::{self, OWNER, OWNER_DIED, Own, RobustCell, WAITERS};
