//! Many tasks on a few processes.

mod ahead;
#[cfg(feature = "progress")]
mod bar;
mod builder;
pub(crate) mod claim;
mod crew;
pub(crate) mod decode;
mod engine;
mod extension;
mod feed;
pub(crate) mod gather;
mod handle;
mod imap;
pub(crate) mod job;
mod keeper;
pub(crate) mod ledger;
mod map_task;
mod progress;
mod records;
mod retry;
mod service;
mod settings;
mod slate;
mod slot;
pub(crate) mod speech;
mod stats;
mod task;
mod tasks;
mod worker;

pub use builder::PoolBuilder;
pub use extension::{Outcomes, ProcessMap};
pub use handle::Pool;
pub use imap::{IMap, TimedOut};
pub use map_task::MapTask;
pub use progress::Progress;
pub use retry::Retry;
pub use service::{CurrentTask, current_task, with_worker_state, worker_id};
pub use stats::{PoolStats, WorkerStats};
pub use task::Task;
pub use tasks::Tasks;
