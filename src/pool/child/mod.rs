//! The worker's side of a pool.

pub(crate) mod worker_loop;

pub use worker_loop::{CurrentTask, current_task, with_worker_state, worker_id};
