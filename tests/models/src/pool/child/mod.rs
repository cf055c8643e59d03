//! The worker's side.

/// What the worker says of a panic, which ends a model before anybody hears of it.
pub(crate) mod current_task {
    pub(crate) fn report(_: &crate::unwind::Panic) {}
}

#[path = "../../../../../src/pool/child/task_runner.rs"]
pub(crate) mod task_runner;
