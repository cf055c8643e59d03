//! Describes how tasks are to be run, and running them.

use std::any::type_name;
use std::fmt;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extension::{Singly, singly};
use super::imap::{IMap, Show, Watch};
use super::map_task::MapTask;
use super::progress::Progress;
use super::task::Task;
use crate::codec::{self, Ends};
use crate::error::Failure;
use crate::error::TaskError;
use crate::limits::Limits;
use crate::pool::child::worker_loop;
use crate::pool::host::chunker::Chunker;
use crate::pool::host::map_results::MapResults;
use crate::pool::host::slot::Slot;
use crate::pool::host::supervisor::Shared;
use crate::pool::protocol::messages;
use crate::pool::scheduler::job::{Call, Content, Delivery, Job, Options, Sink};
use crate::pool::scheduler::retry::Retry;
use crate::sys::program::code::{Contentless, Offset};
use crate::target::{Captureless, Target};
use crate::unwind;

/// Tasks for a [`Pool`](crate::Pool), with settings of their own: what
/// [`Pool::tasks`](crate::Pool::tasks) gives.
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
    pool: Arc<Shared>,
    options: Arc<Options>,
    show: Option<Show<'p>>,
}

impl<'p> Tasks<'p> {
    pub(crate) fn new(pool: Arc<Shared>) -> Tasks<'p> {
        Tasks { options: Arc::clone(&pool.defaults), pool, show: None }
    }

    /// Sets what the tasks are called in errors, in panic texts and by
    /// [`current_task`](crate::current_task); otherwise as their function.
    pub fn name(mut self, name: impl Into<String>) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).name = Some(name.into());
        self
    }

    /// Sets how long each task may take, from its begin in the worker. The task can see it
    /// ([`CurrentTask::time_left`](crate::CurrentTask::time_left)); if it is not done by then, its
    /// worker and all that this started gets SIGTERM, and SIGKILL after the
    /// [`grace`](Tasks::grace).
    pub fn deadline(mut self, deadline: Duration) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).deadline = Some(deadline);
        self
    }

    /// Sets the time that all tasks of one call together may take, from when the first is handed
    /// out: the `timeout` of CPython's `Executor.map`.
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
    pub fn overall_deadline(mut self, total: Duration) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).total = Some(total);
        self
    }

    /// Sets how long a worker has between SIGTERM and SIGKILL, otherwise what the pool says (3
    /// seconds unless set).
    pub fn grace(mut self, grace: Duration) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).grace = Some(grace);
        self
    }

    /// Sets what each task may use at most, beside what its worker may: address space, resident
    /// memory, CPU time, open files, file size, processes. Where both say something, the lower
    /// holds. A task that means harm can lift these.
    ///
    /// Tasks fail with [`Failure::NotRun`] if one of the limits cannot be (such as no memory at
    /// all), or is a worker's (niceness, processors, a private directory).
    pub fn limits(mut self, limits: Limits) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).limits = limits;
        self
    }

    /// Sets whether tasks that fail are tried again: not, unless said.
    pub fn retry(mut self, retry: Retry) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).retry = retry;
        self
    }

    /// Sets how many inputs of a map go to a worker at once; at least 1. Unless set, it follows
    /// from how long they take: so many that handing them out costs little beside.
    ///
    /// What waits behind a long task of its chunk goes to workers that have nothing to do. Short
    /// tasks without a [deadline](Tasks::deadline) or limits are begun up to 128 at a time, though,
    /// and what is begun stays with its worker: if one of them never ends, the others begun with it
    /// wait for it. Set a deadline where that can be: each task is begun by itself then.
    pub fn chunk_size(mut self, size: usize) -> Tasks<'p> {
        Arc::make_mut(&mut self.options).chunk_size = Some(size.max(1));
        self
    }

    /// Shows how far a map is: calls `show` in the thread that waits for its outcomes, about ten
    /// times a second and at the end.
    ///
    /// For `map`, `starmap`, `imap` and their like; those that return at once show nothing. If it
    /// panics, it is not called again.
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

    /// Shows how far a map is by a bar on standard error, if that is a terminal: done, failed,
    /// running, rate, time left. (With the feature `progress`.)
    #[cfg(feature = "progress")]
    pub fn progress_bar(self) -> Tasks<'p> {
        self.progress(crate::pool::api::bar::bar())
    }

    /// Runs `target` in a worker with `args`, a tuple, and waits for what it returns.
    ///
    /// # Errors
    /// How it failed: see [`Failure`].
    pub fn apply<F, Args, R>(self, target: F, args: Args) -> Result<R, TaskError>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.submit(target, args).join()
    }

    /// Runs `target` in a worker with `args`, a tuple, and returns at once. The arguments are
    /// encoded here and now.
    ///
    /// It never fails: what is wrong (arguments that cannot be encoded, a pool that is closed) is
    /// the outcome of the task.
    pub fn submit<F, Args, R>(self, target: F, args: Args) -> Task<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        let pool = self.pool;
        let retry = self.options.retry;
        let (call, refusal) = call::<F, Args>(target, self.options, false, &pool);
        let slot = Arc::new(Slot::new(call));
        let encoded = refusal.map_or_else(|| encode(&args, |ends| retry.check(ends)), Err);
        let submitted = encoded.and_then(|(bytes, fds)| {
            let sink = Arc::clone(&slot) as Arc<dyn Sink>;
            pool.submit([Job {
                sink,
                first: 0,
                count: 1,
                failed: 0,
                put_off: 0,
                place: None,
                bytes,
                fds,
            }])
        });
        match submitted {
            Ok(()) => {}
            Err(failure) => {
                let content = Content::Failed(failure);
                slot.deliver(Delivery { first: 0, count: 1, content, worker: None, attempts: 0 });
            }
        }
        Task::new(slot, pool)
    }

    /// Calls `target` with each input, in the workers, and gives what they return in the order of
    /// the inputs.
    ///
    /// # Errors
    /// The failure of the first input that failed, when all are done. [`imap`](Tasks::imap) gives
    /// the outcome of each.
    pub fn map<F, Items, T, R>(self, target: F, items: Items) -> Result<Vec<R>, TaskError>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.starmap(target, singly(items))
    }

    /// [`map`](Tasks::map) for a function of several arguments: each input is a tuple of them.
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
        let outcomes = self.lazily(target, items.into_iter(), true);
        // What an iterator says of its length may be wrong.
        let mut values = Vec::with_capacity(outcomes.size_hint().0.min(64 << 10));
        let mut first = None;
        for outcome in outcomes {
            match outcome {
                Ok(value) if first.is_none() => values.push(value),
                Ok(_) => {}
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(values), Err)
    }

    /// Hands out all inputs and returns at once.
    pub fn map_async<F, Items, T, R>(self, target: F, items: Items) -> MapTask<R>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.starmap_async(target, singly(items))
    }

    /// [`map_async`](Tasks::map_async) for a function of several arguments.
    pub fn starmap_async<F, Items, Args, R>(mut self, target: F, items: Items) -> MapTask<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Items: IntoIterator<Item = Args>,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items = items.into_iter();
        // CPython's measure, as nothing is known yet.
        let by_count = items.size_hint().0.div_ceil(self.pool.processes.saturating_mul(4)).max(1);
        Arc::make_mut(&mut self.options).chunk_size.get_or_insert(by_count);
        let pool = Arc::clone(&self.pool);
        let mut chunker = self.chunker(target, items);
        chunker.send_all();
        MapTask::new(Arc::clone(chunker.results()), pool, chunker.pulled())
    }

    /// The outcomes of calling `target` with each input, in the order of the inputs, which are
    /// pulled as needed.
    pub fn imap<F, Items, T, R>(self, target: F, items: Items) -> IMap<'p, Singly<Items>, (T,), R>
    where
        F: Target<(T,), Output = R> + Captureless + Send,
        Items: IntoIterator<Item = T>,
        T: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.lazily(target, singly(items), true)
    }

    /// [`imap`](Tasks::imap), with each outcome as soon as it is there.
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

    /// [`imap`](Tasks::imap) for a function of several arguments.
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

    /// [`istarmap`](Tasks::istarmap), with each outcome as soon as it is there.
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

    /// Runs `target` once in every worker with the same `args`, a tuple, and waits for all: what
    /// they return, in the order of the workers' numbers ([`worker_id`](crate::worker_id)).
    ///
    /// A worker does it before what waits for any worker, after what it was given already. If it
    /// ends before it has begun, the worker that replaces it does it; workers that are started
    /// later do not, for which there is [`PoolBuilder::initializer`].
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

    /// Does the same as [`broadcast`](Tasks::broadcast) without waiting.
    pub fn broadcast_async<F, Args, R>(self, target: F, args: Args) -> MapTask<R>
    where
        F: Target<Args, Output = R> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let pool = self.pool;
        let count = u32::try_from(pool.processes).unwrap_or(u32::MAX);
        let (call, refusal) = call::<F, Args>(target, self.options, true, &pool);
        let results = Arc::new(MapResults::new(call));
        let encoded = refusal.map_or_else(
            || encode(&args, |ends| ends.must_be_none("each worker gets the arguments")),
            Err,
        );
        let submitted = encoded.and_then(|(bytes, fds)| {
            let job = |place| Job {
                sink: Arc::clone(&results) as Arc<dyn Sink>,
                first: place as u64,
                count: 1,
                failed: 0,
                put_off: 0,
                place: Some(place),
                bytes: bytes.clone(),
                fds: fds.clone(),
            };
            pool.submit((0..pool.processes).map(job))
        });
        if let Err(failure) = submitted {
            let content = Content::Failed(failure);
            results.enter(Delivery { first: 0, count, content, worker: None, attempts: 0 });
        }
        MapTask::new(results, pool, count.into())
    }

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

    fn chunker<F, I, Args>(self, target: F, items: I) -> Chunker<I, Args>
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

/// Encodes the arguments of one task: their frame, and their descriptors. `check` says whether they
/// may go out, by what in them only one process may have.
fn encode<Args: Serialize>(
    args: &Args,
    check: impl FnOnce(&Ends) -> Result<(), String>,
) -> Result<(Vec<u8>, Vec<Arc<OwnedFd>>), Failure> {
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    let encode = |onto: &mut Vec<u8>| {
        let ends = codec::encode_within(args, onto, messages::LONGEST, &mut fds)?;
        check(&ends)?;
        ends.keep();
        Ok(())
    };
    unwind::catch(|| messages::framed(&mut bytes, encode))
        .unwrap_or_else(|panic| Err(format!("{}: it panicked: {panic}", type_name::<Args>())))
        .map_err(|reason| Failure::BadArguments(format!("cannot be encoded: {reason}")))?;
    bytes.shrink_to_fit();
    Ok((bytes, fds))
}

/// Returns what the tasks of a function have in common; and why they cannot be run, if so.
fn call<F, Args>(
    target: F,
    options: Arc<Options>,
    is_map: bool,
    pool: &Shared,
) -> (Call, Option<Failure>)
where
    F: Target<Args> + Captureless + Send,
    F::Output: Serialize,
    Args: DeserializeOwned,
{
    let () = Contentless::<F>::PROOF;
    // Moved to the workers, where it is made from nothing; so it must not be dropped here.
    mem::forget(target);
    let entry = Offset::of(worker_loop::tasks_entry::<F, Args>());
    let refusal = if !pool.is_ours() {
        Some(Failure::NotRun(format!(
            "the pool belongs to process {}, of which this one is a copy",
            pool.owner.1
        )))
    } else if entry.is_none() {
        Some(Failure::NotRun(
            "its function is code of a dynamic library, which workers do not have".to_owned(),
        ))
    } else {
        options.limits.check_for_task().err().map(Failure::NotRun)
    };
    let mut call = Call::new(entry, type_name::<F>(), options, is_map);
    call.returns_nothing = size_of::<F::Output>() == 0;
    (call, refusal)
}

impl fmt::Debug for Tasks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("options", &self.options).finish_non_exhaustive()
    }
}
