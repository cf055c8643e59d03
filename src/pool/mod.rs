//! Many tasks on a few processes.
//!
//! The rooms, lowest first: `protocol` (what both sides share), `child` (the worker's side),
//! `scheduler` (the program's decisions, without the system), `host` (the program's side), `api`.

mod api;
mod child;
pub(crate) mod host;
pub(crate) mod protocol;
pub(crate) mod scheduler;

pub use api::{
    IMap, MapTask, Outcomes, Pool, PoolBuilder, PoolStats, ProcessMap, Progress, Task, Tasks,
    TimedOut, WorkerStats,
};
pub use child::{CurrentTask, current_task, with_worker_state, worker_id};
pub use scheduler::retry::Retry;
