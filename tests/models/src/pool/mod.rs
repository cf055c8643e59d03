//! The words that a worker shares with its pool.

pub(crate) mod protocol;
