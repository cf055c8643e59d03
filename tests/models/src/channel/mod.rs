//! The files of `src/channel` that share memory; what is under them is ours.

pub(crate) mod cells;
#[path = "../../../../src/channel/exchange.rs"]
pub(crate) mod exchange;
#[path = "../../../../src/channel/ladder.rs"]
pub(crate) mod ladder;
#[path = "../../../../src/channel/ring.rs"]
pub(crate) mod ring;
mod spin;
mod store;

pub(crate) use cells::{AtomicU64, model};
