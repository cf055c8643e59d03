//! A started process and its typed result.
//!
//! The result stays encoded in the `End` until somebody asks for it, so that each `join` can decode
//! it anew, and a child whose result nobody wants costs no decoding.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::capture::Capture;
use super::handle::Handle;
use super::{reaper, registry};
use crate::error::JoinError;
use crate::sys::wait::poll::Deadline;

/// A process that runs or has ended, with the typed result of its function: what
/// [`Process::start`](crate::Process::start) gives.
///
/// Dropping it neither ends the process nor waits for it, unless
/// [`kill_on_drop`](crate::Process::kill_on_drop) was asked for: it runs on, and is waited for when
/// this program ends. Once it has ended, its entry in the process table goes with the next call
/// that starts, lists or joins processes, or at exit.
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
    /// This program's ends of its standard output and error, and what came of them.
    pub(super) capture: Capture,
    on_drop: OnDrop,
    result: PhantomData<fn() -> T>,
}

/// What becomes of a process when its `Child` is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// It runs on.
    Detach,
    /// It is killed, with everything that it started.
    Kill,
}

/// The error of [`Child::close`]: the process is running, and here it is again.
pub struct StillRunning<T>(pub Child<T>);

impl<T> Child<T> {
    /// A child that was just entered into the registry.
    pub(crate) fn new(handle: Handle, pipes: [Option<OwnedFd>; 2], on_drop: OnDrop) -> Child<T> {
        Child { handle, capture: Capture::new(pipes), on_drop, result: PhantomData }
    }

    /// Closes this program's end of the process's standard input, if it is piped and was not taken.
    pub(crate) fn close_stdin(&self) {
        drop(self.core().take_stdin());
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

    /// Takes the write end of the process's standard input, if that was to be piped. `None` the
    /// second time, and after a [`join`](Child::join), which closes it. Dropping it is the end of
    /// the file for the process.
    ///
    /// ```
    /// use std::io::Write;
    /// use multiproc::{Process, Stdio};
    ///
    /// let read = || std::io::read_to_string(std::io::stdin()).unwrap();
    /// let mut child = Process::new(read, ()).stdin(Stdio::piped()).start()?;
    /// child.take_stdin().unwrap().write_all(b"hello").unwrap(); // dropped: the end of the file
    /// assert_eq!(child.join()?, "hello");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.core().take_stdin().map(ChildStdin::from)
    }

    /// Takes the read end of the process's standard output, if that was to be piped. `None` the
    /// second time.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let mut child = Process::new(|| print!("hello"), ()).stdout(Stdio::piped()).start()?;
    /// let output = child.take_stdout().unwrap();
    /// assert_eq!(std::io::read_to_string(output).unwrap(), "hello");
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.capture.take_pipe(0).map(ChildStdout::from)
    }

    /// Takes the read end of the process's standard error, if that was to be piped. `None` the
    /// second time.
    ///
    /// ```
    /// use std::io::Read;
    /// use multiproc::{Process, Stdio};
    ///
    /// let mut child = Process::new(|| eprintln!("warning"), ()).stderr(Stdio::piped()).start()?;
    /// let mut text = String::new();
    /// child.take_stderr().unwrap().read_to_string(&mut text).unwrap();
    /// assert_eq!(text, "warning\n");
    /// assert!(child.take_stderr().is_none());
    /// # child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.capture.take_pipe(1).map(ChildStderr::from)
    }

    /// Lets go of an ended process and all that it left here, its unread result included. CPython's
    /// `close()`.
    ///
    /// # Errors
    /// It is running, and handed back. (CPython: "Cannot close a process while it is still
    /// running".)
    ///
    /// ```
    /// use multiproc::{Process, StillRunning};
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// let StillRunning(child) = child.close().unwrap_err();
    /// child.kill()?;
    /// let _ = child.join();
    /// assert!(child.close().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn close(self) -> Result<(), StillRunning<T>> {
        if self.is_alive() { Err(StillRunning(self)) } else { Ok(()) }
    }
}

impl<T: DeserializeOwned> Child<T> {
    /// Waits until the process has ended, and returns what its function returned.
    ///
    /// It can be called again, and from several threads at once: each call decodes the result anew.
    /// It first closes the process's standard input if that is piped and was not taken
    /// ([`take_stdin`](Child::take_stdin)), so that a process that reads it to its end does not
    /// wait for this one. Who has taken it drops it for that. Calls that wait for a time only leave
    /// it open. A process that writes more than a pipe holds (64 KiB) to a piped standard output or
    /// error waits for somebody to read it: see [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Errors
    /// How the process failed to return a value: see [`Failure`](crate::Failure).
    ///
    /// ```
    /// use multiproc::{Failure, Process};
    ///
    /// let child = Process::new(|| "result".to_owned(), ()).start()?;
    /// assert_eq!(child.join()?, "result");
    ///
    /// let child = Process::new(|| -> u8 { std::process::abort() }, ()).start()?;
    /// assert!(matches!(child.join().unwrap_err().failure(), Failure::Signalled { .. }));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join(&self) -> Result<T, JoinError> {
        self.close_stdin();
        loop {
            if let Some(value) = self.join_until(Deadline::Never)? {
                return Ok(value);
            }
        }
    }

    /// Waits until the process has ended, but no longer than `timeout`. Returns `None` if it runs
    /// on.
    ///
    /// # Errors
    /// As for [`join`](Child::join).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Process;
    ///
    /// let minute = Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// assert_eq!(child.join_timeout(Duration::from_millis(1))?, None);
    /// child.kill()?;
    /// assert!(child.join_timeout(minute).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<T>, JoinError> {
        self.join_until(Deadline::after(timeout))
    }

    /// Waits until the process has ended, but not beyond `deadline`. Returns `None` if it runs on.
    ///
    /// # Errors
    /// As for [`join_timeout`](Child::join_timeout).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use multiproc::Process;
    ///
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// let child = Process::new(|| 7, ()).start()?;
    /// assert_eq!(child.join_deadline(deadline)?, Some(7));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<T>, JoinError> {
        self.join_until(Deadline::at(deadline))
    }

    /// Returns what the function returned, or `None` if the process is running. Never sleeps.
    ///
    /// # Errors
    /// As for [`join`](Child::join).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// assert_eq!(child.try_join()?, None);
    /// # child.kill()?;
    /// # let _ = child.join();
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_join(&self) -> Result<Option<T>, JoinError> {
        self.join_until(Deadline::now())
    }

    /// Waits, takes the status of some others, and decodes the value.
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
        self.close_stdin();
        match self.on_drop {
            OnDrop::Detach => registry::let_go(self.handle.core()),
            OnDrop::Kill => reaper::kill(self.handle.core()),
        }
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
