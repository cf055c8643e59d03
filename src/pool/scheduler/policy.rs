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
    /// The way to the workers.
    pub(crate) distance: Distance,
}

/// The way to a pool's workers, and what follows from its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Distance {
    /// True if workers are elsewhere: places are filled when others have workers to offer, so one
    /// that waits for its worker keeps nothing alive.
    pub(crate) is_remote: bool,
    /// Nanoseconds of work that a busy worker has on its way, so that it never waits for more.
    pub(crate) ahead: u64,
    /// Time for which a worker is believed that says that its task has just begun, and that it has
    /// to begin one.
    pub(crate) slack: Duration,
    /// Time that a task must have been running before those behind it are given to others. Short
    /// tasks are done sooner than they could be taken back.
    pub(crate) late: Duration,
}

impl Distance {
    /// The next process: enough work for the supervisor to come late by a turn of the system's
    /// scheduler.
    pub(crate) const HERE: Distance = Distance {
        is_remote: false,
        ahead: 1_000_000,
        slack: Duration::from_secs(1),
        late: Duration::from_micros(500),
    };

    /// Another machine: it ends tasks that are past their deadline by itself, so the pool does so
    /// only when that was due for `slack`.
    pub(crate) fn remote(slack: Duration) -> Distance {
        Distance { is_remote: true, ahead: 20_000_000, slack, late: Duration::from_millis(10) }
    }
}
