//! The files of `src/channel` that share memory; what is under them is ours.

pub(crate) mod cells;
pub(crate) mod pipe;
pub(crate) mod queue;
mod spin;
#[path = "../../../../src/channel/transport.rs"]
pub(crate) mod transport;

pub(crate) use cells::{AtomicU64, model};
