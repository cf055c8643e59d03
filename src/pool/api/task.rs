//! The handle of one task.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::error::{Failure, Result as AnyResult, TaskError, os};
use crate::pool::host::decode;
use crate::pool::host::slot::{Outcome, Slot};
use crate::pool::host::supervisor::Shared;
use crate::pool::scheduler::job::{Content, Delivery, Sink};
use crate::process::Waitable;
use crate::sys::wait::poll::Deadline;

/// A task that a [`Pool`](crate::Pool) runs or will run, and its outcome to come: CPython's
/// `AsyncResult`.
///
/// - Threads wait with [`join`](Task::join) and its relatives (`get(timeout)` in CPython).
/// - Async code of any runtime awaits it: `task.await` gives what `join` does. If it is all that
///   the pool has to do, the first poll looks at the worker for up to 20 microseconds; after that,
///   the pool's own thread wakes the executor's.
/// - [`wait`](crate::wait) waits for the first of several tasks, processes and channels.
/// - [`on_done`](Task::on_done) has a function called instead.
///
/// Dropping it neither stops the task nor waits for it, unless
/// [`cancel_on_drop`](Task::cancel_on_drop) was asked for; [`cancel`](Task::cancel) stops it.
/// Unlike CPython's, a task whose worker dies has an outcome: the reason.
///
/// ```
/// use std::time::Duration;
/// use multiproc::Pool;
///
/// let pool = Pool::new(2)?;
/// let quick = pool.submit(|n: u32| n + 1, (1,));
/// let slow = pool.submit(std::thread::sleep, (Duration::from_secs(600),));
/// assert_eq!(quick.join()?, 2);
/// assert_eq!(slow.join_timeout(Duration::from_millis(1))?, None);
/// assert!(slow.cancel());
/// assert!(slow.join().unwrap_err().is_cancelled());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "a task goes on without its handle, but nobody learns what becomes of it"]
pub struct Task<R> {
    /// The outcome, as it arrives.
    slot: Arc<Slot>,
    /// The pool, to cancel the task there.
    pool: Arc<Shared>,
    /// The task is cancelled when this is dropped.
    is_cancelled_on_drop: bool,
    /// How far it is as a future.
    looked: Looked,
    result: PhantomData<fn() -> R>,
}

/// Whether a future has looked for the outcome by itself, which it does once.
#[derive(Clone, Copy)]
enum Looked {
    NotYet,
    /// In vain, from this time on.
    InVain(Instant),
    Done,
}

impl<R: DeserializeOwned + 'static> Task<R> {
    /// A handle of the task whose outcome arrives in `slot`.
    pub(crate) fn new(slot: Arc<Slot>, pool: Arc<Shared>) -> Task<R> {
        Task {
            slot,
            pool,
            is_cancelled_on_drop: false,
            looked: Looked::NotYet,
            result: PhantomData,
        }
    }

    /// Waits for the task, and returns what its function returned. Blocks for as long as that
    /// takes; a [deadline](crate::Tasks::deadline) bounds it.
    ///
    /// # Errors
    /// How the task failed: see [`Failure`].
    pub fn join(self) -> Result<R, TaskError> {
        self.wait_by(Deadline::Never)?;
        self.taken()
    }

    /// Waits for the task. Returns `false` if it is not done by `deadline`.
    ///
    /// # Errors
    /// This process is a forked copy, to which the outcome will never come.
    fn wait_by(&self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.pool.is_ours() && !self.slot.is_ready() {
            return Err(TaskError::new(
                self.slot.call().label(0),
                None,
                0,
                self.pool.lost_to_copy(),
            ));
        }
        Ok(self.wait_within(deadline))
    }

    /// Waits for the task for at most `timeout`. Returns `None` if it is not done by then; the task
    /// goes on, and can be waited for again. (CPython's `get(timeout)` raises `TimeoutError`.)
    ///
    /// # Errors
    /// As for [`join`](Task::join). The outcome is given once: later calls fail with
    /// [`Failure::Lost`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<R>, TaskError> {
        if self.wait_by(Deadline::after(timeout))? { self.taken().map(Some) } else { Ok(None) }
    }

    /// Waits like [`join_timeout`](Task::join_timeout), until a point in time.
    ///
    /// # Errors
    /// As for [`join_timeout`](Task::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<R>, TaskError> {
        if self.wait_by(Deadline::at(deadline))? { self.taken().map(Some) } else { Ok(None) }
    }

    /// Returns what the function returned if the task is done, and `None` if it is not; does not
    /// wait.
    ///
    /// # Errors
    /// As for [`join_timeout`](Task::join_timeout).
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let task = pool.submit(|n: u32| n + 1, (1,));
    /// let value = loop {
    ///     match task.try_join()? {
    ///         Some(value) => break value,
    ///         None => std::thread::yield_now(), // or do something useful
    ///     }
    /// };
    /// assert_eq!(value, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_join(&self) -> Result<Option<R>, TaskError> {
        self.join_timeout(Duration::ZERO)
    }

    /// Takes the outcome, which is there.
    fn taken(&self) -> Result<R, TaskError> {
        self.open(self.slot.take().unwrap_or(Outcome::Taken))
    }

    /// Decodes an outcome.
    fn open(&self, outcome: Outcome) -> Result<R, TaskError> {
        let lost = |why: &str| {
            let call = self.slot.call();
            Err(TaskError::new(call.label(0), None, 0, Failure::Lost(why.to_owned())))
        };
        match outcome {
            Outcome::Here(delivery) => decode::only(delivery, self.slot.call()),
            // Decoded before, for a callback that was registered through a handle of the same type.
            Outcome::Decoded(decoded) => match decoded.downcast::<Result<R, TaskError>>() {
                Ok(result) => *result,
                Err(_) => lost("its value is of another type"),
            },
            Outcome::Taken => lost("its outcome was taken before"),
            Outcome::Spoilt => lost("the callback that it was given to panicked"),
            Outcome::Pending => lost("it is not done"),
        }
    }
}

impl<R> Task<R> {
    /// Waits for the task for at most `timeout`. Returns whether it is done; the outcome stays.
    /// CPython's `wait`, which does not tell.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_within(Deadline::after(timeout))
    }

    /// Waits until the outcome is here, as the pool's leader if nobody leads. Returns `false` if it
    /// is not here by `deadline`.
    fn wait_within(&self, deadline: Deadline) -> bool {
        self.pool.wait_for(&*self.slot, deadline, Slot::is_ready, Slot::wait)
    }

    /// Returns whether the task is done, well or not: CPython's `ready`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.slot.is_ready()
    }

    /// Has the task cancelled when this handle is dropped before the task is done, as
    /// [`cancel`](Task::cancel) does.
    ///
    /// So a caller that gives up takes its work along: one that returns early, panics, or is itself
    /// a future that is dropped. A forked copy of the process cancels nothing.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = multiproc::Pool::new(1)?;
    /// let nap = pool.submit(std::thread::sleep, (Duration::from_secs(600),)).cancel_on_drop();
    /// assert!(!nap.wait(Duration::from_millis(1)));
    /// drop(nap); // its worker is killed and replaced
    /// assert_eq!(pool.apply(|| 7, ())?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancel_on_drop(mut self) -> Task<R> {
        self.is_cancelled_on_drop = true;
        self
    }

    /// Cancels the task. Returns `false` if it is done already, or if this process is a forked copy
    /// of the pool's.
    ///
    /// A task that waits will not be run. The worker of a task that runs is killed, with all that
    /// it started, and replaced; no other task is harmed. CPython's `Pool` cannot cancel; its
    /// `Future.cancel` cancels what has not begun.
    ///
    /// ```
    /// let pool = multiproc::Pool::new(1)?;
    /// let task = pool.submit(std::thread::sleep, (std::time::Duration::from_secs(600),));
    /// assert!(task.cancel());
    /// assert!(task.is_ready());
    /// assert_eq!(pool.apply(|| 7, ())?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        let cancelled = Delivery {
            first: 0,
            count: 1,
            content: Content::Failed(Failure::Cancelled("by its handle".to_owned())),
            worker: None,
            attempts: 0,
        };
        // First the outcome: from here on whatever the worker sends comes too late. Then the pool
        // is told, so that it does not run the task, or ends its worker.
        if !self.pool.is_ours() || !self.slot.cancel(cancelled) {
            return false;
        }
        self.pool.cancel(self.slot.call().id, true);
        // By this thread, as the pool delivers nothing more to a slot that has its outcome.
        self.slot.wake();
        true
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        if self.is_cancelled_on_drop {
            self.cancel();
        }
    }
}

impl<R> Waitable for Task<R> {
    /// A descriptor of its own, made when it is first asked for: a task that nobody waits for in
    /// this way costs none.
    fn wait_fd(&self) -> AnyResult<BorrowedFd<'_>> {
        self.slot.wait_fd().map_err(os("cannot wait for a task"))
    }

    /// Ready when [`join`](Task::join) returns at once. In a forked copy of the pool's process,
    /// that is always, as the task is lost to it.
    fn poll_ready(&self) -> AnyResult<bool> {
        Ok(self.slot.is_ready() || !self.pool.is_ours())
    }

    fn may_wake_for_nothing(&self) -> bool {
        true
    }
}

impl<R: DeserializeOwned + Send + 'static> Task<R> {
    /// Calls `callback` with the outcome when the task is done, in the pool's own thread, or at
    /// once in this one if it is done already. CPython's `callback` and `error_callback` in one.
    /// The outcome stays for [`join`](Task::join).
    ///
    /// The callback should be quick, and must wait for no other task: meanwhile the pool replaces
    /// no worker and passes on no outcomes. If it panics, the panic is shown and the outcome is
    /// lost ([`Failure::Lost`]). A second callback replaces the first, if that was not called yet.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let (told, outcome) = mpsc::channel();
    /// let tell = move |result: &Result<u32, _>| told.send(*result.as_ref().unwrap()).unwrap();
    /// let task = pool.submit(|n: u32| n * 2, (21,)).on_done(tell);
    /// assert_eq!(outcome.recv(), Ok(42));
    /// assert_eq!(task.join()?, 42);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn on_done(self, callback: impl FnOnce(&Result<R, TaskError>) + Send + 'static) -> Task<R> {
        self.slot.call_back(Box::new(move |delivery, call| {
            let result = decode::only::<R>(delivery, call);
            callback(&result);
            Box::new(result) as Box<dyn Any + Send>
        }));
        self
    }
}

impl<R: DeserializeOwned + 'static> Future for Task<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R, TaskError>> {
        if matches!(self.looked, Looked::NotYet) && !self.slot.is_ready() {
            let since = self.pool.look_briefly(&*self.slot, Slot::is_ready);
            self.looked = since.map_or(Looked::Done, Looked::InVain);
        }
        let polled = self.slot.poll(context);
        if let (Poll::Ready(_), Looked::InVain(since)) = (&polled, self.looked) {
            self.looked = Looked::Done;
            self.pool.came_late(since);
        }
        polled.map(|outcome| self.open(outcome))
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("name", &self.slot.call().label(0))
            .field("is_ready", &self.is_ready())
            .finish()
    }
}
