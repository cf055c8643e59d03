//! The error of a process: how it failed, with its name, number and function.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::failure::{Failure, answer_through_failure};
use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::unwind::Panic;

/// The failure of a process, with its name, number and function.
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

/// Behind one pointer, so that a `Result` with it stays small.
struct Ended {
    process: String,
    pid: u32,
    function: String,
    exitcode: Option<i32>,
    failure: Failure,
    os: Option<io::Error>,
}

impl JoinError {
    pub(crate) fn new(
        process: String,
        pid: u32,
        function: String,
        exitcode: Option<i32>,
        failure: Failure,
    ) -> JoinError {
        JoinError(Box::new(Ended { process, pid, function, exitcode, failure, os: None }))
    }

    /// This program could not find out what became of the process, as the system refused.
    pub(crate) fn with_os_error(mut self, error: io::Error) -> JoinError {
        self.0.failure = Failure::Lost(format!("cannot be asked at the moment: {error}"));
        self.0.os = Some(error);
        self
    }

    /// Returns what the system refused if this program could not find out what became of the
    /// process, for a reason that may pass (no descriptors, no memory): ask again.
    #[must_use]
    pub fn os_error(&self) -> Option<&io::Error> {
        self.0.os.as_ref()
    }

    /// Returns the exit code, as [`Handle::exitcode`](crate::Handle::exitcode) gives it: 1 for a
    /// panic, the code of an `exit`, `-signal`; `None` if it is not known.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let child = Process::new(fails, ()).name("gambler").start()?;
    /// let error = child.join().unwrap_err();
    /// assert_eq!(error.exitcode(), child.exitcode());
    /// assert_eq!(error.exitcode(), Some(1));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn exitcode(&self) -> Option<i32> {
        self.0.exitcode
    }

    /// Returns the name of the process.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let child = Process::new(fails, ()).name("gambler").start()?;
    /// let error = child.join().unwrap_err();
    /// assert_eq!(error.process(), "gambler");
    /// assert_eq!(error.pid(), child.pid());
    /// assert!(error.function().ends_with("::fails"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn process(&self) -> &str {
        &self.0.process
    }

    /// Returns the number of the process, which may be another's by now.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let child = Process::new(fails, ()).name("gambler").start()?;
    /// let error = child.join().unwrap_err();
    /// assert_eq!(error.pid(), child.pid());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns the path of the function that it ran.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let child = Process::new(fails, ()).name("gambler").start()?;
    /// let error = child.join().unwrap_err();
    /// assert!(error.function().ends_with("::fails"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
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

answer_through_failure!(JoinError);

impl StdError for JoinError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.os.as_ref().map(|error| error as &(dyn StdError + 'static))
    }
}
