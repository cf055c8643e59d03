//! The builder of a pool.

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
use crate::pool::elsewhere::hands::Workplace;
use crate::pool::host::settings::Settings;
use crate::process;
use crate::process::cpu_count;
use crate::start::method::{self, StartMethod};
use crate::sys::program::code::{Contentless, Offset};
use crate::target::{Captureless, Target};

/// Places for workers that are elsewhere, unless the user says how many: more than a few machines
/// have to offer.
const ELSEWHERE: usize = 128;

/// Settings of a [`Pool`] that is not started yet: what [`Pool::builder`] returns.
///
/// CPython's `Pool(processes, initializer, initargs, maxtasksperchild, context)` has a counterpart
/// for each of its arguments; the rest has none there.
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
    /// `None` for one for each processor.
    processes: Option<usize>,
    name: Option<String>,
    /// A failure to encode the arguments is kept for `build`, so that the methods can be chained.
    initializer: Option<Result<Initializer>>,
    max_tasks: Option<u64>,
    max_growth: Option<u64>,
    method: Option<StartMethod>,
    forwards_records: bool,
    max_restarts: u32,
    grace: Duration,
    deadline: Option<Duration>,
    limits: Limits,
    /// Directory for private directories; looked up when the limits are set.
    temporary: Option<PathBuf>,
    #[cfg(feature = "cage")]
    cage: Option<crate::Cage>,
    /// Where the workers are, if not on this machine.
    workplace: Option<Box<dyn Workplace>>,
}

impl PoolBuilder {
    /// The default settings.
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
            workplace: None,
        }
    }

    /// Sets the number of workers, from 1 to 65535. Default: one for each processor that this
    /// process may use ([`cpu_count`]). Where workers are elsewhere ([`on`](PoolBuilder::on)), it
    /// is the largest number of them, by default 128.
    pub fn processes(mut self, processes: usize) -> PoolBuilder {
        self.processes = Some(processes);
        self
    }

    /// Sets the name of the workers, to which a dash and their number are added. Default: CPython's
    /// (`ForkServerPoolWorker-1` and so on). An empty name is none.
    ///
    /// The name stands in errors, before forwarded log records, and in the process list of the
    /// system.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Calls `target` with `args`, a tuple, in every worker before its first task: CPython's
    /// `initializer` and `initargs`. What it returns, of any type, stays there for the tasks:
    /// [`with_worker_state`](crate::with_worker_state).
    ///
    /// Each worker gets the arguments, and so does one that replaces it. So the end of a pipe or a
    /// connection, of which there is only one, cannot be among them ([`build`](PoolBuilder::build)
    /// fails); a [`Queue`](crate::Queue) can.
    ///
    /// A worker in which it panics is replaced, up to a limit
    /// ([`max_restarts`](PoolBuilder::max_restarts)); then all tasks fail with the reason. (CPython
    /// replaces such workers for ever, and the tasks hang.)
    ///
    /// ```
    /// use multiproc::{Pool, with_worker_state};
    ///
    /// fn load(words: Vec<String>) -> Vec<String> { words } // a big model, say
    /// fn knows(word: String) -> bool {
    ///     with_worker_state(|words: &mut Vec<String>| words.contains(&word)).unwrap()
    /// }
    ///
    /// let words = vec!["sea".to_owned(), "salt".to_owned()];
    /// let pool = Pool::builder().processes(2).initializer(load, (words,)).build()?;
    /// assert_eq!(pool.map(knows, ["salt", "sand"].map(str::to_owned))?, [true, false]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn initializer<F, Args>(mut self, target: F, args: Args) -> PoolBuilder
    where
        F: Target<Args> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        F::Output: 'static,
    {
        // Refuses, where the program is compiled, a closure that has something in it.
        let () = Contentless::<F>::PROOF;
        // Moved to the workers, where it is made from nothing; so it must not be dropped here.
        mem::forget(target);
        let function = type_name::<F>();
        let entry = Offset::of(worker_loop::initializer_entry::<F, Args>())
            .ok_or_else(|| Cause::ForeignCode { function: function.to_owned() });
        let arguments = codec::encode_with_ends(&args)
            .and_then(|(parcel, ends)| {
                // Refused here, in the caller's thread, before any process is started.
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

    /// Replaces a worker after `tasks` tasks, at least 1: CPython's `maxtasksperchild`. For
    /// functions that leak. Default: never.
    ///
    /// Tasks are counted, not chunks as in CPython; failed ones count. A worker is replaced between
    /// two tasks.
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).max_tasks_per_child(1).build()?;
    /// let pids = pool.map(|_: u32| std::process::id(), 0..2)?;
    /// assert_ne!(pids[0], pids[1]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_tasks_per_child(mut self, tasks: u64) -> PoolBuilder {
        self.max_tasks = Some(tasks);
        self
    }

    /// Replaces a worker whose private memory has grown by more than `bytes` since it was ready,
    /// between two tasks. Default: never.
    ///
    /// Memory that it shares with other processes, and what it has mapped of files, does not count.
    /// It is measured now and then, so a worker may exceed it for a while;
    /// [`limits`](PoolBuilder::limits) are strict.
    pub fn max_memory_growth(mut self, bytes: u64) -> PoolBuilder {
        self.max_growth = Some(bytes);
        self
    }

    /// Sets the method by which workers are started. Default: the program's
    /// ([`start_method`](crate::start_method())). For [`Fork`](StartMethod::Fork), see
    /// [`Pool`].
    pub fn start_method(mut self, method: StartMethod) -> PoolBuilder {
        self.method = Some(method);
        self
    }

    /// Sets whether what workers log through the `log` crate goes to this program's logger, with
    /// the worker's name before the message. Default: it does, if there is a logger when the worker
    /// starts.
    ///
    /// A task that panics is one record of the level error and the target `multiproc::task`, with
    /// the name of the task, the message, the place and, if there is one, the backtrace.
    ///
    /// A worker waits for a second, at the most, for a logger that is slow; then the record is
    /// lost.
    ///
    /// With the feature `tracing`, this also holds for the spans and events of workers. Each task
    /// is a span of the level info (target `multiproc::task`, name `task`, fields `name`, `number`,
    /// `process`, `pid` and `outcome`) from its begin to its end, within the span that was current
    /// where the task was submitted. What the worker's code makes comes out within it, in order,
    /// in the subscriber of the thread that made the pool; what belongs to no task, within a span
    /// `worker`. A task that panics or fails, or takes its worker along, is one event of the level
    /// error, with `task`, `place`, `backtrace`, `process` and `pid`. A worker sends nothing above
    /// the level that the program's subscribers want: it follows a filter that changes with the
    /// next tasks that it is given, unless nothing was wanted when it started. All of it comes out
    /// before [`Pool::join`](crate::Pool::join) returns, but perhaps after the task's own `join`.
    /// A task that is told of costs both processes about 10 us together, and each event in it 5 us;
    /// without a subscriber that wants anything, it costs nothing.
    pub fn forward_logs(mut self, forward: bool) -> PoolBuilder {
        self.forwards_records = forward;
        self
    }

    /// Sets how often in a row workers may fail to start, beyond one failure for each, before the
    /// pool gives up and all tasks fail with the reason. Default: 3. Pauses between the attempts
    /// grow from 20 milliseconds to a second.
    ///
    /// ```
    /// fn load() { panic!("no such model") }
    ///
    /// let builder = multiproc::Pool::builder().processes(1).max_restarts(0);
    /// let pool = builder.initializer(load, ()).build()?;
    /// let error = pool.apply(|| 7, ()).unwrap_err();
    /// assert!(error.to_string().contains("no such model"), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_restarts(mut self, restarts: u32) -> PoolBuilder {
        self.max_restarts = restarts;
        self
    }

    /// Sets the time that each task may take, from its begin in the worker. Default: no limit.
    ///
    /// Tasks can have another deadline, and it is described there:
    /// [`Tasks::deadline`](crate::Tasks::deadline).
    pub fn deadline(mut self, deadline: Duration) -> PoolBuilder {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the time that a worker has between SIGTERM and SIGKILL, and to leave when it is told
    /// to. Default: 3 seconds. Tasks can have another ([`Tasks::grace`](crate::Tasks::grace)).
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.grace = grace;
        self
    }

    /// Sets what each worker may use, at most. CPU time is counted for each task anew, all else for
    /// the worker.
    ///
    /// A worker that reaches a limit fails its task with [`Failure::Limit`](crate::Failure::Limit),
    /// where the system tells, and is replaced.
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

    /// Runs the workers in a [`Cage`](crate::Cage), which closes before the initializer runs.
    #[cfg(feature = "cage")]
    pub fn cage(mut self, cage: crate::Cage) -> PoolBuilder {
        self.cage = Some(cage);
        self
    }

    /// Has the workers elsewhere than on this machine: on the nodes of a cluster, with the crate
    /// `multiproc-cluster`. All else stays as it is; what is different:
    ///
    /// - Workers come and go with their machines. Tasks wait as long as there are none.
    /// - A task that a lost machine may have begun is run again, up to three times in all, and then
    ///   fails with [`Failure::NodeLost`](crate::Failure::NodeLost), unless it is to be run
    ///   [`once`](crate::Tasks::once).
    /// - A [`SharedSlice`](crate::SharedSlice) among the arguments goes by its content, once to
    ///   each machine that needs it. Other descriptors (of files, channels, locks, memory that can
    ///   change), and all that are in results, cannot leave their machine: such tasks fail.
    /// - What was begun of a chunk of a map stays with its worker.
    ///
    /// ```no_run
    /// # fn f(cluster: impl multiproc::Workplace + Clone + 'static) -> multiproc::Result<()> {
    /// let pool = multiproc::Pool::builder().on(&cluster).build()?;
    /// assert_eq!(pool.apply(u32::pow, (2, 3))?, 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on<W: Workplace + Clone + 'static>(mut self, workplace: &W) -> PoolBuilder {
        self.workplace = Some(Box::new(workplace.clone()));
        self
    }

    /// Starts the workers. Returns when all processes are started; they become ready while the
    /// program goes on.
    ///
    /// # Errors
    /// - A number is out of its bounds.
    /// - The initializer's arguments cannot be encoded, or one of them is the only one of its kind.
    /// - Those of [`Process::start`](crate::Process::start). Workers that were started are ended.
    ///
    /// ```
    /// let error = multiproc::Pool::builder().max_tasks_per_child(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_tasks_per_child must be at least 1");
    /// ```
    pub fn build(self) -> Result<Pool> {
        let bad = |text: &str| Cause::BadInput(text.to_owned());
        let here = self.workplace.is_none();
        let processes =
            self.processes.unwrap_or_else(|| if here { cpu_count() } else { ELSEWHERE });
        if processes == 0 {
            return Err(bad("number of processes must be at least 1").into());
        }
        // A worker's number has 16 bits for its place.
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
        let settings = Settings {
            processes,
            name: self.name,
            initializer: self.initializer.transpose()?,
            max_tasks: self.max_tasks,
            max_growth: self.max_growth,
            method: self.method.unwrap_or_else(method::start_method),
            forwards_records: self.forwards_records,
            onward: None,
            max_restarts: self.max_restarts,
            grace: self.grace,
            deadline: self.deadline,
            limits: self.limits,
            temporary: self.temporary,
            #[cfg(feature = "cage")]
            cage: self.cage,
        };
        match self.workplace {
            Some(workplace) => Pool::start_on(settings, &*workplace),
            None => Pool::start(settings),
        }
    }

    /// Starts the workers for as long as `f` runs, then waits until all that it submitted is done
    /// and the workers are gone. If `f` panics, they are terminated. (CPython's `with Pool() as
    /// pool` terminates in either case.)
    ///
    /// # Errors
    /// As for [`build`](PoolBuilder::build), and for [`Pool::join`].
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
        // Not reached if `f` panics: then the pool is dropped, which terminates it.
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
    /// Starts a pool of `processes` workers; `None` is one for each processor
    /// ([`cpu_count`]). CPython's `Pool(processes)`.
    ///
    /// # Errors
    /// No workers at all are asked for, or one cannot be started: those of
    /// [`Process::start`](crate::Process::start). Workers that were started are ended.
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

    /// Returns the settings of a pool, to be changed and then [built](PoolBuilder::build).
    ///
    /// ```
    /// let pool = multiproc::Pool::builder().processes(1).name("renderer").build()?;
    /// assert_eq!(pool.stats().workers[0].name, "renderer-1");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }
}
