//! A started process and its result.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::handle::Handle;
use super::registry;
use crate::error::JoinError;
use crate::start::stdio::Pipes;
use crate::sys::wait::poll::Deadline;

/// A process that runs or has ended, with the typed result of its function: what
/// [`Process::start`](crate::Process::start) gives.
///
/// Dropping it neither ends the process nor waits for it: it runs on, and is waited for when this
/// program ends. Once it has ended, its entry in the process table goes with the next call that
/// starts, lists or joins processes, or at exit.
///
/// The methods of [`Handle`] are its methods, too.
///
/// ```
/// use std::time::Duration;
/// use multiproc::Process;
///
/// # fn main() -> multiproc::Result<()> {
/// let child = Process::new(|a: u64, b: u64| a.pow(3) + b, (7, 1)).name("cube").start()?;
/// assert_eq!(child.join_timeout(Duration::from_secs(60))?, Some(344));
/// assert_eq!(child.join()?, 344); // as often as you like
/// assert_eq!(child.to_string(), "<Process(cube, stopped)>");
/// # Ok(())
/// # }
/// ```
pub struct Child<T> {
    handle: Handle,
    pipes: Pipes,
    result: PhantomData<fn() -> T>,
}

/// A process was to be closed, but it is running: here it is again.
pub struct StillRunning<T>(pub Child<T>);

impl<T> Child<T> {
    pub(crate) fn new(handle: Handle, pipes: Pipes) -> Child<T> {
        Child { handle, pipes, result: PhantomData }
    }

    /// The process without the type of its result: to hold processes of different types in one
    /// list.
    ///
    /// A handle's [`join`](Handle::join) waits and tells how the process ended, but not what it
    /// returned.
    ///
    /// ```
    /// use multiproc::{Handle, Process};
    ///
    /// let jobs: Vec<Handle> = vec![
    ///     Process::new(|| 1, ()).name("number").start()?.handle(),
    ///     Process::new(|| "one".to_owned(), ()).name("text").start()?.handle(),
    /// ];
    /// for job in &jobs {
    ///     job.join()?;
    ///     println!("{}.exitcode = {:?}", job.name(), job.exitcode());
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The write end of the process's standard input, if it was to be piped; once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.pipes.0[0].take().map(ChildStdin::from)
    }

    /// The read end of the process's standard output, if it was to be piped; once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.pipes.0[1].take().map(ChildStdout::from)
    }

    /// The read end of the process's standard error, if it was to be piped; once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.pipes.0[2].take().map(ChildStderr::from)
    }

    /// Lets go of an ended process and all that it left here, its unread result included.
    ///
    /// # Errors
    /// It is running, and handed back. (CPython: "Cannot close a process while it is still
    /// running".)
    pub fn close(self) -> Result<(), StillRunning<T>> {
        if self.is_alive() { Err(StillRunning(self)) } else { Ok(()) }
    }
}

impl<T: DeserializeOwned> Child<T> {
    /// Waits until the process has ended and gives what its function returned.
    ///
    /// It can be called again, and from several threads at once: each call decodes the result anew.
    /// What is still open of the process's piped standard input is not closed: a process that reads
    /// it to its end is waiting for [`take_stdin`](Child::take_stdin) to be dropped.
    ///
    /// # Errors
    /// How the process failed to return a value: see [`Failure`](crate::Failure).
    pub fn join(&self) -> Result<T, JoinError> {
        loop {
            if let Some(value) = self.join_until(Deadline::Never)? {
                return Ok(value);
            }
        }
    }

    /// Waits until the process has ended, but no longer than `timeout`; `None` if it runs on.
    ///
    /// # Errors
    /// As for [`join`](Child::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<T>, JoinError> {
        self.join_until(Deadline::after(timeout))
    }

    /// Does the same as [`join_timeout`](Child::join_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`join_timeout`](Child::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<T>, JoinError> {
        self.join_until(Deadline::at(deadline))
    }

    /// Returns what the function returned, if the process has ended; `None` if it is running.
    ///
    /// # Errors
    /// As for [`join`](Child::join).
    pub fn try_join(&self) -> Result<Option<T>, JoinError> {
        self.join_until(Deadline::now())
    }

    fn join_until(&self, deadline: Deadline) -> Result<Option<T>, JoinError> {
        let core = self.handle.core();
        let end = core.wait_to_join(deadline)?;
        registry::sweep();
        match end {
            Some(end) => core.value_of(&end).map(Some),
            None => Ok(None),
        }
    }
}

impl<T> Deref for Child<T> {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl<T> Drop for Child<T> {
    fn drop(&mut self) {
        registry::let_go(self.handle.core());
    }
}

impl<T> fmt::Display for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.handle, f)
    }
}

impl<T> fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.handle, f)
    }
}

impl<T> fmt::Display for StillRunning<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot close process {} while it is still running: join or terminate it first",
            self.0.name()
        )
    }
}

impl<T> fmt::Debug for StillRunning<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> std::error::Error for StillRunning<T> {}
