//! One task that was handed to a pool.

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

/// A task that a [`Pool`](crate::Pool) runs or will run, and the outcome that it will have:
/// CPython's `AsyncResult`.
///
/// [`wait`](crate::wait) waits for tasks, processes and channels at once. A task is also a future,
/// for any runtime: `task.await` gives what [`join`](Task::join) does. Dropping it
/// neither stops the task nor waits for it; [`cancel`](Task::cancel) stops it.
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
    slot: Arc<Slot>,
    pool: Arc<Shared>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + 'static> Task<R> {
    pub(crate) fn new(slot: Arc<Slot>, pool: Arc<Shared>) -> Task<R> {
        Task { slot, pool, result: PhantomData }
    }

    /// Waits for the task and gives what its function returned.
    ///
    /// # Errors
    /// How it failed: see [`Failure`].
    pub fn join(self) -> Result<R, TaskError> {
        self.wait_by(Deadline::Never)?;
        self.taken()
    }

    /// Waits for the task to be done; whether it is.
    fn wait_by(&self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.pool.is_ours() && !self.slot.is_ready() {
            return Err(TaskError::new(
                self.slot.call().label(0),
                None,
                0,
                self.pool.lost_to_copy(),
            ));
        }
        Ok(self.slot.wait(deadline))
    }

    /// Waits for the task, but no longer than `timeout`; `None` if it goes on.
    ///
    /// # Errors
    /// As for [`join`](Task::join). The outcome is given once: later calls say that it was taken
    /// ([`Failure::Lost`]).
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<R>, TaskError> {
        if self.wait_by(Deadline::after(timeout))? { self.taken().map(Some) } else { Ok(None) }
    }

    /// Does the same as [`join_timeout`](Task::join_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`join_timeout`](Task::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<R>, TaskError> {
        if self.wait_by(Deadline::at(deadline))? { self.taken().map(Some) } else { Ok(None) }
    }

    /// Returns what the function returned, if the task is done; `None` if it goes on.
    ///
    /// # Errors
    /// As for [`join_timeout`](Task::join_timeout).
    pub fn try_join(&self) -> Result<Option<R>, TaskError> {
        self.join_timeout(Duration::ZERO)
    }

    fn taken(&self) -> Result<R, TaskError> {
        self.open(self.slot.take().unwrap_or(Outcome::Taken))
    }

    fn open(&self, outcome: Outcome) -> Result<R, TaskError> {
        let lost = |why: &str| {
            let call = self.slot.call();
            Err(TaskError::new(call.label(0), None, 0, Failure::Lost(why.to_owned())))
        };
        match outcome {
            Outcome::Here(delivery) => decode::only(delivery, self.slot.call()),
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
    /// Waits at most so long for the task to be done; whether it is. The outcome stays.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.slot.wait(Deadline::after(timeout))
    }

    /// Returns whether the task is done, well or not: CPython's `ready`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.slot.is_ready()
    }

    /// Calls the task off; `false` if it is done already, or the pool's process is another. One
    /// that waits will not be run; the worker of one that runs is killed, with all that it started,
    /// and replaced. No other task is hurt.
    pub fn cancel(&self) -> bool {
        let cancelled = Delivery {
            first: 0,
            count: 1,
            content: Content::Failed(Failure::Cancelled("by its handle".to_owned())),
            worker: None,
            attempts: 0,
        };
        if !self.pool.is_ours() || !self.slot.cancel(cancelled) {
            return false;
        }
        self.pool.cancel(self.slot.call().id, true);
        self.slot.wake();
        true
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
    /// Calls `callback` with the outcome when the task is done, in the pool's own thread (in
    /// this one, if it is done already): CPython's `callback` and `error_callback` in one. The
    /// outcome stays for [`join`](Task::join).
    ///
    /// It should be quick, and wait for no other task: meanwhile the pool replaces no worker and
    /// hands out nothing. A panic in it is shown, and the outcome lost. There is one callback at a
    /// time: another one takes its place.
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

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R, TaskError>> {
        self.slot.poll(context).map(|outcome| self.open(outcome))
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
