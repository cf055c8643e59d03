//! The handle of a map that was submitted whole.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::{Result as AnyResult, TaskError, os};
use crate::pool::host::decode::Opened;
use crate::pool::host::map_results::MapResults;
use crate::pool::host::supervisor::Shared;
use crate::pool::scheduler::job::Sink;
use crate::process::Waitable;
use crate::sys::wait::poll::Deadline;

/// All tasks of a map, which a [`Pool`](crate::Pool) runs or will run: what
/// [`Tasks::map_async`](crate::Tasks::map_async) returns, CPython's `MapResult`.
///
/// It is a future, for any runtime, and [`wait`](crate::wait) waits for it among other things.
/// Dropping it neither stops the tasks nor waits for them, unless
/// [`cancel_on_drop`](MapTask::cancel_on_drop) was asked for; [`cancel`](MapTask::cancel) stops
/// them.
///
/// ```
/// use multiproc::Pool;
///
/// let pool = Pool::new(2)?;
/// let words = ["a", "map"].map(str::to_owned);
/// let lengths = pool.tasks().map_async(|word: String| word.len(), words);
/// assert_eq!(lengths.join()?, [1, 3]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a map goes on without its handle, but nobody learns what becomes of it"]
pub struct MapTask<R> {
    /// The outcomes, as they arrive.
    results: Arc<MapResults>,
    /// The pool, to cancel the tasks there.
    pool: Arc<Shared>,
    /// Number of tasks.
    count: u64,
    /// Cancels the tasks when it is dropped, if that was asked for.
    guard: Option<CancelGuard>,
    result: PhantomData<fn() -> R>,
}

/// Cancels the tasks of a map when it is dropped. Apart from the handle, so that the handle can be
/// taken to pieces.
struct CancelGuard {
    results: Arc<MapResults>,
    pool: Arc<Shared>,
    /// Number of outcomes from which on nothing is cancelled.
    count: u64,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if self.results.came() < self.count {
            cancel(&self.results, &self.pool);
        }
    }
}

/// Cancels all tasks of a map that are not done.
fn cancel(results: &MapResults, pool: &Shared) {
    results.cancel();
    if pool.is_ours() {
        pool.cancel(results.call().id, true);
    }
}

impl<R: DeserializeOwned> MapTask<R> {
    /// A handle of the `count` tasks whose outcomes arrive in `results`.
    pub(crate) fn new(results: Arc<MapResults>, pool: Arc<Shared>, count: u64) -> MapTask<R> {
        MapTask { results, pool, count, guard: None, result: PhantomData }
    }

    /// Waits for all tasks, and returns what they returned, in the order of the inputs.
    ///
    /// # Errors
    /// The failure of the first input that failed; returned when all tasks are done, as CPython's
    /// `get` does.
    pub fn join(self) -> Result<Vec<R>, TaskError> {
        self.join_all().into_iter().collect()
    }

    /// Waits for all tasks, and returns the outcome of each, in the order of the inputs.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(2)?;
    /// let parts = pool.tasks().map_async(|n: u32| 8 / n, [2, 0, 4]);
    /// let parts: Vec<Option<u32>> = parts.join_all().into_iter().map(Result::ok).collect();
    /// assert_eq!(parts, [Some(4), None, Some(2)]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn join_all(self) -> Vec<Result<R, TaskError>> {
        // A forked copy of the process gets no more outcomes than it has.
        if !self.pool.is_ours() && !self.is_ready() {
            let lost = |number| {
                TaskError::new(self.results.call().label(number), None, 0, self.pool.lost_to_copy())
            };
            return (0..self.count).map(|number| Err(lost(number))).collect();
        }
        self.results.wait_for(&self.pool, self.count, Deadline::Never);
        self.outcomes()
    }

    /// Decodes all outcomes, in the order of the inputs.
    fn outcomes(&self) -> Vec<Result<R, TaskError>> {
        let mut arrived: Vec<_> = self.results.take().into();
        // Chunks arrive in any order; within one, outcomes are in order.
        arrived.sort_by_key(|delivery| delivery.first);
        let mut all = Vec::with_capacity(usize::try_from(self.count).unwrap_or(0));
        for delivery in arrived {
            let mut opened = Opened::new(delivery);
            all.extend(std::iter::from_fn(|| opened.next(self.results.call())));
        }
        all
    }

    /// Waits for all tasks for at most `timeout`. Returns whether they are done; the outcomes stay.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.results.wait_for(&self.pool, self.count, Deadline::after(timeout))
    }

    /// Returns whether all tasks are done: CPython's `ready`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.results.came() >= self.count
    }

    /// Returns the number of tasks that are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.results.came()
    }

    /// Cancels all tasks that are not done, as [`Task::cancel`](crate::Task::cancel) cancels one:
    /// those that wait are not run, and workers that run one of them are killed and replaced.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let naps = pool.tasks().map_async(std::thread::sleep, [Duration::from_secs(600); 3]);
    /// naps.cancel();
    /// assert_eq!(pool.apply(|| 7, ())?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancel(self) {
        cancel(&self.results, &self.pool);
    }

    /// Has all tasks that are not done cancelled when this handle is dropped, as
    /// [`Task::cancel_on_drop`](crate::Task::cancel_on_drop) does for one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let naps = pool.tasks().map_async(std::thread::sleep, [Duration::from_secs(600); 3]);
    /// drop(naps.cancel_on_drop());
    /// assert_eq!(pool.apply(|| 7, ())?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancel_on_drop(mut self) -> MapTask<R> {
        let (results, pool) = (Arc::clone(&self.results), Arc::clone(&self.pool));
        self.guard = Some(CancelGuard { results, pool, count: self.count });
        self
    }

    /// Calls `callback` once with all outcomes, when the last task is done, in the pool's own
    /// thread, or at once in this one if they are done already. CPython's `callback` and
    /// `error_callback` in one.
    ///
    /// It takes the handle and the outcomes; it should be quick and wait for no other task. A panic
    /// in it is shown.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let pool = multiproc::Pool::new(2)?;
    /// let (told, outcome) = mpsc::channel();
    /// let squares = pool.tasks().map_async(|n: u32| n * n, 0..4);
    /// squares.on_done(move |all| told.send(all.unwrap()).unwrap());
    /// assert_eq!(outcome.recv(), Ok(vec![0, 1, 4, 9]));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn on_done(self, callback: impl FnOnce(Result<Vec<R>, TaskError>) + Send + 'static)
    where
        R: 'static,
    {
        let mut callback = Some(callback);
        let MapTask { results, pool, count, guard, .. } = self;
        // Whoever wants to be called wants the outcomes.
        if let Some(mut guard) = guard {
            guard.count = 0;
        }
        // Weak, as the results hold the callback: the two would keep each other alive.
        let place = Arc::downgrade(&results);
        let mut tell = move || {
            let Some(results) = place.upgrade().filter(|results| results.came() >= count) else {
                return;
            };
            // Woken once more than needed: it was called before.
            let Some(callback) = callback.take() else { return };
            let all = MapTask::<R>::new(results, Arc::clone(&pool), count);
            let _ = crate::unwind::catch(|| callback(all.outcomes().into_iter().collect()));
        };
        if results.came() >= count {
            tell();
        } else {
            results.on_change(Box::new(tell));
            // The last task may have come in between; the callback itself sees to it that it is
            // called once.
            results.wake();
        }
    }
}

impl<R> Waitable for MapTask<R> {
    /// A descriptor of its own, made when it is first asked for.
    fn wait_fd(&self) -> AnyResult<BorrowedFd<'_>> {
        self.results.wait_fd().map_err(os("cannot wait for a map"))
    }

    /// Ready when [`join`](MapTask::join) returns at once. In a forked copy of the pool's process,
    /// that is always, as the tasks are lost to it.
    fn poll_ready(&self) -> AnyResult<bool> {
        Ok(!self.pool.is_ours() || self.results.look(|came, _| came >= self.count))
    }

    fn may_wake_for_nothing(&self) -> bool {
        true
    }
}

impl<R: DeserializeOwned> Future for MapTask<R> {
    type Output = Result<Vec<R>, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Vec<R>, TaskError>> {
        if self.results.register(context.waker(), |came, _| came >= self.count) {
            Poll::Ready(self.outcomes().into_iter().collect())
        } else {
            Poll::Pending
        }
    }
}

impl<R> fmt::Debug for MapTask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapTask")
            .field("count", &self.count)
            .field("done", &self.results.came())
            .finish()
    }
}
