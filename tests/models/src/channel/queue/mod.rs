//! Queues.

#[path = "../../../../../src/channel/queue/carry.rs"]
mod carry;
#[path = "../../../../../src/channel/queue/core.rs"]
pub(crate) mod core;
#[path = "../../../../../src/channel/queue/flags.rs"]
mod flags;
#[path = "../../../../../src/channel/queue/growable.rs"]
pub(crate) mod growable;
#[path = "../../../../../src/channel/queue/offer.rs"]
mod offer;
mod store;
#[path = "../../../../../src/channel/queue/tokens.rs"]
mod tokens;
#[path = "../../../../../src/channel/queue/transfer.rs"]
mod transfer;
