//! A pool that is not started yet.

use std::any::type_name;
use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::Pool;
use crate::codec::{self, Carried};
use crate::error::{Cause, Result};
use crate::limits::Limits;
use crate::pool::child::worker_loop::{self, Initializer};
use crate::pool::host::settings::Settings;
use crate::process;
use crate::process::cpu_count;
use crate::start::method::{self, StartMethod};
use crate::sys::program::code::{Contentless, Offset};
use crate::target::{Captureless, Target};

/// Describes how a [`Pool`] is to be: what [`Pool::builder`] gives.
///
/// ```
/// use std::time::Duration;
/// use multiproc::Pool;
///
/// let pool = Pool::builder()
///     .processes(2)
///     .name("parser")
///     .max_tasks_per_child(1000)
///     .grace(Duration::from_secs(1))
///     .build()?;
/// let is_parser = || multiproc::current_process().name().starts_with("parser-");
/// assert_eq!(pool.apply(is_parser, ())?, true);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a pool does nothing until it is built"]
pub struct PoolBuilder {
    processes: Option<usize>,
    name: Option<String>,
    initializer: Option<Result<Initializer>>,
    max_tasks: Option<u64>,
    max_growth: Option<u64>,
    method: Option<StartMethod>,
    forwards_records: bool,
    max_restarts: u32,
    grace: Duration,
    deadline: Option<Duration>,
    limits: Limits,
    temporary: Option<PathBuf>,
    #[cfg(feature = "cage")]
    cage: Option<crate::Cage>,
}

impl PoolBuilder {
    pub(crate) fn new() -> PoolBuilder {
        PoolBuilder {
            processes: None,
            name: None,
            initializer: None,
            max_tasks: None,
            max_growth: None,
            method: None,
            forwards_records: true,
            max_restarts: 3,
            grace: Duration::from_secs(3),
            deadline: None,
            limits: Limits::new(),
            temporary: None,
            #[cfg(feature = "cage")]
            cage: None,
        }
    }

    /// Sets how many workers, from 1 to 65535; one for each processor ([`cpu_count`]) unless set.
    pub fn processes(mut self, processes: usize) -> PoolBuilder {
        self.processes = Some(processes);
        self
    }

    /// Sets what the workers are called, with a number behind; unless set, `ForkServerPoolWorker`
    /// and so on, as in CPython.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Calls `target` with `args`, a tuple, in every worker before its first task. What it returns,
    /// of any type, stays there for the tasks: [`with_worker_state`](crate::with_worker_state).
    ///
    /// Each worker gets the arguments, and so does who replaces it. So the end of a pipe or a
    /// connection, of which there is only one, cannot be among them ([`build`](PoolBuilder::build)
    /// fails); a [`Queue`](crate::Queue) can.
    ///
    /// A worker in which it panics is replaced, but only so often
    /// ([`max_restarts`](PoolBuilder::max_restarts)); then all tasks fail with the reason.
    pub fn initializer<F, Args>(mut self, target: F, args: Args) -> PoolBuilder
    where
        F: Target<Args> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        F::Output: 'static,
    {
        let () = Contentless::<F>::PROOF;
        // Moved to the workers, where it is made from nothing; so it must not be dropped here.
        mem::forget(target);
        let function = type_name::<F>();
        let entry = Offset::of(worker_loop::initializer_entry::<F, Args>())
            .ok_or_else(|| Cause::ForeignCode { function: function.to_owned() });
        let arguments = codec::encode_with_ends(&args)
            .and_then(|(parcel, ends)| {
                ends.must_be_none("each worker gets the arguments of the initializer")?;
                Ok(parcel)
            })
            .map_err(|reason| Cause::Encode {
                what: format!("the arguments of {function}"),
                reason,
            });
        let initializer = entry.and_then(|entry| {
            let parcel = arguments?;
            Ok(Initializer {
                entry,
                bytes: parcel.bytes,
                fds: parcel.fds.into_iter().map(Carried).collect(),
            })
        });
        self.initializer = Some(initializer.map_err(Into::into));
        self
    }

    /// Replaces a worker after so many tasks, at least 1: CPython's `maxtasksperchild`.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> PoolBuilder {
        self.max_tasks = Some(tasks);
        self
    }

    /// Replaces a worker whose private memory has grown by more than so many bytes since it was
    /// ready, when it is between two tasks. What it reads of files and of memory that processes
    /// share does not count.
    pub fn max_memory_growth(mut self, bytes: u64) -> PoolBuilder {
        self.max_growth = Some(bytes);
        self
    }

    /// Sets how the workers are started, if not by the program's method.
    pub fn start_method(mut self, method: StartMethod) -> PoolBuilder {
        self.method = Some(method);
        self
    }

    /// Sets whether what workers log through the `log` crate goes to this program's logger, with
    /// the worker's name before it: it does unless set, if there is a logger when the worker
    /// starts.
    pub fn forward_logs(mut self, forward: bool) -> PoolBuilder {
        self.forwards_records = forward;
        self
    }

    /// Sets how often in a row workers may fail to start, beyond one failure for each, before the
    /// pool gives up and all tasks fail with the reason: 3 unless set.
    pub fn max_restarts(mut self, restarts: u32) -> PoolBuilder {
        self.max_restarts = restarts;
        self
    }

    /// Sets how long each task may take, unless it says otherwise
    /// ([`Tasks::deadline`](crate::Tasks::deadline)).
    pub fn deadline(mut self, deadline: Duration) -> PoolBuilder {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how long a worker that is terminated, or told to leave, has before it is killed: 3
    /// seconds unless set.
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.grace = grace;
        self
    }

    /// Sets what each worker may use at most; of the time to compute, each task gets all.
    ///
    /// ```
    /// use multiproc::{LimitReached, Limits, Pool};
    ///
    /// fn swell(megabytes: usize) -> usize {
    ///     (0..megabytes).map(|_| vec![1_u8; 1 << 20]).collect::<Vec<_>>().len()
    /// }
    ///
    /// let limits = Limits::new().resident(64 << 20);
    /// let pool = Pool::builder().processes(1).limits(limits).build()?;
    /// let error = pool.apply(swell, (4000,)).unwrap_err();
    /// assert_eq!(error.limit(), Some(&LimitReached::Resident(64 << 20)));
    /// assert_eq!(pool.apply(swell, (4,))?, 4);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> PoolBuilder {
        self.temporary = limits.wants_dir().then(process::temporary_directory);
        self.limits = limits;
        self
    }

    /// Runs the workers in a cage, which closes before the initializer runs.
    #[cfg(feature = "cage")]
    pub fn cage(mut self, cage: crate::Cage) -> PoolBuilder {
        self.cage = Some(cage);
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// A number is out of its bounds; the initializer's arguments cannot be encoded; those of
    /// [`Process::start`](crate::Process::start).
    pub fn build(self) -> Result<Pool> {
        let bad = |text: &str| Cause::BadInput(text.to_owned());
        let processes = self.processes.unwrap_or_else(cpu_count);
        if processes == 0 {
            return Err(bad("number of processes must be at least 1").into());
        }
        if processes > usize::from(u16::MAX) {
            return Err(bad("number of processes must be at most 65535").into());
        }
        if self.max_tasks == Some(0) {
            return Err(bad("max_tasks_per_child must be at least 1").into());
        }
        self.limits.check().map_err(Cause::BadInput)?;
        #[cfg(feature = "cage")]
        if let Some(cage) = &self.cage {
            cage.check().map_err(Cause::BadInput)?;
        }
        Pool::start(Settings {
            processes,
            name: self.name,
            initializer: self.initializer.transpose()?,
            max_tasks: self.max_tasks,
            max_growth: self.max_growth,
            method: self.method.unwrap_or_else(method::start_method),
            forwards_records: self.forwards_records,
            max_restarts: self.max_restarts,
            grace: self.grace,
            deadline: self.deadline,
            limits: self.limits,
            temporary: self.temporary,
            #[cfg(feature = "cage")]
            cage: self.cage,
        })
    }

    /// Starts the workers for as long as `f` runs, then waits until all that it handed out is done,
    /// and the workers are gone. If `f` panics, they are terminated.
    ///
    /// # Errors
    /// As for [`build`](PoolBuilder::build).
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let tasks = Pool::builder().processes(2).scope(|pool| {
    ///     [pool.submit(u32::pow, (2, 3)), pool.submit(u32::pow, (3, 2))]
    /// })?;
    /// assert!(tasks.iter().all(|task| task.is_ready()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn scope<T>(self, f: impl FnOnce(&Pool) -> T) -> Result<T> {
        let pool = self.build()?;
        let value = f(&pool);
        pool.close();
        pool.join()?;
        Ok(value)
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("processes", &self.processes)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of so many workers; `None` is one for each processor
    /// ([`cpu_count`](crate::cpu_count)).
    ///
    /// # Errors
    /// No workers at all are asked for; one cannot be started (those that were are ended); those of
    /// [`Process::start`](crate::Process::start).
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// assert_eq!(Pool::new(3)?.processes(), 3);
    /// assert_eq!(Pool::new(None)?.processes(), multiproc::cpu_count());
    /// assert_eq!(Pool::new(0).unwrap_err().to_string(), "number of processes must be at least 1");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(processes: impl Into<Option<usize>>) -> Result<Pool> {
        match processes.into() {
            Some(processes) => Pool::builder().processes(processes).build(),
            None => Pool::builder().build(),
        }
    }

    /// A pool with more settings.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }
}
