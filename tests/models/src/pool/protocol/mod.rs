//! What both sides of a pool share.

#[path = "../../../../../src/pool/protocol/bulk.rs"]
pub(crate) mod bulk;
#[path = "../../../../../src/pool/protocol/claim.rs"]
pub(crate) mod claim;
pub(crate) mod failures;
#[path = "../../../../../src/pool/protocol/messages.rs"]
pub(crate) mod messages;
#[path = "../../../../../src/pool/protocol/unpublished.rs"]
pub(crate) mod unpublished;
pub(crate) mod worker_memory;
