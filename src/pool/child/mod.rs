//! The worker's side of a pool.

mod current_task;
pub(crate) mod task_runner;
pub(crate) mod worker_loop;

pub use current_task::{CurrentTask, current_task, with_worker_state, worker_id};
