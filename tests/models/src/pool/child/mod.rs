//! The worker's side.

#[path = "../../../../../src/pool/child/task_runner.rs"]
pub(crate) mod task_runner;
