//! The messages and the memory that a pool and its workers share. Both sides use this room; neither
//! trusts what the other has put there.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

pub(crate) mod bulk;
pub(crate) mod claim;
pub(crate) mod failures;
pub(crate) mod messages;
pub(crate) mod unpublished;
pub(crate) mod worker_memory;
