//! Sleeping until something happens, and being woken.

pub(crate) mod epoll;
pub(crate) mod futex;
pub(crate) mod poll;
pub(crate) mod robust;
