//! Describes what the state machines stand on: atomics, sleeping, and the kernel's care for dead
//! owners.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use crate::sys::wait::futex;
pub(crate) use crate::sys::wait::poll::Deadline;
pub(crate) use crate::sys::wait::robust::{self, OWNER, OWNER_DIED, Own, RobustCell, WAITERS};
