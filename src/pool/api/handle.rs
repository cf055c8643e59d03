//! The pool, as users see it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::singly::Outcomes;
use super::stats::{self, PoolStats};
use super::task::Task;
use super::tasks::Tasks;
use crate::error::{Cause, Error, Result, TaskError, os};
use crate::pool::elsewhere::bell::Listener;
use crate::pool::elsewhere::hands::Workplace;
use crate::pool::host::charter;
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
/// goes on, those of its chunk included. (In CPython, a task whose worker dies never ends.)
/// Functions are those that [`Process::new`](crate::Process::new) takes.
///
/// # Threads and lifetime
/// A pool has one thread of its own, which sleeps while nothing happens. Any threads may use the
/// pool at once. Dropping it [terminates](Pool::terminate) it and waits for its workers to be gone;
/// [`close`](Pool::close) and [`join`](Pool::join) let it finish what it was given. At the end of
/// the program, pools are terminated.
///
/// A forked copy of the process has no pool: tasks that it submits fail, and waiting for tasks of
/// the original does, too.
///
/// # Signals
/// Workers have sessions of their own, so that what tasks start can be ended with them. So Ctrl-C
/// in a terminal reaches the program only, and takes its workers along; and Ctrl-Z stops the
/// program, while its workers go on with what they have.
///
/// # Changing the user
/// A program that becomes another user (a server of root's that drops its rights, say) may not
/// signal the workers that it had started before. They end with it all the same, and end tasks at
/// their deadlines by timers of their own; a worker that is still at its task when it has to go is
/// given up after a second. Its task fails, [`join`](Pool::join) says so, and the pool goes on with
/// workers of the new user.
///
/// # Start methods
/// With [`Fork`](crate::StartMethod::Fork), the pool has to be made while this process has no other
/// thread. Workers are copies of it as it was then; those that replace them come from the fork
/// server, and are not.
///
/// # Examples
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
    /// State shared by the pool's handles and its supervisor.
    pub(super) shared: Arc<Shared>,
    /// The supervisor's thread; taken when the pool is dropped.
    supervisor: Option<JoinHandle<()>>,
}

/// The pools of this process that are not over, to be ended with it.
static POOLS: PerProcess<Mutex<Vec<Weak<Shared>>>> = PerProcess::new();

/// The pool of [`Pool::global`].
static GLOBAL: PerProcess<OnceLock<Pool>> = PerProcess::new();

/// Time that workers have to end if their pool fails to start, before they are killed.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Time that the end of the program waits for its pools to be gone. Workers that are left then end
/// by their lifeline.
const AT_EXIT: Duration = Duration::from_secs(4);

impl Pool {
    /// Starts a pool.
    ///
    /// The order of operations:
    ///
    /// 1. Start all workers, one after the other. An error here or later ends those that were
    ///    started (the guard `started`).
    /// 2. Make what the pool shares, and install the workers, before there is a supervisor: nothing
    ///    has to be locked against it yet.
    /// 3. Start the supervisor. Workers that have died meanwhile are found by it, as their pidfds
    ///    are in the set.
    /// 4. Dismiss the guard, and enter the pool in the list of those that end with the program.
    pub(crate) fn start(settings: Settings) -> Result<Pool> {
        let mut started = Started::default();
        let mut workers = Vec::new();
        for place in 0..settings.processes {
            let number = WorkerProcess::number(place as u64, place);
            let worker = WorkerProcess::start(&settings, place.saturating_add(1), number)?;
            started.0.push(worker.child.handle());
            workers.push(worker);
        }
        // Replacements are started by the supervisor, and a process with two threads cannot be
        // forked.
        let mut settings = settings;
        if settings.method == crate::start::method::StartMethod::Fork {
            settings.method = crate::start::method::StartMethod::Forkserver;
        }
        let shared = Arc::new(Shared::new(settings)?);
        for (place, worker) in workers.into_iter().enumerate() {
            shared.install(place, worker)?;
        }
        let pool = Pool::supervised(shared)?;
        // From here on the supervisor ends them.
        started.keep();
        Ok(pool)
    }

    /// Makes the pool of workers that are elsewhere, with these settings.
    pub(super) fn start_on(settings: Settings, workplace: &dyn Workplace) -> Result<Pool> {
        let charter = charter::write(&settings).map_err(Cause::BadInput)?;
        let places = settings.processes;
        let hands = workplace.open(charter, places).map_err(Cause::BadInput)?;
        let bell = hands.bell();
        let shared = Arc::new(Shared::with(settings, Some(hands))?);
        let weak: Weak<dyn Listener> = Arc::downgrade(&shared) as _;
        bell.reach(weak);
        shared.want_all();
        Pool::supervised(shared)
    }

    /// Starts the thread of a pool.
    fn supervised(shared: Arc<Shared>) -> Result<Pool> {
        let kept = Arc::clone(&shared);
        let supervisor = thread::Builder::new()
            .name("multiproc-pool".to_owned())
            .spawn(move || kept.live())
            .map_err(os("cannot start a pool's thread"))?;
        enter(&shared);
        Ok(Pool { shared, supervisor: Some(supervisor) })
    }

    /// Returns the pool that [`process_map`](crate::ProcessMap::process_map) uses: one worker for
    /// each processor, started at the first call, for as long as the program runs.
    ///
    /// # Errors
    /// As for [`new`](Pool::new); the next call tries again.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::global()?;
    /// assert_eq!(pool.apply(u32::pow, (2, 3))?, 8);
    /// assert!(std::ptr::eq(pool, Pool::global()?));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn global() -> Result<&'static Pool> {
        let global = GLOBAL.get_or_init(|_| OnceLock::new());
        // Without a lock that is held while workers start: a second thread may start a pool in
        // vain.
        if let Some(pool) = global.get() {
            return Ok(pool);
        }
        let pool = Pool::new(None)?;
        // Of two threads that start one at the same time, the second drops its own.
        Ok(global.get_or_init(|| pool))
    }

    /// Returns the number of workers.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.shared.processes
    }

    /// Returns tasks with settings of their own: deadline, retries, name, limits, chunk size,
    /// progress. See [`Tasks`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let error = pool
    ///     .tasks()
    ///     .deadline(Duration::from_millis(50))
    ///     .apply(std::thread::sleep, (Duration::from_secs(600),))
    ///     .unwrap_err();
    /// assert!(error.limit().is_some(), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn tasks<'p>(&self) -> Tasks<'p> {
        Tasks::new(Arc::clone(&self.shared))
    }

    /// Runs `target` in a worker with `args`, a tuple, and waits for what it returns. CPython's
    /// `apply`.
    ///
    /// # Errors
    /// How the task failed: see [`Failure`](crate::Failure).
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

    /// Runs `target` in a worker with `args`, a tuple, and returns at once: CPython's
    /// `apply_async`. See [`Task`] for the ways to wait.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let (two, three) = (pool.submit(u32::pow, (2, 5)), pool.submit(u32::pow, (3, 5)));
    /// assert_eq!((two.join()?, three.join()?), (32, 243));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn submit<F, Args, R>(&self, target: F, args: Args) -> Task<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.tasks().submit(target, args)
    }

    /// Calls `target` with each input in the workers, and returns what the calls return, in the
    /// order of the inputs. CPython's `map`.
    ///
    /// Inputs go to the workers in chunks, whose size follows from how long the tasks take
    /// ([`Tasks::chunk_size`] fixes it). They are pulled as needed, but all results are kept: for
    /// an endless iterator, or results that need not be kept, use [`imap`](Pool::imap).
    ///
    /// # Errors
    /// The failure of the first input that failed, returned when all are done. [`imap`](Pool::imap)
    /// gives the outcome of each.
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

    /// Returns the outcomes of calling `target` with each input, in the order of the inputs:
    /// CPython's `imap`. Inputs are pulled as outcomes are taken: see [`IMap`](crate::IMap).
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let mut outcomes = pool.imap(|n: u32| 100 / n, [5, 0]);
    /// assert_eq!(outcomes.next().unwrap()?, 20);
    /// assert!(outcomes.next().unwrap().unwrap_err().to_string().contains("divide by zero"));
    /// assert!(outcomes.next().is_none());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
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
    /// [`Tasks::broadcast`]. CPython's `Pool` has no counterpart.
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

    /// Cancels all tasks of the pool that no worker has begun; those that run go on, and the pool
    /// stays open. It is the `cancel_futures` of CPython's `Executor.shutdown`.
    ///
    /// Cancelled tasks fail; [`TaskError::is_cancelled`] tells. An [`IMap`](crate::IMap), or a map
    /// in another thread, that has inputs left submits more of them afterwards.
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

    /// Closes the pool: it takes no more tasks (those that are submitted are cancelled), does those
    /// that it has, and then tells its workers to leave. CPython's `close`. Returns at once;
    /// [`join`](Pool::join) waits.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let last = pool.submit(|| "done".to_owned(), ());
    /// pool.close();
    /// pool.join()?;
    /// assert_eq!(last.join()?, "done");
    /// assert!(pool.apply(|| (), ()).unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn close(&self) {
        if self.shared.is_ours() {
            self.shared.tell(Event::Closed);
        }
    }

    /// Ends the pool now: tasks that are not done are [cancelled](TaskError::is_cancelled), and
    /// workers, with all that they started, get SIGTERM, and SIGKILL after the pool's
    /// [grace](crate::PoolBuilder::grace). CPython's `terminate`, which kills no grandchildren.
    /// Returns at once; [`join`](Pool::join) waits.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let task = pool.submit(std::thread::sleep, (std::time::Duration::from_secs(600),));
    /// pool.terminate();
    /// pool.join()?;
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn terminate(&self) {
        if self.shared.is_ours() {
            self.shared.tell(Event::Terminated);
        }
    }

    /// Waits until a pool that was closed or terminated has no workers any more. CPython's `join`.
    ///
    /// # Errors
    /// - The pool was neither closed nor terminated: `pool is still running`.
    /// - It is called in a callback, which runs in the pool's own thread, or in a forked copy of
    ///   the process.
    /// - A worker runs as a user that this program was before, and may not be ended: see [`Pool`].
    pub fn join(&self) -> Result<()> {
        self.join_by(Deadline::Never).map(drop)
    }

    /// Waits like [`join`](Pool::join), for at most `timeout`. Returns `false` if there are workers
    /// left then.
    ///
    /// # Errors
    /// As for [`join`](Pool::join).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let slow = pool.submit(std::thread::sleep, (Duration::from_secs(600),));
    /// pool.close();
    /// assert!(!pool.join_timeout(Duration::from_millis(10))?);
    /// pool.terminate();
    /// pool.join()?;
    /// assert!(slow.join().unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        self.join_by(Deadline::after(timeout))
    }

    /// Waits like [`join_timeout`](Pool::join_timeout), until a point in time.
    ///
    /// # Errors
    /// As for [`join_timeout`](Pool::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<bool> {
        self.join_by(Deadline::at(deadline))
    }

    /// Waits until there are no workers. Returns `false` if there are some at `deadline`.
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
        // Waiting here would wait for this very thread.
        if self.shared.is_supervisor() {
            return Err(Cause::BadInput("a callback cannot wait for its pool".to_owned()).into());
        }
        let is_over = self.shared.wait_over(deadline);
        match self.shared.unended() {
            Some(why) if is_over => Err(Error::os(why, io::ErrorKind::PermissionDenied.into())),
            _ => Ok(is_over),
        }
    }

    /// Returns what the pool and its workers have done so far. Costs a look at each worker's
    /// memory: for people, not for each task.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        stats::of(&self.shared)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.shared.is_ours() {
            self.terminate();
            // Not if the last handle was dropped in a callback, which runs in the supervisor
            // itself: it ends when the callback has returned.
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

/// Guards the workers of a pool that is being started: ends them, unless it was told to keep them.
#[derive(Default)]
struct Started(Vec<Handle>);

impl Started {
    /// Leaves the workers to the pool.
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // All get SIGTERM before any is waited for.
        for child in &self.0 {
            let _ = child.terminate();
        }
        for child in &self.0 {
            let has_ended = matches!(child.join_timeout(END_TIMEOUT), Ok(true) | Err(_));
            // A worker that may not be killed ends with the program.
            if !has_ended && child.kill().is_ok() {
                let _ = child.join();
            }
        }
    }
}

/// Enters a pool in the list of those that end with the program.
fn enter(shared: &Arc<Shared>) {
    let pools = POOLS.get_or_init(|_| {
        process::at_exit(end_pools);
        Mutex::default()
    });
    let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
    // Here, as a pool that is dropped does not touch the list.
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(Arc::downgrade(shared));
}

/// Ends all pools at the end of the program: first tells all of them, then waits for all of them
/// together.
fn end_pools() {
    let Some(pools) = POOLS.get() else { return };
    // Without the list's lock: a pool may be dropped meanwhile, or started by a callback.
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
