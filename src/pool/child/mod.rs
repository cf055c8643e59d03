//! The worker's side of a pool: the function that its process runs, the loop that runs tasks, and
//! what tasks can ask about where they run.
//!
//! All of it runs in the worker's main thread. Threads that tasks start see none of it: no current
//! task, no worker state.

mod current_task;
mod lasting;
mod left;
pub(crate) mod task_runner;
pub(crate) mod worker_loop;

pub use current_task::{CurrentTask, current_task, with_worker_state, worker_id};
