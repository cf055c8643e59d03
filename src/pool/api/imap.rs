//! Lazy maps: the outcomes of a map, one after the other.
//!
//! An [`IMap`] runs in the thread that asks it for outcomes. Each call first gives what is here,
//! else pulls inputs until the workers have enough to do, and only then sleeps. So inputs are
//! pulled no faster than outcomes are taken, and no thread is needed for it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::progress::Progress;
use crate::error::TaskError;
use crate::pool::host::chunker::Chunker;
use crate::pool::host::decode::Opened;
use crate::pool::scheduler::job::{Delivery, Sink};
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// Time between two calls of a progress function, at the least.
const SHOWN: Duration = Duration::from_millis(100);

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
    /// The inputs, as they are pulled and submitted.
    chunker: Chunker<I, Args>,
    /// Deliveries that arrived ahead of their turn, by the number of their first task.
    early: BTreeMap<u64, Delivery>,
    /// Deliveries that arrived, if their order does not matter.
    ready: VecDeque<Delivery>,
    /// The delivery whose outcomes are being given.
    current: Option<Opened<R>>,
    /// Number of outcomes given so far.
    next: u64,
    /// Number of outcomes that have arrived.
    arrived: u64,
    /// True if outcomes are given in the order of the inputs.
    is_ordered: bool,
    /// The progress function, if there is one.
    progress: Option<Watch<'p>>,
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
        IMap {
            chunker,
            early: BTreeMap::new(),
            ready: VecDeque::new(),
            current: None,
            next: 0,
            arrived: 0,
            is_ordered,
            progress,
        }
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
        self.next_by(Deadline::after(timeout))
    }

    /// Returns the next outcome if it arrives by a point in time.
    ///
    /// # Errors
    /// As for [`next_timeout`](IMap::next_timeout).
    pub fn next_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        self.next_by(Deadline::at(deadline))
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
        loop {
            if let Some(found) = self.next_ready() {
                return Poll::Ready(Some(found));
            }
            if let Some(lost) = self.lost_to_copy() {
                return Poll::Ready(lost.map(Err));
            }
            self.chunker.fill();
            if self.is_at_end() {
                return Poll::Ready(None);
            }
            // Registered under the same lock that is looked at: what arrives afterwards wakes.
            if !self.chunker.results().register(context.waker(), |_, is_any| is_any) {
                return Poll::Pending;
            }
        }
    }

    /// Returns the next outcome if it arrives by `deadline`.
    fn next_by(&mut self, deadline: Deadline) -> Result<Option<Result<R, TaskError>>, TimedOut> {
        loop {
            if let Some(found) = self.next_ready() {
                return Ok(Some(found));
            }
            if let Some(lost) = self.lost_to_copy() {
                return Ok(lost.map(Err));
            }
            self.chunker.fill();
            if self.is_at_end() {
                self.show(true);
                return Ok(None);
            }
            // With a progress function, the wait is cut in pieces so that elapsed time is shown.
            let until =
                if self.progress.is_some() { deadline.within_next(SHOWN) } else { deadline };
            let wanted = self.chunker.worth_waking_for(self.arrived);
            let came = self.chunker.results().wait(self.chunker.pool(), wanted, until);
            self.show(false);
            // Woken without an outcome (a piece of the wait is over) it goes round again.
            if !came && deadline.is_over() {
                return Err(TimedOut(()));
            }
        }
    }

    /// In a forked copy of the process: gives one error, then the end.
    fn lost_to_copy(&mut self) -> Option<Option<TaskError>> {
        if !self.chunker.is_copy() {
            return None;
        }
        let is_at_end = self.is_at_end();
        // So that the map ends after one error, however many inputs there are.
        self.chunker.lose(self.next);
        let lost = || {
            TaskError::new(
                self.chunker.results().call().label(self.next),
                None,
                0,
                self.chunker.pool().lost_to_copy(),
            )
        };
        Some((!is_at_end).then(lost))
    }

    /// Returns the next outcome if it is here.
    fn next_ready(&mut self) -> Option<Result<R, TaskError>> {
        loop {
            if let Some(opened) = &mut self.current {
                if let Some(outcome) = opened.next(self.chunker.results().call()) {
                    self.next = self.next.saturating_add(1);
                    if let Some(watch) = &mut self.progress {
                        watch.failed = watch.failed.saturating_add(u64::from(outcome.is_err()));
                    }
                    // With the last outcome, as nobody may ask for another.
                    if self.next == self.chunker.pulled() && self.chunker.is_exhausted {
                        self.show(true);
                    }
                    return Some(outcome);
                }
                self.current = None;
            }
            // What arrived before comes first; the lock is taken only if that is used up.
            let mut turn = self.take_turn();
            if turn.is_none() {
                for delivery in self.chunker.results().take() {
                    self.arrived = self.arrived.saturating_add(u64::from(delivery.count));
                    // By number of the first task: deliveries of a chunk that was cut come in any
                    // order.
                    if self.is_ordered {
                        self.early.insert(delivery.first, delivery);
                    } else {
                        self.ready.push_back(delivery);
                    }
                }
                turn = self.take_turn();
            }
            let delivery = turn?;
            self.chunker.came_back(delivery.count);
            self.current = Some(Opened::new(delivery));
            // While the user looks at these, others are to be at work.
            self.chunker.fill();
            self.show(false);
        }
    }

    /// Takes the delivery whose turn it is, if it is here.
    fn take_turn(&mut self) -> Option<Delivery> {
        if self.is_ordered { self.early.remove(&self.next) } else { self.ready.pop_front() }
    }

    /// Returns whether all inputs were pulled and all outcomes given.
    fn is_at_end(&self) -> bool {
        self.chunker.is_exhausted && self.next == self.chunker.pulled() && self.chunker.out() == 0
    }

    /// Shows the progress, if anybody wants to see it.
    fn show(&mut self, is_last: bool) {
        let Some(watch) = &mut self.progress else { return };
        // Arrived counts here, not given: an outcome may wait for one before it.
        let running = self.chunker.pulled().saturating_sub(self.arrived);
        let running =
            usize::try_from(running).unwrap_or(usize::MAX).min(self.chunker.pool().hands());
        watch.show(self.chunker.total(), self.arrived, running, is_last);
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
        self.next_by(Deadline::Never).ok().flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let total = self
            .chunker
            .total()
            .and_then(|total| usize::try_from(total.saturating_sub(self.next)).ok());
        (total.unwrap_or(0), total)
    }
}

impl<I, Args, R> Drop for IMap<'_, I, Args, R> {
    fn drop(&mut self) {
        self.chunker.abandon();
    }
}

impl<I, Args, R> fmt::Debug for IMap<'_, I, Args, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IMap")
            .field("next", &self.next)
            .field("is_ordered", &self.is_ordered)
            .finish_non_exhaustive()
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
