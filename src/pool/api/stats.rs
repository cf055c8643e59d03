//! Statistics of a pool and its workers.

use std::time::Duration;

use crate::pool::host::remote::Seen;
use crate::pool::host::supervisor::Shared;
use crate::pool::host::worker_process::WorkerProcess;

/// A snapshot of a pool: what [`Pool::stats`](crate::Pool::stats) returns.
///
/// Waiting tasks are those that no worker has; workers have some tasks in advance, so that they
/// need not wait for the pool. CPython has no counterpart.
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
    /// Number of tasks that no worker has yet.
    pub queued: u64,
    /// Number of tasks that workers have, running or waiting behind those that run.
    pub given: u64,
    /// Number of workers that have tasks.
    pub running: usize,
    /// Each worker, in the order of their numbers.
    pub workers: Vec<WorkerStats>,
}

/// Statistics of a worker of a [`Pool`](crate::Pool), together with those that had its place
/// before.
///
/// ```
/// let pool = multiproc::Pool::builder().processes(1).max_tasks_per_child(2).build()?;
/// pool.map(|n: u32| n, 0..6)?;
/// let worker = &pool.stats().workers[0];
/// assert_eq!((worker.id, worker.tasks), (1, 6));
/// assert!(worker.restarts >= 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its number, from 1: what [`worker_id`](crate::worker_id) returns in it.
    pub id: usize,
    /// Its name; empty while its place is empty, between the end of a worker and the start of the
    /// next.
    pub name: String,
    /// Its process ID; `None` while its place is empty.
    pub pid: Option<u32>,
    /// Number of tasks finished, failed ones included.
    pub tasks: u64,
    /// Number of tasks that failed.
    pub failures: u64,
    /// Number of times that the worker was replaced. Where workers are on other machines, also when
    /// its process was replaced there, as after a crash.
    pub restarts: u64,
    /// Time spent on tasks, as the workers report it. From other machines it comes with outcomes,
    /// and each second.
    pub busy: Duration,
    /// Private memory of the present worker, in bytes; `None` if there is none, or the system does
    /// not tell.
    pub resident: Option<u64>,
}

impl PoolStats {
    /// Returns the number of tasks finished by all workers, failed ones included.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// Returns the number of tasks that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.workers.iter().map(|worker| worker.failures).sum()
    }

    /// Returns the number of workers that were replaced, for whatever reason: a death, a limit, a
    /// deadline.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.workers.iter().map(|worker| worker.restarts).sum()
    }
}

/// How a hand of a station stands, with those that had its place before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Time spent on tasks, as the workers report it.
    pub busy: Duration,
    /// Number of times that its worker was replaced.
    pub restarts: u64,
    /// Private memory of the present worker, in bytes, if it was asked for and is known.
    pub resident: Option<u64>,
}

/// Looks at one place of a pool, which is this process's; its memory if that is asked for.
pub(super) fn standing(pool: &Shared, number: usize, weighs: bool) -> Standing {
    let driver = pool.lock();
    let Some(place) = driver.scheduler.places().nth(number) else { return Standing::default() };
    let process = driver.worker(number);
    let present = process.map(WorkerProcess::busy).unwrap_or_default();
    Standing {
        busy: place.totals.busy.saturating_add(present),
        restarts: place.restarts(),
        resident: process.filter(|_| weighs).and_then(WorkerProcess::weigh),
    }
}

/// Takes a snapshot of a pool. Empty in a forked copy of the process, which must not use the pool's
/// lock.
pub(crate) fn of(pool: &Shared) -> PoolStats {
    if !pool.is_ours() {
        return PoolStats::default();
    }
    let driver = pool.lock();
    let scheduler = &driver.scheduler;
    let mut given = 0;
    let workers = (0_usize..).zip(scheduler.places()).map(|(number, place)| {
        // Of the workers that were in this place before.
        let before = place.totals;
        let mut stats = WorkerStats {
            id: number.saturating_add(1),
            tasks: before.tasks,
            failures: before.failures,
            restarts: place.restarts(),
            busy: before.busy,
            ..WorkerStats::default()
        };
        // The totals are of those before; the present one has its own.
        if let (Some(worker), Some(process)) = (&place.worker, driver.worker(number)) {
            given = worker.ledger.tasks().saturating_add(given);
            stats.name = process.tag.name.clone();
            stats.pid = Some(process.tag.pid);
            stats.tasks = stats.tasks.saturating_add(worker.ledger.finished);
            stats.failures = stats.failures.saturating_add(worker.ledger.failures);
            stats.busy = stats.busy.saturating_add(process.busy());
            stats.resident = process.weigh();
        }
        let Some(remote) = driver.remote() else { return stats };
        stats.restarts = stats.restarts.saturating_add(remote.restarts(number));
        if let (Some(worker), Some(Seen { tag, busy, resident })) =
            (&place.worker, remote.seen(number))
        {
            given = worker.ledger.tasks().saturating_add(given);
            stats.name = tag.name.clone();
            stats.pid = Some(tag.pid);
            stats.tasks = stats.tasks.saturating_add(worker.ledger.finished);
            stats.failures = stats.failures.saturating_add(worker.ledger.failures);
            stats.busy = stats.busy.saturating_add(busy);
            stats.resident = resident;
        }
        stats
    });
    let workers = workers.collect();
    PoolStats { queued: scheduler.queued(), given, running: scheduler.running(), workers }
}
