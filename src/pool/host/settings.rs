//! The settings of a pool, as [`PoolBuilder`](crate::PoolBuilder) has checked them.

use std::path::PathBuf;
use std::time::Duration;

use crate::codec;
use crate::limits::Limits;
use crate::pool::child::worker_loop::Initializer;
use crate::pool::scheduler::policy::{Distance, Policy};
use crate::process::Process;
use crate::relay::onward::Onward;
use crate::relay::records;
use crate::start::method::StartMethod;
use crate::sys::limits::rlimit;

/// Time that the news of a task takes from another machine, at the most, as long as that machine is
/// not taken for lost.
const LATENESS: Duration = Duration::from_secs(5);

/// The settings of a pool. The driver keeps them for the workers that it starts later, and clones
/// them for the supervisor, which starts workers without the lock.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Number of workers, from 1 to 65535: a place has to fit into 16 bits of a worker's number.
    pub(crate) processes: usize,
    /// Name of the workers, before a dash and their number; `None` for CPython's.
    pub(crate) name: Option<String>,
    /// The function that runs in each worker before its first task.
    pub(crate) initializer: Option<Initializer>,
    /// Tasks after which a worker is replaced.
    pub(crate) max_tasks: Option<u64>,
    /// Bytes of private memory that a worker may grow by before it is replaced.
    pub(crate) max_growth: Option<u64>,
    /// Start method of the workers. That of replacements is never `Fork`: see
    /// [`Pool`](crate::Pool).
    pub(crate) method: StartMethod,
    /// True if workers send their log records to this program's logger.
    pub(crate) forwards_records: bool,
    /// Where workers tell of spans and events, if this pool runs the tasks of one elsewhere.
    pub(crate) onward: Option<Onward>,
    /// Failed starts in a row, beside one for each place, after which the pool gives up.
    pub(crate) max_restarts: u32,
    /// Time between SIGTERM and SIGKILL, and for a dismissed worker to leave.
    pub(crate) grace: Duration,
    /// Deadline of tasks that set none of their own.
    pub(crate) deadline: Option<Duration>,
    /// Limits of each worker. Its CPU time is not among the worker's limits, but given to each task
    /// anew.
    pub(crate) limits: Limits,
    /// Directory in which workers get their private directories, if the limits ask for these.
    pub(crate) temporary: Option<PathBuf>,
    #[cfg(feature = "cage")]
    pub(crate) cage: Option<crate::Cage>,
}

impl Settings {
    /// Returns how many descriptors of one worker's answers may be open in this program at a time.
    ///
    /// A worker may send descriptors with answers of any type, and they stay open until the answer
    /// is taken. All workers together may have this program keep half of the files that it can
    /// open, so that a hostile worker cannot keep it from opening others.
    pub(crate) fn fd_quota(&self) -> usize {
        let half = usize::try_from(rlimit::open_files() / 2).unwrap_or(usize::MAX);
        // At least as many as one message can carry, or honest results could not arrive.
        half.checked_div(self.processes).unwrap_or(half).max(codec::MAX_FDS)
    }

    /// Returns the part of the settings that the scheduler acts on.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            processes: self.processes,
            max_tasks: self.max_tasks,
            max_growth: self.max_growth,
            max_restarts: self.max_restarts,
            grace: self.grace,
            limits_workers: !self.limits.of_worker().is_empty(),
            distance: Distance::HERE,
        }
    }

    /// Returns the part of the settings that the scheduler acts on where workers are elsewhere:
    /// the limits of workers are then seen to by the pools that run them.
    pub(crate) fn remote_policy(&self) -> Policy {
        let distance = self.distance();
        Policy {
            max_tasks: None,
            max_growth: None,
            limits_workers: false,
            distance,
            ..self.policy()
        }
    }

    /// Returns the way to workers that are elsewhere. Whoever runs a task ends it within the grace
    /// after its deadline, and then says so.
    pub(crate) fn distance(&self) -> Distance {
        Distance::remote(self.grace.saturating_add(LATENESS))
    }

    /// Returns the greatest level of spans and events that a worker tells of when it is started; 0
    /// for none.
    pub(crate) fn trace_level(&self) -> u8 {
        match &self.onward {
            _ if !self.forwards_records => 0,
            #[cfg(feature = "tracing")]
            Some(onward) => onward.level,
            _ => records::trace_level(),
        }
    }

    /// Returns the name of the worker in place `id`, counted from 1: CPython's, unless the pool has
    /// one. Unlike in CPython, a worker that replaces another has the same name.
    pub(crate) fn worker_name(&self, id: usize) -> String {
        match (&self.name, self.method) {
            (Some(name), _) => format!("{name}-{id}"),
            (None, StartMethod::Fork) => format!("ForkPoolWorker-{id}"),
            (None, StartMethod::Spawn) => format!("SpawnPoolWorker-{id}"),
            (None, _) => format!("ForkServerPoolWorker-{id}"),
        }
    }

    /// Gives a worker's process its start method, limits and cage.
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
