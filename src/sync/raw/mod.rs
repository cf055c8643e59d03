//! The state machines of locks, apart from everything around them.
//!
//! They use nothing but `platform`, so that the model checkers run the same files on another one
//! (`tests/models`).

pub(crate) mod alarm;
pub(crate) mod event;
pub(crate) mod members;
pub(crate) mod mutex;
pub(crate) mod platform;
