//! Many tasks on a few processes.

#[cfg(feature = "progress")]
mod bar;
mod builder;
mod claim;
mod crew;
mod decode;
mod engine;
mod extension;
mod feed;
#[cfg(multiproc_fuzz)]
pub(crate) mod fuzz;
mod gather;
mod handle;
mod imap;
mod job;
mod keeper;
mod ledger;
mod map_task;
mod progress;
mod records;
mod retry;
mod service;
mod settings;
mod slate;
mod slot;
mod speech;
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
