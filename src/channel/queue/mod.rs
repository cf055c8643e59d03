//! Queues: a growable ring in shared memory, with a robust lock at each end.

mod core;
#[cfg(test)]
mod core_tests;
pub(crate) mod growable;
mod halves;
mod joinable;
mod room;
mod simple;
mod store;
mod values;

pub use halves::{QueueReceiver, QueueReceiverIter, QueueSender};
pub use joinable::JoinableQueue;
pub use simple::SimpleQueue;
pub use values::{Queue, QueueIter};
