//! The atomics and the copying that rings are written against. A model checker puts its own in this place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

pub(crate) use crate::sys::copy::{load_onto as copy_out, store as copy_in};
