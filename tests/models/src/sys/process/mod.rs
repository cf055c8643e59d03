//! Threads, and the end of a process.

pub(crate) mod exit;
pub(crate) mod threads;
