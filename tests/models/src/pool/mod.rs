//! The words that a worker shares with its pool.

#[path = "../../../../src/pool/ahead.rs"]
pub(crate) mod ahead;
#[path = "../../../../src/pool/claim.rs"]
pub(crate) mod claim;
