//! Queues.

#[path = "../../../../../src/channel/queue/core.rs"]
pub(crate) mod core;
#[path = "../../../../../src/channel/queue/growable.rs"]
pub(crate) mod growable;
mod store;
