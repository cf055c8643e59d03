//! What the state machines of rings stand on: atomics, and copying into and out of words that others write to.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use crate::sys::copy::{load_onto, store};
