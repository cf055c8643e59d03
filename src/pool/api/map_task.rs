//! A whole map that was handed to a pool.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::pool::host::decode::Opened;
use crate::pool::host::map_results::MapResults;
use crate::pool::host::supervisor::Shared;
use crate::pool::scheduler::job::Sink;
use crate::sys::wait::poll::Deadline;

/// All tasks of a map, which a [`Pool`](crate::Pool) runs or will run: what
/// [`Tasks::map_async`](crate::Tasks::map_async) gives.
///
/// It is a future, for any runtime. Dropping it neither stops the tasks nor waits for them.
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
    results: Arc<MapResults>,
    pool: Arc<Shared>,
    count: u64,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> MapTask<R> {
    pub(crate) fn new(results: Arc<MapResults>, pool: Arc<Shared>, count: u64) -> MapTask<R> {
        MapTask { results, pool, count, result: PhantomData }
    }

    /// Waits for all tasks and gives what they returned, in the order of the inputs.
    ///
    /// # Errors
    /// The failure of the first that failed, when all are done.
    pub fn join(self) -> Result<Vec<R>, TaskError> {
        self.join_all().into_iter().collect()
    }

    /// Waits for all tasks and gives the outcome of each, in the order of the inputs.
    #[must_use]
    pub fn join_all(self) -> Vec<Result<R, TaskError>> {
        if !self.pool.is_ours() && !self.is_ready() {
            let lost = |number| {
                TaskError::new(self.results.call().label(number), None, 0, self.pool.lost_to_copy())
            };
            return (0..self.count).map(|number| Err(lost(number))).collect();
        }
        self.results.wait_for(self.count, Deadline::Never);
        self.outcomes()
    }

    fn outcomes(&self) -> Vec<Result<R, TaskError>> {
        let mut arrived: Vec<_> = self.results.take().into();
        arrived.sort_by_key(|delivery| delivery.first);
        let mut all = Vec::with_capacity(usize::try_from(self.count).unwrap_or(0));
        for delivery in arrived {
            let mut opened = Opened::new(delivery);
            all.extend(std::iter::from_fn(|| opened.next(self.results.call())));
        }
        all
    }

    /// Waits at most so long for all tasks; whether they are done.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.results.wait_for(self.count, Deadline::after(timeout))
    }

    /// Returns whether all tasks are done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.results.came() >= self.count
    }

    /// Returns how many tasks are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.results.came()
    }

    /// Calls all off that are not done, as [`Task::cancel`](crate::Task::cancel) does one.
    pub fn cancel(self) {
        self.results.cancel();
        if self.pool.is_ours() {
            self.pool.cancel(self.results.call().id, true);
        }
    }

    /// Calls `callback` once, with all outcomes, when the last task is done, in the pool's own
    /// thread: CPython's `callback` and `error_callback`. It takes the outcomes; it should be
    /// quick. A panic in it is shown.
    pub fn on_done(self, callback: impl FnOnce(Result<Vec<R>, TaskError>) + Send + 'static)
    where
        R: 'static,
    {
        let mut callback = Some(callback);
        let MapTask { results, pool, count, .. } = self;
        let place = Arc::downgrade(&results);
        let mut tell = move || {
            let Some(results) = place.upgrade().filter(|results| results.came() >= count) else {
                return;
            };
            let Some(callback) = callback.take() else { return };
            let all = MapTask::<R>::new(results, Arc::clone(&pool), count);
            let _ = crate::unwind::catch(|| callback(all.outcomes().into_iter().collect()));
        };
        if results.came() >= count {
            tell();
        } else {
            results.on_change(Box::new(tell));
            // It may have become so meanwhile; the callback sees to it that it is called once.
            results.wake();
        }
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
