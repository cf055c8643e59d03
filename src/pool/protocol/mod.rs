//! Describes what a pool and its workers say to each other and share.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

pub(crate) mod claim;
pub(crate) mod messages;
pub(crate) mod records;
pub(crate) mod unpublished;
pub(crate) mod worker_memory;
