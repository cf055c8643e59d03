//! The pool's decisions.

#[path = "../../../../../src/pool/scheduler/assigning.rs"]
mod assigning;
#[path = "../../../../../src/pool/scheduler/ending.rs"]
mod ending;
#[path = "../../../../../src/pool/scheduler/event.rs"]
pub(crate) mod event;
#[path = "../../../../../src/pool/scheduler/expiry.rs"]
mod expiry;
#[path = "../../../../../src/pool/scheduler/job.rs"]
pub(crate) mod job;
#[path = "../../../../../src/pool/scheduler/ledger.rs"]
pub(crate) mod ledger;
#[path = "../../../../../src/pool/scheduler/policy.rs"]
pub(crate) mod policy;
#[path = "../../../../../src/pool/scheduler/queue.rs"]
mod queue;
#[path = "../../../../../src/pool/scheduler/retry.rs"]
pub(crate) mod retry;
#[path = "../../../../../src/pool/scheduler/scheduler.rs"]
pub(crate) mod scheduler;
#[path = "../../../../../src/pool/scheduler/state.rs"]
pub(crate) mod state;
#[path = "../../../../../src/pool/scheduler/time_limits.rs"]
mod time_limits;
#[path = "../../../../../src/pool/scheduler/worker.rs"]
pub(crate) mod worker;
#[path = "../../../../../src/pool/scheduler/worker_set.rs"]
pub(crate) mod worker_set;
