//! Messages between processes.

mod cells;
mod exchange;
mod joinable_queue;
mod ladder;
mod queue;
mod queue_error;
mod simple_queue;
mod store;

pub use joinable_queue::JoinableQueue;
pub use queue::{Queue, QueueIter};
pub use queue_error::{GetError, PutError};
pub use simple_queue::SimpleQueue;
