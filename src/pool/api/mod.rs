//! The public face of pools: `Pool` and its builder, `Tasks` with their settings, the handles of
//! what was submitted, and statistics.
//!
//! Nothing here decides anything: calls become jobs and events for the host, and outcomes are
//! decoded in the thread that asks for them. Every method may be called from any thread, and from a
//! forked copy of the process, where it fails instead of touching locks that another process may
//! hold.
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
mod lazy;
mod map_task;
mod prepare;
mod progress;
mod singly;
#[doc(hidden)]
pub mod station;
mod stats;
#[cfg(feature = "async")]
mod stream;
mod task;
mod tasks;

pub use builder::PoolBuilder;
pub use extension::ProcessMap;
pub use handle::Pool;
pub use imap::{IMap, TimedOut};
pub use map_task::MapTask;
pub use progress::Progress;
pub use singly::Outcomes;
pub use stats::{PoolStats, WorkerStats};
#[cfg(feature = "async")]
pub use stream::OutcomeStream;
pub use task::Task;
pub use tasks::Tasks;
