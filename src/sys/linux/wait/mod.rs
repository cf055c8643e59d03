//! Sleeping until something happens, and being woken.
//!
//! `poll` and `epoll` for descriptors, `futex` for words of shared memory, `robust` for the deaths
//! of those who would have woken us. All deadlines are of the monotonic clock (`CLOCK_MONOTONIC`),
//! which does not jump, and stands still while the machine is suspended.

pub(crate) mod epoll;
pub(crate) mod futex;
mod list_head;
pub(crate) mod poll;
pub(crate) mod robust;
pub(crate) mod whole;
