//! A pool of worker processes, as users see it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extension::Outcomes;
use super::stats::{self, PoolStats};
use super::task::Task;
use super::tasks::Tasks;
use crate::error::{Cause, Error, Result, TaskError, os};
use crate::pool::host::settings::Settings;
use crate::pool::host::supervisor::Shared;
use crate::pool::host::worker_process::WorkerProcess;
use crate::pool::scheduler::event::Event;
use crate::pool::scheduler::scheduler::Phase;
use crate::process::{self, Handle};
use crate::sys::per_process::PerProcess;
use crate::sys::wait::poll::Deadline;
use crate::target::{Captureless, Target};

/// Worker processes that run tasks, and that survive whatever the tasks do: CPython's
/// `multiprocessing.Pool`.
///
/// A task that panics, exits, aborts, is killed, takes too long or returns what cannot be decoded
/// fails alone, with the reason in its [`TaskError`]; its worker is replaced, and every other task
/// goes on, those of its chunk included. Functions are those that
/// [`Process::new`](crate::Process::new) takes.
///
/// A pool has one thread of its own, which sleeps while nothing happens. Any threads may use it at
/// once. Dropping it [terminates](Pool::terminate) it and waits for its workers to be gone;
/// [`close`](Pool::close) and [`join`](Pool::join) let it finish what it was given. At the end of
/// the program, pools are terminated.
///
/// Workers have sessions of their own, so that what tasks start can be ended with them. So Ctrl-C
/// in a terminal reaches the program only, and takes its workers along; and Ctrl-Z stops the
/// program, while its workers go on with what they have.
///
/// A program that becomes another user (a server of root's that drops its rights, say) may not
/// signal the workers that it had started before. They end with it all the same, and end tasks at
/// their deadlines by timers of their own; a worker that is still at its task when it has to go is
/// given up after a second. Its task fails, [`join`](Pool::join) says so, and the pool goes on with
/// workers of the new user.
///
/// With the start method [`Fork`](crate::StartMethod::Fork), the pool has to be made while this
/// process has no other thread; workers are copies of it as it was then, those that replace them
/// come from the fork server, and are not.
///
/// ```
/// use multiproc::{Failure, Pool};
///
/// fn parse(text: String) -> usize {
///     if text.contains('!') { std::process::abort() } // a C library at its worst
///     text.len()
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let pool = Pool::new(2)?;
/// let texts = ["one", "boom!", "three"].map(str::to_owned);
/// let lengths: Vec<_> = pool.imap(parse, texts).collect();
/// assert_eq!(*lengths[0].as_ref().unwrap(), 3);
/// assert!(matches!(lengths[1].as_ref().unwrap_err().failure(), Failure::Signalled { .. }));
/// assert_eq!(*lengths[2].as_ref().unwrap(), 5);
/// # Ok(())
/// # }
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<()>>,
}

/// The pools of this process that are not over, to be ended with it.
static POOLS: PerProcess<Mutex<Vec<Weak<Shared>>>> = PerProcess::new();

/// The pool for whoever has none.
static GLOBAL: PerProcess<OnceLock<Pool>> = PerProcess::new();

/// Sets how long workers have to end when their pool does not come to be.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Sets how long the end of the program waits for pools to be gone before it sees to that by
/// itself.
const AT_EXIT: Duration = Duration::from_secs(4);

impl Pool {
    pub(crate) fn start(settings: Settings) -> Result<Pool> {
        let mut started = Started::default();
        let mut workers = Vec::new();
        for place in 0..settings.processes {
            let number = WorkerProcess::number(place as u64, place);
            let worker = WorkerProcess::start(&settings, place.saturating_add(1), number)?;
            started.0.push(worker.child.handle());
            workers.push(worker);
        }
        // Those that replace them are started by a thread beside others.
        let mut settings = settings;
        if settings.method == crate::start::method::StartMethod::Fork {
            settings.method = crate::start::method::StartMethod::Forkserver;
        }
        let shared = Arc::new(Shared::new(settings)?);
        for (place, worker) in workers.into_iter().enumerate() {
            shared.install(place, worker)?;
        }
        let kept = Arc::clone(&shared);
        let supervisor = thread::Builder::new()
            .name("multiproc-pool".to_owned())
            .spawn(move || kept.live())
            .map_err(os("cannot start a pool's thread"))?;
        started.keep();
        enter(&shared);
        Ok(Pool { shared, supervisor: Some(supervisor) })
    }

    /// The pool that [`process_map`](crate::ProcessMap::process_map) uses: one worker for each
    /// processor, started at the first call, for as long as the program runs.
    ///
    /// # Errors
    /// As for [`new`](Pool::new); the next call tries again.
    pub fn global() -> Result<&'static Pool> {
        let global = GLOBAL.get_or_init(|_| OnceLock::new());
        if let Some(pool) = global.get() {
            return Ok(pool);
        }
        let pool = Pool::new(None)?;
        Ok(global.get_or_init(|| pool))
    }

    /// Returns how many workers it has.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.shared.processes
    }

    /// Tasks with settings of their own: deadline, retries, name, chunk size, progress.
    pub fn tasks<'p>(&self) -> Tasks<'p> {
        Tasks::new(Arc::clone(&self.shared))
    }

    /// Runs `target` in a worker with `args`, a tuple, and waits for what it returns.
    ///
    /// # Errors
    /// How it failed: see [`Failure`](crate::Failure).
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.apply(u32::pow, (2, 10))?, 1024);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn apply<F, Args, R>(&self, target: F, args: Args) -> Result<R, TaskError>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().apply(target, args)
    }

    /// Runs `target` in a worker with `args`, a tuple, and returns at once: see [`Task`].
    pub fn submit<F, Args, R>(&self, target: F, args: Args) -> Task<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().submit(target, args)
    }

    /// Calls `target` with each input, in the workers, and gives what they return in the order of
    /// the inputs.
    ///
    /// The chunks in which they go to the workers follow from how long they take.
    ///
    /// # Errors
    /// The failure of the first input that failed, when all are done. [`imap`](Pool::imap) gives
    /// the outcome of each.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.map(|n: u32| n * n, 0..5)?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn map<F, Items, T, R>(&self, target: F, items: Items) -> Result<Vec<R>, TaskError>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.tasks().map(target, items)
    }

    /// The outcomes of calling `target` with each input, in the order of the inputs, which are
    /// pulled as needed: see [`IMap`](crate::IMap).
    pub fn imap<F, Items, T, R>(&self, target: F, items: Items) -> Outcomes<Items, R>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.tasks().imap(target, items)
    }

    /// Runs `target` once in every worker with the same `args`, a tuple, and waits for all: see
    /// [`Tasks::broadcast`].
    ///
    /// # Errors
    /// As for [`Tasks::broadcast`].
    ///
    /// ```
    /// let pool = multiproc::Pool::new(3)?;
    /// let pids = pool.broadcast(std::process::id, ())?;
    /// assert!(pids.len() == 3 && pids[0] != pids[1]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn broadcast<F, Args, R>(&self, target: F, args: Args) -> Result<Vec<R>, TaskError>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.tasks().broadcast(target, args)
    }

    /// Calls off all tasks of the pool that no worker has begun; those that run go on. The pool
    /// stays open. It is the `cancel_futures` of CPython's `Executor.shutdown`.
    ///
    /// What is called off fails as [cancelled](TaskError::is_cancelled). An [`IMap`](crate::IMap) or a map in
    /// another thread that has inputs left hands out more of them afterwards.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// fn nap() {
    ///     std::thread::sleep(std::time::Duration::from_millis(300));
    /// }
    /// let tasks: Vec<_> = (0..5).map(|_| pool.submit(nap, ())).collect();
    /// while pool.stats().running == 0 {
    ///     std::thread::yield_now();
    /// }
    /// pool.cancel_pending();
    /// let cancelled = tasks.into_iter().filter_map(|task| task.join().err());
    /// assert!(cancelled.filter(|error| error.is_cancelled()).count() >= 4);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancel_pending(&self) {
        if self.shared.is_ours() {
            self.shared.tell(Event::PendingCancelled);
        }
    }

    /// Takes no more tasks. Those that there are, are done; then the workers leave.
    pub fn close(&self) {
        if self.shared.is_ours() {
            self.shared.tell(Event::Closed);
        }
    }

    /// Ends all now: tasks that are not done are [cancelled](TaskError::is_cancelled), workers and
    /// all that they started get SIGTERM, and SIGKILL after the pool's grace. Returns at once;
    /// [`join`](Pool::join) waits.
    pub fn terminate(&self) {
        if self.shared.is_ours() {
            self.shared.tell(Event::Terminated);
        }
    }

    /// Waits until a pool that was closed or terminated has no workers any more.
    ///
    /// # Errors
    /// It was neither: `pool is still running`. A callback cannot wait for its pool, nor can a
    /// forked copy of the process. A worker runs as another user than this program by now, which
    /// may not end it.
    pub fn join(&self) -> Result<()> {
        self.join_by(Deadline::Never).map(drop)
    }

    /// [`join`](Pool::join) for at most so long; whether it has none any more.
    ///
    /// # Errors
    /// As for [`join`](Pool::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.join_by(Deadline::after(timeout))
    }

    /// Does the same as [`join_timeout`](Pool::join_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`join_timeout`](Pool::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<bool> {
        self.join_by(Deadline::at(deadline))
    }

    fn join_by(&self, deadline: Deadline) -> Result<bool> {
        if !self.shared.is_ours() {
            return Err(Cause::OtherProcess(
                "a pool can only be joined by the process that made it".to_owned(),
            )
            .into());
        }
        if self.shared.phase() == Phase::Running {
            return Err(Cause::BadInput("pool is still running".to_owned()).into());
        }
        if self.shared.is_supervisor() {
            return Err(Cause::BadInput("a callback cannot wait for its pool".to_owned()).into());
        }
        let is_over = self.shared.wait_over(deadline);
        match self.shared.unended() {
            Some(why) if is_over => Err(Error::os(why, io::ErrorKind::PermissionDenied.into())),
            _ => Ok(is_over),
        }
    }

    /// Returns what the pool and its workers have done so far.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        stats::of(&self.shared)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.shared.is_ours() {
            self.terminate();
            // Not if the last handle went in a callback, which the supervisor called.
            if let Some(supervisor) =
                self.supervisor.take().filter(|_| !self.shared.is_supervisor())
            {
                self.shared.wait_over(Deadline::Never);
                let _ = supervisor.join();
            }
        }
    }
}

impl fmt::Debug for Pool {
    /// CPython's: `<Pool state=RUN pool_size=2>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.shared.is_ours().then(|| self.shared.phase()) {
            None => "UNKNOWN",
            Some(Phase::Running) => "RUN",
            Some(Phase::Closing) => "CLOSE",
            Some(Phase::Terminated) => "TERMINATE",
            Some(Phase::Broken(_)) => "BROKEN",
        };
        write!(f, "<Pool state={state} pool_size={}>", self.processes())
    }
}

/// The workers of a pool that is being made: ended if it does not come to be.
#[derive(Default)]
struct Started(Vec<Handle>);

impl Started {
    /// Leaves them to the pool.
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = child.terminate();
        }
        for child in &self.0 {
            let has_ended = matches!(child.join_timeout(END_TIMEOUT), Ok(true) | Err(_));
            // Unless this program may not: then it ends with the program.
            if !has_ended && child.kill().is_ok() {
                let _ = child.join();
            }
        }
    }
}

/// Ends a pool with the program.
fn enter(shared: &Arc<Shared>) {
    let pools = POOLS.get_or_init(|_| {
        process::at_exit(end_pools);
        Mutex::default()
    });
    let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(Arc::downgrade(shared));
}

fn end_pools() {
    let Some(pools) = POOLS.get() else { return };
    let pools: Vec<_> = {
        let pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    };
    for pool in &pools {
        pool.tell(Event::Terminated);
    }
    let deadline = Deadline::after(AT_EXIT);
    for pool in &pools {
        pool.wait_over(deadline);
    }
}
