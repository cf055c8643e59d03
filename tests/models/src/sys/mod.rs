//! What the library's `sys` is to the state machines.

pub(crate) mod atomic;
pub(crate) mod futex;
pub(crate) mod per_process;
pub(crate) mod poll;
pub(crate) mod robust;
pub(crate) mod socket;
pub(crate) mod threads;
