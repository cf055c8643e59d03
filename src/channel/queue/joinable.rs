//! A queue that knows when the work is done.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{GetError, PutError};
use super::values::Queue;
use crate::error::{Cause, Result};
use crate::sync::hands::Hands;
use crate::sys::wait::poll::Deadline;

/// A [`Queue`] of tasks, of which each is to be reported done by who got it: CPython's `multiprocessing.JoinableQueue`.
///
/// [`join`](JoinableQueue::join) waits until all that was put is done. What a process had got and not reported when it died
/// counts as done, for nobody else will do it; CPython's `join` waits for ever then.
///
/// ```
/// use multiproc::{JoinableQueue, Process};
///
/// fn worker(jobs: JoinableQueue<u32>) {
///     while let Ok(_job) = jobs.get() {
///         jobs.task_done().unwrap();
///     }
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let jobs = JoinableQueue::new()?;
/// let _worker = Process::new(worker, (jobs.clone(),)).daemon(true).start()?;
/// for job in 0..100 {
///     jobs.put(job)?;
/// }
/// jobs.join();
/// assert_eq!(jobs.unfinished(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct JoinableQueue<T> {
    queue: Queue<T>,
    hands: Hands,
}

impl<T> JoinableQueue<T> {
    /// A queue without a bound.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new() -> Result<JoinableQueue<T>> {
        Ok(JoinableQueue { queue: Queue::new()?, hands: Hands::new()? })
    }

    /// A queue that holds up to `maxsize` values; who puts more waits.
    ///
    /// # Errors
    /// `maxsize` is 0; the system lacks descriptors or memory.
    pub fn bounded(maxsize: usize) -> Result<JoinableQueue<T>> {
        Ok(JoinableQueue { queue: Queue::bounded(maxsize)?, hands: Hands::new()? })
    }

    /// Reports one of the values that were got as done. Usually, the thread that got it does; another may in its place, as long as
    /// that lives.
    ///
    /// # Errors
    /// More were reported than got.
    pub fn task_done(&self) -> Result<()> {
        if self.hands.put_down() {
            return Ok(());
        }
        Err(Cause::BadInput("task_done() called too many times".into()).into())
    }

    /// Waits until all that was put was got, and reported as done.
    pub fn join(&self) {
        self.hands.wait_empty(Deadline::Never, || self.queue.empty());
    }

    /// `join`, for `timeout` at the most; says whether all is done.
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.hands.wait_empty(Deadline::after(timeout), || self.queue.empty())
    }

    /// How many were put and are not done.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        // In this order: what is got meanwhile is counted twice rather than not at all.
        self.queue.qsize() + self.hands.count()
    }

    /// As of the [`Queue`](Queue::poll_ready).
    #[must_use]
    pub fn poll_ready(&self) -> bool {
        self.queue.poll_ready()
    }

    /// The queue without the counting, to look at its size and the like, or to [shut it down](Queue::shutdown).
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }
}

impl<T: Serialize> JoinableQueue<T> {
    /// Puts a value; waits for room if the queue is bounded.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.put(value)
    }

    /// Puts a value if there is room.
    ///
    /// # Errors
    /// [`PutError::Full`] if there is none; see [`PutError`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.try_put(value)
    }

    /// Puts a value; waits for room for `timeout` at the most.
    ///
    /// # Errors
    /// [`PutError::Full`] if there was none; see [`PutError`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.queue.put_timeout(value, timeout)
    }
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    /// Gets the oldest value; waits for one. It is to be reported [done](JoinableQueue::task_done).
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::Never)
    }

    /// Gets the oldest value if there is one. It is to be reported [done](JoinableQueue::task_done).
    ///
    /// # Errors
    /// [`GetError::Empty`] if there is none; see [`GetError`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::now())
    }

    /// Gets the oldest value; waits for `timeout` at the most. It is to be reported [done](JoinableQueue::task_done).
    ///
    /// # Errors
    /// [`GetError::Empty`] if none came; see [`GetError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        // It is in hand before it is out of the queue, so that it is somewhere at any moment.
        let took = std::cell::Cell::new(false);
        let pick_up = || {
            took.set(self.hands.pick_up());
            if took.get() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::StorageFull)) }
        };
        let got = self.queue.get_until(deadline, pick_up);
        if got.is_err() && took.get() {
            // Nobody has it.
            self.hands.put_down();
        }
        got
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue { queue: self.queue.clone(), hands: self.hands.clone() }
    }
}

impl<T> AsFd for JoinableQueue<T> {
    /// As of the [`Queue`](Queue::poll_ready).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
