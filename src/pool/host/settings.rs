//! Describes what a pool was made with.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits::Limits;
use crate::pool::child::worker_loop::Initializer;
use crate::pool::scheduler::policy::Policy;
use crate::process::Process;
use crate::start::method::StartMethod;

/// Describes what a pool was made with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) processes: usize,
    pub(crate) name: Option<String>,
    pub(crate) initializer: Option<Initializer>,
    pub(crate) max_tasks: Option<u64>,
    pub(crate) max_growth: Option<u64>,
    pub(crate) method: StartMethod,
    pub(crate) forwards_records: bool,
    pub(crate) max_restarts: u32,
    pub(crate) grace: Duration,
    /// Says how long tasks may take that say nothing else.
    pub(crate) deadline: Option<Duration>,
    /// Holds what workers may use; the time to compute is each task's.
    pub(crate) limits: Limits,
    /// Where their private directories are made.
    pub(crate) temporary: Option<PathBuf>,
    #[cfg(feature = "cage")]
    pub(crate) cage: Option<crate::Cage>,
}

impl Settings {
    /// Returns what the scheduler acts on.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            processes: self.processes,
            max_tasks: self.max_tasks,
            max_growth: self.max_growth,
            max_restarts: self.max_restarts,
            grace: self.grace,
            limits_workers: !self.limits.of_worker().is_empty(),
        }
    }

    /// Returns what the worker in a place, counted from 1, is called: as in CPython, unless the
    /// pool has a name.
    pub(crate) fn worker_name(&self, id: usize) -> String {
        match (&self.name, self.method) {
            (Some(name), _) => format!("{name}-{id}"),
            (None, StartMethod::Fork) => format!("ForkPoolWorker-{id}"),
            (None, StartMethod::Spawn) => format!("SpawnPoolWorker-{id}"),
            (None, _) => format!("ForkServerPoolWorker-{id}"),
        }
    }

    /// A worker's process, with the limits that it gets.
    pub(crate) fn prepare(&self, process: Process<()>) -> Process<()> {
        let process = process
            .start_method(self.method)
            .limits(self.limits.of_worker())
            .temporary(self.temporary.clone());
        #[cfg(feature = "cage")]
        if let Some(cage) = &self.cage {
            return process.cage(cage.clone());
        }
        process
    }
}
