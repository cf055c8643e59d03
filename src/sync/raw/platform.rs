//! The platform of the state machines: atomics, sleeping (`futex(2)`), deadlines, and robust lists.
//!
//! `tests/models` puts another file in the place of this one, with loom's atomics and a modelled
//! kernel. So a name that is added here has to be added there.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use crate::sys::wait::futex;
pub(crate) use crate::sys::wait::poll::Deadline;
pub(crate) use crate::sys::wait::robust::{self, OWNER, OWNER_DIED, Own, RobustCell, WAITERS};
