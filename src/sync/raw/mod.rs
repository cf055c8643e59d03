//! The state machines of locks: which word goes from which value to which, in which order.
//!
//! They use nothing but `platform`, so that the model checkers run the same files on another one
//! (`tests/models`). Two kinds of code are kept out: what allocates or frees shared memory, which
//! is `segment`'s, and what users see.
//!
//! A word in shared memory may be written by a process that means no good. The state machines may
//! then answer wrongly or wait until their deadline; they must not panic, loop for ever, or touch
//! memory outside the object's own.

pub(crate) mod alarm;
pub(crate) mod event;
mod fair;
pub(crate) mod gate;
pub(crate) mod members;
pub(crate) mod mutex;
pub(crate) mod permits;
pub(crate) mod platform;
