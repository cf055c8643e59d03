//! The settings of a pool that its decisions depend on.

use std::time::Duration;

/// The part of a pool's settings that the scheduler acts on.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Number of places for workers.
    pub(crate) processes: usize,
    /// Tasks after which a worker is replaced; `None` for no bound.
    pub(crate) max_tasks: Option<u64>,
    /// Bytes of private memory that a worker may grow by before it is replaced; `None` for no
    /// bound.
    pub(crate) max_growth: Option<u64>,
    /// Failed starts in a row, beside one for each place, after which the pool gives up.
    pub(crate) max_restarts: u32,
    /// Time between SIGTERM and SIGKILL for whatever does not set its own.
    pub(crate) grace: Duration,
    /// True if workers start under limits, which may be why they cannot start.
    pub(crate) limits_workers: bool,
}
