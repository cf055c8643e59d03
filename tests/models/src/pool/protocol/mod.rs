//! What both sides of a pool share.

#[path = "../../../../../src/pool/protocol/claim.rs"]
pub(crate) mod claim;
#[path = "../../../../../src/pool/protocol/unpublished.rs"]
pub(crate) mod unpublished;
