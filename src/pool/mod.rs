//! Pools: many tasks on a few processes, which survive whatever the tasks do.
//!
//! The rooms, lowest first:
//!
//! - `protocol`: the messages and the memory that both sides share;
//! - `child`: the worker's side, the loop that runs tasks;
//! - `elsewhere`: the seam for workers that are not on this machine;
//! - `scheduler`: the program's decisions, without the system;
//! - `host`: the program's side, which carries the decisions out;
//! - `api`: what users call.
//!
//! A task's way: [`Tasks`] encodes its arguments into a job; the scheduler enters the job in a
//! worker's ledger; the driver writes it into the worker's ring; the worker claims the task, runs
//! it, and writes its value into the other ring; the supervisor reads that, the ledger matches it
//! with the task, and the job's sink keeps it until the user's thread decodes it.

mod api;
mod child;
#[doc(hidden)]
pub mod elsewhere;
pub(crate) mod host;
pub(crate) mod protocol;
pub(crate) mod scheduler;

#[cfg(feature = "async")]
pub use api::OutcomeStream;
pub use api::station;
pub use api::{
    IMap, MapTask, Outcomes, Pool, PoolBuilder, PoolStats, ProcessMap, Progress, Task, Tasks,
    TimedOut, WorkerStats,
};
pub use child::{CurrentTask, current_task, with_worker_state, worker_id};
pub use elsewhere::hands::Workplace;
pub use scheduler::retry::Retry;
