//! Queues: a growable ring in shared memory, with a robust lock at each end.

mod carry;
mod core;
#[cfg(test)]
mod core_tests;
mod flags;
pub(crate) mod growable;
mod halves;
mod joinable;
mod offer;
mod room;
mod simple;
mod store;
mod tokens;
mod transfer;
mod values;

pub use halves::{QueueReceiver, QueueReceiverIntoIter, QueueReceiverIter, QueueSender};
pub use joinable::{JoinableQueue, JoinableQueueIntoIter, JoinableQueueIter};
pub use simple::SimpleQueue;
pub use values::{Queue, QueueIntoIter, QueueIter};
