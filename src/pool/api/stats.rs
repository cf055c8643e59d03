//! Describes what a pool and its workers have done.

use std::time::Duration;

use crate::pool::host::supervisor::Shared;

/// Describes what a [`Pool`](crate::Pool) has done so far: what [`Pool::stats`](crate::Pool::stats)
/// gives.
///
/// ```
/// let pool = multiproc::Pool::new(2)?;
/// pool.map(|n: u32| n, 0..10)?;
/// let stats = pool.stats();
/// assert_eq!((stats.tasks(), stats.failures(), stats.restarts()), (10, 0, 0));
/// assert_eq!((stats.queued, stats.workers[1].id), (0, 2));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Counts how many tasks wait for a worker.
    pub queued: u64,
    /// Counts how many tasks workers have, those included that wait behind the one that runs.
    pub given: u64,
    /// Counts how many workers have something to do.
    pub running: usize,
    /// Each worker.
    pub workers: Vec<WorkerStats>,
}

/// Describes what a worker of a [`Pool`](crate::Pool), and those that were in its place before,
/// have done so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its number, from 1.
    pub id: usize,
    /// Its name; empty while there is none in its place.
    pub name: String,
    /// The number of its process.
    pub pid: Option<u32>,
    /// Counts how many tasks were finished, those included that failed.
    pub tasks: u64,
    /// Counts how many of them failed.
    pub failures: u64,
    /// Counts how often it was replaced.
    pub restarts: u64,
    /// Says how long it was at work, by its own account.
    pub busy: Duration,
    /// Its resident memory, in bytes.
    pub resident: Option<u64>,
}

impl PoolStats {
    /// Returns how many tasks were finished, those included that failed.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// Returns how many tasks failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.workers.iter().map(|worker| worker.failures).sum()
    }

    /// Returns how many workers were replaced.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.workers.iter().map(|worker| worker.restarts).sum()
    }
}

/// Those of a pool; none in a forked copy of the process that made it.
pub(crate) fn of(pool: &Shared) -> PoolStats {
    if !pool.is_ours() {
        return PoolStats::default();
    }
    let driver = pool.lock();
    let scheduler = &driver.scheduler;
    let mut given = 0;
    let workers = (0_usize..).zip(scheduler.places()).map(|(number, place)| {
        let before = place.totals;
        let mut stats = WorkerStats {
            id: number.saturating_add(1),
            tasks: before.tasks,
            failures: before.failures,
            restarts: place.restarts(),
            busy: before.busy,
            ..WorkerStats::default()
        };
        if let (Some(worker), Some(process)) = (&place.worker, driver.worker(number)) {
            given = worker.ledger.tasks().saturating_add(given);
            stats.name = process.tag.name.clone();
            stats.pid = Some(process.tag.pid);
            stats.tasks = stats.tasks.saturating_add(worker.ledger.finished);
            stats.failures = stats.failures.saturating_add(worker.ledger.failures);
            stats.busy = stats.busy.saturating_add(process.busy());
            stats.resident = process.weigh();
        }
        stats
    });
    let workers = workers.collect();
    PoolStats { queued: scheduler.queued(), given, running: scheduler.running(), workers }
}
