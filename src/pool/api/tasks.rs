//! Tasks with settings, and the calls that submit them.
//!
//! All maps come to [`Tasks::lazily`] or, if they are submitted whole, to [`Tasks::starmap_async`];
//! single tasks to [`Tasks::submit`]. The bounds of these methods repeat: each stands with its
//! method, where the documentation and the compiler's messages show it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::imap::{IMap, Show, Watch};
use super::map_task::MapTask;
use super::prepare::{call, encode};
use super::progress::Progress;
use super::singly::{Singly, singly};
use super::task::Task;
use crate::error::{Failure, TaskError};
use crate::limits::Limits;
use crate::pool::host::chunker::Chunker;
use crate::pool::host::map_results::MapResults;
use crate::pool::host::slot::Slot;
use crate::pool::host::supervisor::Shared;
use crate::pool::scheduler::job::{Content, Delivery, Job, Options, Sink};
use crate::pool::scheduler::retry::Retry;
use crate::target::{Captureless, Target};

/// Tasks for a [`Pool`](crate::Pool), with settings of their own: what
/// [`Pool::tasks`](crate::Pool::tasks) returns.
///
/// Each setting holds for all tasks that the value submits, and overrides the pool's. The methods
/// that submit are CPython's, with these differences: a `submit` is CPython's `apply_async`, chunks
/// are sized by time unless [`chunk_size`](Tasks::chunk_size) is set, and a worker that dies fails
/// one task instead of hanging all.
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Pool, Retry};
///
/// let pool = Pool::new(2)?;
/// let roots = pool
///     .tasks()
///     .name("root")
///     .deadline(Duration::from_secs(60))
///     .retry(Retry::times(1))
///     .chunk_size(10)
///     .map(f64::sqrt, [1.0, 4.0, 9.0])?;
/// assert_eq!(roots, [1.0, 2.0, 3.0]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "settings do nothing by themselves"]
pub struct Tasks<'p> {
    /// The pool that runs the tasks.
    pool: Arc<Shared>,
    /// The settings; shared with the pool's defaults until one is changed.
    options: Arc<Options>,
    /// The progress function.
    show: Option<Show<'p>>,
}

impl<'p> Tasks<'p> {
    /// Tasks with the pool's own settings.
    pub(crate) fn new(pool: Arc<Shared>) -> Tasks<'p> {
        Tasks { options: Arc::clone(&pool.defaults), pool, show: None }
    }

    /// Sets the name of the tasks in errors, in panic messages and for
    /// [`current_task`](crate::current_task). Default: the path of their function. Tasks of a map
    /// have their number behind it.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let error = pool.tasks().name("root").map(|n: i32| assert!(n >= 0), [4, -4]).unwrap_err();
    /// assert!(error.to_string().starts_with("task root[1] in "), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).name = Some(name.into());
        self
    }

    /// Sets the time that each task may take, from its begin in the worker. Default: the pool's
    /// ([`PoolBuilder::deadline`](crate::PoolBuilder::deadline)).
    ///
    /// The task can see it ([`CurrentTask::time_left`](crate::CurrentTask::time_left)). If it is
    /// not done by then, its worker, with all that the task has started, gets SIGTERM, and SIGKILL
    /// after the [`grace`](Tasks::grace); the task fails with [`Failure::Limit`] and other tasks go
    /// on. CPython's `Pool` has nothing like it: its `get(timeout)` stops waiting, not the task.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let tasks = pool.tasks().deadline(Duration::from_millis(50)).grace(Duration::ZERO);
    /// let error = tasks.apply(std::thread::sleep, (Duration::from_secs(600),)).unwrap_err();
    /// assert!(error.to_string().contains("deadline"), "{error}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// [`Failure::Limit`]: crate::Failure::Limit
    pub fn deadline(mut self, deadline: Duration) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).deadline = Some(deadline);
        self
    }

    /// Sets the time that all tasks of one call have together, from when the first is submitted:
    /// the `timeout` of CPython's `Executor.map`. Default: no limit.
    ///
    /// When it is up, tasks that are done keep their outcomes; all others fail with
    /// [`Failure::Limit`], workers that run one of them are killed with all that they started, and
    /// no more inputs are pulled than the one that fails next.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn nap(milliseconds: u64) {
    ///     std::thread::sleep(Duration::from_millis(milliseconds));
    /// }
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let tasks = || pool.tasks().overall_deadline(Duration::from_millis(200));
    /// let late = tasks().map(nap, [0, 60_000, 60_000]).unwrap_err();
    /// assert!(late.limit().is_some());
    /// assert!(late.to_string().contains("deadline"), "{late}");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// [`Failure::Limit`]: crate::Failure::Limit
    pub fn overall_deadline(mut self, total: Duration) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).total = Some(total);
        self
    }

    /// Sets the time that a worker has between SIGTERM and SIGKILL when one of these tasks is
    /// ended. Default: the pool's ([`PoolBuilder::grace`](crate::PoolBuilder::grace)).
    pub fn grace(mut self, grace: Duration) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).grace = Some(grace);
        self
    }

    /// Sets what each task may use, at most, beside what its worker may: address space, resident
    /// memory, CPU time, open files, file size, processes. Where both are set, the lower holds.
    /// Default: nothing but the worker's.
    ///
    /// They guard against mistakes. A task that means harm can lift them; against those, run the
    /// workers in a cage (`PoolBuilder::cage`, feature `cage`).
    ///
    /// Tasks fail with [`Failure::NotRun`] if one of the limits makes no sense (no memory at all)
    /// or can only be a worker's (niceness, processors, a private directory).
    ///
    /// ```
    /// use multiproc::{Limits, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let open = || std::fs::File::open("/dev/null").is_ok();
    /// assert_eq!(pool.tasks().limits(Limits::new().open_files(3)).apply(open, ())?, false);
    /// assert_eq!(pool.apply(open, ())?, true);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// [`Failure::NotRun`]: crate::Failure::NotRun
    pub fn limits(mut self, limits: Limits) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).limits = limits;
        self
    }

    /// Runs each of these tasks once at the most, also where workers are elsewhere
    /// ([`PoolBuilder::on`](crate::PoolBuilder::on)): a task that a lost machine may have begun
    /// fails with [`Failure::NodeLost`]. Default: it is run again, up to three times in all.
    ///
    /// Changes nothing where workers are processes of this machine: there a task is run at most
    /// once unless a retry was asked for.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// assert_eq!(pool.tasks().once().apply(|a: u32| a + 1, (1,))?, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    ///
    /// [`Failure::NodeLost`]: crate::Failure::NodeLost
    pub fn once(mut self) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).once = true;
        self
    }

    /// Sets which failures are tried again: see [`Retry`]. Default: none.
    pub fn retry(mut self, retry: Retry) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).retry = retry;
        self
    }

    /// Sets the number of inputs of a map that go to a worker together; at least 1. CPython's
    /// `chunksize`. Default: as many as make handing them out cheap beside running them.
    ///
    /// What waits behind a long task of its chunk goes to workers that have nothing to do. Short
    /// tasks without a [deadline](Tasks::deadline) or limits are begun up to 128 at a time, though,
    /// and what is begun stays with its worker: if one of them never ends, the others begun with it
    /// wait for it. Set a deadline where that can be: each task is then begun by itself.
    pub fn chunk_size(mut self, size: usize) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).chunk_size = Some(size.max(1));
        self
    }

    /// Shows the progress of a map: calls `show` in the thread that waits for its outcomes, about
    /// ten times a second and at the end.
    ///
    /// It serves `map`, `starmap`, `imap` and their like; calls that return at once show nothing.
    /// If `show` panics, it is not called again.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let mut last = 0;
    /// let pool = Pool::new(2)?;
    /// pool.tasks().progress(|progress| last = progress.done).map(|n: u32| n, 0..100)?;
    /// assert_eq!(last, 100);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn progress(mut self, show: impl FnMut(&Progress) + 'p) -> Tasks<'p> {
        self.show = Some(Box::new(show));
        self
    }

    /// Shows the progress of a map as a bar on standard error, if that is a terminal: done, failed,
    /// running, rate, time left. (With the feature `progress`.)
    #[cfg(feature = "progress")]
    pub fn progress_bar(self) -> Tasks<'p> {
        self.progress(crate::pool::api::bar::bar())
    }

    /// Runs `target` in a worker with `args`, a tuple, and waits for what it returns. CPython's
    /// `apply`.
    ///
    /// # Errors
    /// How the task failed: see [`Failure`].
    ///
    /// [`Failure`]: crate::Failure
    pub fn apply<F, Args, R>(self, target: F, args: Args) -> Result<R, TaskError>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        let (slot, pool, job) = self.prepare(target, args);
        // Submitted by the thread that waits: the worker may answer before it waits.
        let submitted = job.and_then(|job| pool.submit_and_lead(job, &*slot, Slot::is_ready));
        fail_unless(submitted, &slot);
        Task::new(slot, pool).join()
    }

    /// Runs `target` in a worker with `args`, a tuple, and returns at once: CPython's
    /// `apply_async`. The arguments are encoded in this call.
    ///
    /// It never fails: whatever is wrong (arguments that cannot be encoded, a pool that is closed)
    /// is the outcome of the task.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let task = pool.tasks().name("sum").submit(|a: u32, b: u32| a + b, (2, 3));
    /// assert_eq!(task.join()?, 5);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn submit<F, Args, R>(self, target: F, args: Args) -> Task<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        let (slot, pool, job) = self.prepare(target, args);
        fail_unless(job.and_then(|job| pool.submit([job])), &slot);
        Task::new(slot, pool)
    }

    /// Makes the job of a single task and the slot of its outcome; or tells why there is no job.
    fn prepare<F, Args>(self, target: F, args: Args) -> Prepared
    where
        F: Target<Args> + Captureless + Send,
        F::Output: Serialize,
        Args: Serialize + DeserializeOwned,
    {
        let pool = self.pool;
        let retry = self.options.retry;
        let (call, refusal) = call::<F, Args>(target, self.options, false, &pool);
        let slot = Arc::new(Slot::new(call));
        // Before the arguments are encoded, which may be long, and may move ends of channels into
        // them.
        let encoded = refusal.map_or_else(|| encode(&args, |ends| retry.check(ends)), Err);
        let job = encoded.map(|(bytes, fds)| {
            let sink = Arc::clone(&slot) as Arc<dyn Sink>;
            Job { sink, first: 0, count: 1, failed: 0, put_off: 0, place: None, bytes, fds }
        });
        (slot, pool, job)
    }

    /// Calls `target` with each input in the workers, and returns what the calls return, in the
    /// order of the inputs. CPython's `map`.
    ///
    /// # Errors
    /// The failure of the first input that failed, returned when all are done.
    /// [`imap`](Tasks::imap) gives the outcome of each.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.tasks().chunk_size(1).map(|n: u32| n * n, [1, 2, 3])?, [1, 4, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn map<F, Items, T, R>(self, target: F, items: Items) -> Result<Vec<R>, TaskError>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.starmap(target, singly(items))
    }

    /// Does the same as [`map`](Tasks::map) for a function of several arguments: each input is a
    /// tuple of them. CPython's `starmap`.
    ///
    /// # Errors
    /// As for [`map`](Tasks::map).
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.tasks().starmap(u32::pow, [(2, 3), (3, 2)])?, [8, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn starmap<F, Items, Args, R>(self, target: F, items: Items) -> Result<Vec<R>, TaskError>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Items: IntoIterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let outcomes = self.lazily(target, items.into_iter(), true).keeping_all();
        // The iterator may announce more than it has, or more than fits into memory.
        let mut values = Vec::with_capacity(outcomes.size_hint().0.min(64 << 10));
        let mut first = None;
        for outcome in outcomes {
            match outcome {
                Ok(value) if first.is_none() => values.push(value),
                // The failure is what is returned; the other tasks are run all the same, as in
                // CPython.
                Ok(_) => {}
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(values), Err)
    }

    /// Submits all inputs and returns at once: CPython's `map_async`. See [`MapTask`].
    pub fn map_async<F, Items, T, R>(self, target: F, items: Items) -> MapTask<R>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.starmap_async(target, singly(items))
    }

    /// Does the same as [`map_async`](Tasks::map_async) for a function of several arguments:
    /// CPython's `starmap_async`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let powers = pool.tasks().starmap_async(u32::pow, [(2, 3), (3, 2)]);
    /// assert_eq!(powers.join()?, [8, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn starmap_async<F, Items, Args, R>(mut self, target: F, items: Items) -> MapTask<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Items: IntoIterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items = items.into_iter();
        // CPython's measure, four chunks for each worker, as nothing is known yet of how long tasks
        // take.
        let by_count = items.size_hint().0.div_ceil(self.pool.hands().saturating_mul(4)).max(1);
        Arc::make_mut(&mut self.options).chunk_size.get_or_insert(by_count);
        let pool = Arc::clone(&self.pool);
        let mut chunker = self.chunker(target, items);
        chunker.send_all();
        MapTask::new(Arc::clone(chunker.results()), pool, chunker.pulled())
    }

    /// Returns the outcomes of calling `target` with each input, in the order of the inputs, which
    /// are pulled as outcomes are taken: see [`IMap`]. CPython's `imap`.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let evens = pool.tasks().imap(|n: u64| n * 2, 0..).take(3);
    /// assert_eq!(evens.collect::<Result<Vec<_>, _>>()?, [0, 2, 4]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn imap<F, Items, T, R>(self, target: F, items: Items) -> IMap<'p, Singly<Items>, (T,), R>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.lazily(target, singly(items), true)
    }

    /// Does the same as [`imap`](Tasks::imap), but returns each outcome as soon as it arrives.
    /// CPython's `imap_unordered`.
    ///
    /// Outcomes do not tell their input; let the function return what identifies it.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let squares = pool.tasks().imap_unordered(|n: u32| n * n, 0..4);
    /// let mut squares: Vec<u32> = squares.collect::<Result<_, _>>()?;
    /// squares.sort();
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn imap_unordered<F, Items, T, R>(
        self,
        target: F,
        items: Items,
    ) -> IMap<'p, Singly<Items>, (T,), R>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.lazily(target, singly(items), false)
    }

    /// Does the same as [`imap`](Tasks::imap) for a function of several arguments: each input is a
    /// tuple of them.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let powers = pool.tasks().istarmap(u32::pow, [(2, 3), (3, 2)]);
    /// assert_eq!(powers.collect::<Result<Vec<_>, _>>()?, [8, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn istarmap<F, Items, Args, R>(
        self,
        target: F,
        items: Items,
    ) -> IMap<'p, Items::IntoIter, Args, R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Items: IntoIterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.lazily(target, items.into_iter(), true)
    }

    /// Does the same as [`istarmap`](Tasks::istarmap), but returns each outcome as soon as it
    /// arrives.
    pub fn istarmap_unordered<F, Items, Args, R>(
        self,
        target: F,
        items: Items,
    ) -> IMap<'p, Items::IntoIter, Args, R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Items: IntoIterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.lazily(target, items.into_iter(), false)
    }

    /// Runs `target` once in every worker with the same `args`, a tuple, and waits for all. Returns
    /// what the calls return, in the order of the workers' numbers
    /// ([`worker_id`](crate::worker_id)).
    ///
    /// A worker does it before what waits for any worker, but after what it was given already. If
    /// it ends before it has begun, the worker that replaces it does it. Workers that are started
    /// later do not: use [`PoolBuilder::initializer`] for them.
    ///
    /// # Errors
    /// The failure of the first worker, by number, in which it failed. Arguments that only one
    /// process may have, such as a [`Receiver`](crate::Receiver), are refused.
    ///
    /// [`PoolBuilder::initializer`]: crate::PoolBuilder::initializer
    ///
    /// ```
    /// fn greet(greeting: String) -> String {
    ///     format!("{greeting} from {}", multiproc::worker_id().unwrap())
    /// }
    ///
    /// let pool = multiproc::Pool::new(2)?;
    /// assert_eq!(pool.broadcast(greet, ("hi".to_owned(),))?, ["hi from 1", "hi from 2"]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn broadcast<F, Args, R>(self, target: F, args: Args) -> Result<Vec<R>, TaskError>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.broadcast_async(target, args).join()
    }

    /// Does the same as [`broadcast`](Tasks::broadcast), but returns at once: the outcomes are
    /// those of the [`MapTask`].
    pub fn broadcast_async<F, Args, R>(self, target: F, args: Args) -> MapTask<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let pool = self.pool;
        let places = pool.occupied();
        let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let (call, refusal) = call::<F, Args>(target, self.options, true, &pool);
        let results = Arc::new(MapResults::new(call));
        let encoded = refusal.map_or_else(
            || encode(&args, |ends| ends.must_be_none("each worker gets the arguments")),
            Err,
        );
        let submitted = encoded.and_then(|(bytes, fds)| {
            let job = |(number, place)| Job {
                sink: Arc::clone(&results) as Arc<dyn Sink>,
                first: number,
                count: 1,
                failed: 0,
                put_off: 0,
                place: Some(place),
                // For each worker: a job owns its arguments, as it may be sent again.
                bytes: bytes.clone(),
                fds: fds.clone(),
            };
            pool.submit((0..).zip(places).map(job))
        });
        if let Err(failure) = submitted {
            let content = Content::Failed(failure);
            results.enter(Delivery { first: 0, count, content, worker: None, attempts: 0 });
        }
        MapTask::new(results, pool, count.into())
    }

    /// Begins a lazy map. Nothing is pulled before the first outcome is asked for.
    pub(crate) fn lazily<F, I, Args, R>(
        mut self,
        target: F,
        items: I,
        is_ordered: bool,
    ) -> IMap<'p, I, Args, R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        I: Iterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let watch = self.show.take().map(Watch::new);
        IMap::new(self.chunker(target, items), is_ordered, watch)
    }

    /// Makes what pulls the inputs of a map and submits them.
    pub(super) fn chunker<F, I, Args>(self, target: F, items: I) -> Chunker<I, Args>
    where
        F: Target<Args> + Captureless + Send,
        F::Output: Serialize,
        I: Iterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
    {
        let (call, refusal) = call::<F, Args>(target, self.options, true, &self.pool);
        Chunker::new(items, Arc::new(MapResults::new(call)), self.pool, refusal)
    }
}

/// The slot of a single task, its pool, and its job or why there is none.
type Prepared = (Arc<Slot>, Arc<Shared>, Result<Job, Failure>);

/// Fails a task that was not submitted.
fn fail_unless(submitted: Result<(), Failure>, slot: &Slot) {
    if let Err(failure) = submitted {
        let content = Content::Failed(failure);
        // Nobody waits yet, so nobody is woken.
        slot.deliver(Delivery { first: 0, count: 1, content, worker: None, attempts: 0 });
    }
}

impl fmt::Debug for Tasks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("options", &self.options).finish_non_exhaustive()
    }
}
