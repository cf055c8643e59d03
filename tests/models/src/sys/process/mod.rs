//! Threads.

pub(crate) mod threads;
