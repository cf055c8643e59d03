//! What a pool was made with.

use std::path::PathBuf;
use std::time::Duration;

use super::service::Initializer;
use crate::limits::Limits;
use crate::process::Process;
use crate::start::method::StartMethod;

/// What a pool was made with.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) processes: usize,
    pub(super) name: Option<String>,
    pub(super) initializer: Option<Initializer>,
    pub(super) max_tasks: Option<u64>,
    pub(super) max_growth: Option<u64>,
    pub(super) method: StartMethod,
    pub(super) forwards_records: bool,
    pub(super) max_restarts: u32,
    pub(super) grace: Duration,
    /// How long tasks may take that say nothing else.
    pub(super) deadline: Option<Duration>,
    /// What workers may use; the time to compute is each task's.
    pub(super) limits: Limits,
    /// Where their private directories are made.
    pub(super) temporary: Option<PathBuf>,
    #[cfg(feature = "cage")]
    pub(super) cage: Option<crate::Cage>,
}

impl Settings {
    /// What the worker in a place, counted from 1, is called: as in CPython, unless the pool has a name.
    pub(super) fn worker_name(&self, id: usize) -> String {
        match (&self.name, self.method) {
            (Some(name), _) => format!("{name}-{id}"),
            (None, StartMethod::Fork) => format!("ForkPoolWorker-{id}"),
            (None, StartMethod::Spawn) => format!("SpawnPoolWorker-{id}"),
            (None, _) => format!("ForkServerPoolWorker-{id}"),
        }
    }

    /// A worker's process, with the limits that it gets.
    pub(super) fn prepare(&self, process: Process<()>) -> Process<()> {
        let process =
            process.start_method(self.method).limits(self.limits.of_worker()).temporary(self.temporary.clone());
        #[cfg(feature = "cage")]
        if let Some(cage) = &self.cage {
            return process.cage(cage.clone());
        }
        process
    }
}
