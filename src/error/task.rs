//! The error of a task: how it failed, which one, and in which worker.

use std::error::Error as StdError;
use std::fmt;

use super::failure::{Failure, answer_through_failure};
use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::unwind::Panic;

/// The failure of a task of a [`Pool`](crate::Pool): the reason, the task and its worker.
///
/// ```
/// use multiproc::{Failure, Pool};
///
/// fn fragile(n: i32) -> i32 {
///     if n > 2 { std::process::exit(n) }
///     n
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let pool = Pool::new(1)?;
/// let error = pool.apply(fragile, (3,)).unwrap_err();
/// assert!(matches!(error.failure(), Failure::Exited(3)));
/// assert_eq!(pool.apply(fragile, (2,))?, 2);
/// # Ok(())
/// # }
/// ```
pub struct TaskError(Box<Failed>);

/// Behind one pointer, so that a `Result` with it stays small.
struct Failed {
    task: String,
    worker: Option<(String, u32)>,
    attempts: u32,
    failure: Failure,
}

impl TaskError {
    pub(crate) fn new(
        task: String,
        worker: Option<(String, u32)>,
        attempts: u32,
        failure: Failure,
    ) -> TaskError {
        TaskError(Box::new(Failed { task, worker, attempts, failure }))
    }

    /// Returns `true` if the task was cancelled: by [`Task::cancel`](crate::Task::cancel), or
    /// because its pool was terminated.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let pool = Pool::new(1)?;
    /// let task = pool.submit(std::thread::sleep, (minute,));
    /// task.cancel();
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.failure.is_cancelled()
    }

    /// Returns the name of the task: the one that it was given, or its function's, with its number
    /// if it is one of a map.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let pool = Pool::new(1)?;
    /// let error = pool.apply(fails, ()).unwrap_err();
    /// assert!(error.task().ends_with("fails"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn task(&self) -> &str {
        &self.0.task
    }

    /// Returns the name of the worker that ran it last; `None` if none did.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let pool = Pool::new(1)?;
    /// let error = pool.apply(fails, ()).unwrap_err();
    /// assert!(error.worker().is_some());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        self.0.worker.as_ref().map(|(name, _)| name.as_str())
    }

    /// Returns the number of that worker's process.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let pool = Pool::new(1)?;
    /// let error = pool.apply(fails, ()).unwrap_err();
    /// assert!(error.pid().is_some_and(|pid| pid != std::process::id()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.worker.as_ref().map(|(_, pid)| *pid)
    }

    /// Returns how often it was tried: more than once only with a [`Retry`](crate::Retry).
    ///
    /// ```
    /// use multiproc::{Pool, Retry};
    ///
    /// fn fails() {
    ///     panic!("every time");
    /// }
    ///
    /// let pool = Pool::new(1)?;
    /// let error = pool.tasks().retry(Retry::times(2)).apply(fails, ()).unwrap_err();
    /// assert_eq!(error.attempts(), 3);
    /// assert!(error.task().ends_with("fails"));
    /// assert!(error.worker().is_some() && error.pid().is_some());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { task, worker, attempts, failure } = &*self.0;
        write!(f, "task {task} ")?;
        if let Some((name, pid)) = worker {
            write!(f, "in {name} (pid {pid}) ")?;
        }
        failure.fmt(f)?;
        if *attempts > 1 {
            write!(f, ", at attempt {attempts}")?;
        }
        Ok(())
    }
}

answer_through_failure!(TaskError);

impl StdError for TaskError {}
