//! What the library's `sys` is to the state machines.

pub(crate) mod atomic;
pub(crate) mod ipc;
pub(crate) mod per_process;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod wait;
