//! Describes what users of pools call.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

#[cfg(feature = "progress")]
mod bar;
mod builder;
mod extension;
mod handle;
mod imap;
mod map_task;
mod progress;
mod stats;
mod task;
mod tasks;

pub use builder::PoolBuilder;
pub use extension::{Outcomes, ProcessMap};
pub use handle::Pool;
pub use imap::{IMap, TimedOut};
pub use map_task::MapTask;
pub use progress::Progress;
pub use stats::{PoolStats, WorkerStats};
pub use task::Task;
pub use tasks::Tasks;
