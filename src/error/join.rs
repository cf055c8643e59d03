//! Describes how a process failed.

use std::error::Error as StdError;
use std::fmt;

use super::failure::Failure;
use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::unwind::Panic;

/// Describes how a process failed, with its name, number and function.
///
/// ```
/// use multiproc::{Failure, Process};
///
/// fn fragile(n: i32) -> i32 {
///     if n > 2 { panic!("{n} is too much") }
///     n
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let error = Process::new(fragile, (3,)).name("fragile one").start()?.join().unwrap_err();
/// let Failure::Panicked(panic) = error.failure() else { panic!("{error}") };
/// assert_eq!(panic.message(), "3 is too much");
/// assert_eq!(error.exitcode(), Some(1));
/// assert!(error.to_string().starts_with("process fragile one (pid "));
/// # Ok(())
/// # }
/// ```
pub struct JoinError(Box<Ended>);

struct Ended {
    process: String,
    pid: u32,
    function: String,
    exitcode: Option<i32>,
    failure: Failure,
}

impl JoinError {
    pub(crate) fn new(
        process: String,
        pid: u32,
        function: String,
        exitcode: Option<i32>,
        failure: Failure,
    ) -> JoinError {
        JoinError(Box::new(Ended { process, pid, function, exitcode, failure }))
    }

    /// Returns the failure.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// Returns the failure, owned.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        self.0.failure
    }

    /// The panic, if it was one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        self.0.failure.panic()
    }

    /// The signal that ended the process, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        self.0.failure.signal()
    }

    /// The limit that it reached, if that ended it.
    #[must_use]
    pub fn limit(&self) -> Option<&LimitReached> {
        self.0.failure.limit()
    }

    /// The exit code, as `Child::exitcode` gives it: 1 for a panic, `-signal`; `None` if it is not
    /// known.
    #[must_use]
    pub fn exitcode(&self) -> Option<i32> {
        self.0.exitcode
    }

    /// The name of the process.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.0.process
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The path of the function that it ran.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.0.function
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { process, pid, function, failure, .. } = &*self.0;
        write!(f, "process {process} (pid {pid}) running {function} ")?;
        failure.fmt(f)
    }
}

impl fmt::Debug for JoinError {
    /// The same as `Display`, so that an error returned from `main` reads well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for JoinError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.failure {
            Failure::Os(error) => Some(error),
            _ => None,
        }
    }
}
