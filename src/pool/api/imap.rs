//! Lazy maps, as users see them.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lazy::{Audience, Lazy, SHOWN};
use super::progress::Progress;
use crate::error::{Result as AnyResult, TaskError, os};
use crate::pool::host::chunker::Chunker;
use crate::process::Waitable;
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// An iterator over the outcomes of a lazy map, in the order of the inputs or as they arrive: what
/// [`Pool::imap`](crate::Pool::imap) and [`Tasks::imap`](crate::Tasks::imap) return.
///
/// Inputs are pulled while somebody asks for outcomes, and no more of them than the workers need: a
/// few chunks for each. So an endless iterator is a fine input. (CPython's `imap` pulls all inputs
/// at once, in a thread of its own.)
///
/// Dropping it ends the map: tasks that are not begun are not run; those that run go on, and their
/// outcomes are lost.
///
/// [`wait`](crate::wait) and [`WaitSet`](crate::WaitSet) wait for it among other things. It is
/// ready when an outcome is here, or the end; and when no task is under way, as at the beginning:
/// to wait pulls no inputs, so call [`next_timeout`](IMap::next_timeout) with no time then, which
/// does.
///
/// If the iterator of inputs panics, so does the call that pulled; nothing is lost, and it can be
/// asked again.
///
/// ```
/// use multiproc::Pool;
///
/// let pool = Pool::new(2)?;
/// let squares = pool.imap(|n: u64| n * n, 1..);       // without end
/// let sum: u64 = squares.take(100).map(Result::unwrap).sum();
/// assert_eq!(sum, 338_350);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a lazy map does nothing until it is asked for its outcomes"]
pub struct IMap<'p, I, Args, R> {
    map: Lazy<I, Args, R, Option<Watch<'p>>>,
}

/// The progress function of a user.
pub(crate) type Show<'p> = Box<dyn FnMut(&Progress) + 'p>;

/// A progress function, and when it was called.
pub(crate) struct Watch<'p> {
    show: Show<'p>,
    started: Instant,
    /// Time of the last call.
    shown: Option<Instant>,
    /// Number of failures among the outcomes that were given.
    failed: u64,
    /// True after the last call, or a panic in it.
    is_over: bool,
}

impl<'p> Watch<'p> {
    /// Starts to measure the time of a map.
    pub(crate) fn new(show: Show<'p>) -> Watch<'p> {
        Watch { show, started: Instant::now(), shown: None, failed: 0, is_over: false }
    }
}

impl Audience for Option<Watch<'_>> {
    fn is_there(&self) -> bool {
        self.is_some()
    }

    fn gave(&mut self, is_failure: bool) {
        if let Some(watch) = self {
            watch.failed = watch.failed.saturating_add(u64::from(is_failure));
        }
    }

    fn show(&mut self, total: Option<u64>, done: u64, running: usize, is_last: bool) {
        if let Some(watch) = self {
            watch.show(total, done, running, is_last);
        }
    }
}

impl Watch<'_> {
    /// Calls the function, unless it was called a moment ago. The last call is always made.
    fn show(&mut self, total: Option<u64>, done: u64, running: usize, is_last: bool) {
        if self.is_over || !is_last && self.shown.is_some_and(|shown| shown.elapsed() < SHOWN) {
            return;
        }
        self.shown = Some(Instant::now());
        let progress =
            Progress { total, done, failed: self.failed, running, elapsed: self.started.elapsed() };
        // A panic in it must not cost an outcome; it is not called again.
        self.is_over = unwind::catch(|| (self.show)(&progress)).is_err() || is_last;
    }
}

impl<'p, I, Args, R> IMap<'p, I, Args, R>
where
    I: Iterator<Item = Args>,
    Args: Serialize,
    R: DeserializeOwned,
{
    /// A map that has pulled nothing.
    pub(crate) fn new(
        chunker: Chunker<I, Args>,
        is_ordered: bool,
        progress: Option<Watch<'p>>,
    ) -> IMap<'p, I, Args, R> {
        IMap { map: Lazy::new(chunker, is_ordered, progress) }
    }

    /// The same map, for who keeps all outcomes.
    pub(crate) fn keeping_all(mut self) -> IMap<'p, I, Args, R> {
        self.map.keep_all();
        self
    }

    /// Returns the next outcome if it arrives within `timeout`: CPython's `next(timeout)`.
    /// `Ok(None)` is the end of the map.
    ///
    /// # Errors
    /// [`TimedOut`]: it did not arrive. It is not lost; ask again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let mut naps = pool.imap(std::thread::sleep, [Duration::from_secs(600)]);
    /// assert!(naps.next_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        self.map.next_by(Deadline::after(timeout)).ok_or(TimedOut(()))
    }

    /// Returns the next outcome if it arrives by a point in time.
    ///
    /// # Errors
    /// As for [`next_timeout`](IMap::next_timeout).
    pub fn next_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        self.map.next_by(Deadline::at(deadline)).ok_or(TimedOut(()))
    }

    /// Returns the next outcome, for async code of any runtime; `None` at the end. Nothing is lost
    /// if the future is dropped.
    ///
    /// Inputs are pulled by the task that awaits, so they should be quick to come.
    pub async fn next_async(&mut self) -> Option<Result<R, TaskError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Polls for the next outcome: for a `Stream` of your own. Wakes the waker of the last call
    /// only.
    ///
    /// ```
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let mut squares = pool.imap(|n: u32| n * n, [3]);
    /// let mut context = Context::from_waker(Waker::noop()); // a runtime has one that wakes
    /// let square = loop {
    ///     match squares.poll_next(&mut context) {
    ///         Poll::Ready(outcome) => break outcome.unwrap()?,
    ///         Poll::Pending => std::thread::yield_now(),
    ///     }
    /// };
    /// assert_eq!(square, 9);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<R, TaskError>>> {
        self.map.poll_next(context)
    }
}

impl<I, Args, R> Iterator for IMap<'_, I, Args, R>
where
    I: Iterator<Item = Args>,
    Args: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        self.map.next_by(Deadline::Never).flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.map.left();
        (left.unwrap_or(0), left)
    }
}

impl<I, Args, R> Waitable for IMap<'_, I, Args, R>
where
    I: Iterator<Item = Args>,
    Args: Serialize,
    R: DeserializeOwned,
{
    /// A descriptor of its own, made when it is first asked for.
    fn wait_fd(&self) -> AnyResult<BorrowedFd<'_>> {
        self.map.wait_fd().map_err(os("cannot wait for a map"))
    }

    fn poll_ready(&self) -> AnyResult<bool> {
        Ok(self.map.is_ready())
    }

    fn may_wake_for_nothing(&self) -> bool {
        true
    }
}

impl<I, Args, R> fmt::Debug for IMap<'_, I, Args, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IMap").field("map", &self.map).finish()
    }
}

/// The error of [`IMap::next_timeout`]: no outcome arrived in time. The map goes on.
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Pool, TimedOut};
///
/// let pool = Pool::new(1)?;
/// let mut naps = pool.imap(std::thread::sleep, [Duration::from_secs(600)]);
/// let error: TimedOut = naps.next_timeout(Duration::ZERO).unwrap_err();
/// assert_eq!(error.to_string(), "timed out");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(());

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for TimedOut {}
