//! The ways in which a process or a task fails, and how the two errors answer through them.

use std::fmt;

use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::unwind::Panic;

/// The ways in which a process or a task can fail to return a value.
///
/// Processes and tasks fail alike, but for `Cancelled`, which only tasks can be. `Lost` says that
/// the program could not find out.
///
/// ```
/// use multiproc::{Failure, Process};
///
/// fn job(number: u32) -> u32 {
///     match number {
///         0 => panic!("nothing to do"),
///         1 => std::process::exit(7),
///         2 => std::process::abort(),
///         number => number,
///     }
/// }
///
/// for (number, expected) in ["panicked", "code 7", "killed by SIGABRT"].into_iter().enumerate() {
///     let error = Process::new(job, (number as u32,)).start()?.join().unwrap_err();
///     let text = match error.failure() {
///         Failure::Panicked(_) => "panicked".to_owned(),
///         Failure::Exited(code) => format!("code {code}"),
///         Failure::Signalled { signal, .. } => format!("killed by {signal}"),
///         other => other.to_string(),
///     };
///     assert_eq!(text, expected);
/// }
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Its function panicked, and the panic was not caught. (Where a panic cannot be caught, as
    /// with `panic = "abort"`, the exit code is that of SIGABRT.)
    Panicked(Panic),
    /// It left by `process::exit` or the like, with this code, before its function returned.
    Exited(i32),
    /// A signal ended it.
    #[non_exhaustive]
    Signalled {
        /// The signal.
        signal: Signal,
        /// The kernel wrote an image of its memory.
        core_dumped: bool,
    },
    /// Its arguments could not be encoded here or decoded there, so its function did not run.
    ///
    /// For a process, only the latter: [`Process::start`](crate::Process::start) reports arguments
    /// that cannot be encoded.
    BadArguments(String),
    /// Its function returned, but the value could not be encoded there or decoded here.
    BadResult(String),
    /// Its function did not run, for this reason: it could not be prepared, its limits could not
    /// be put in force, its pool had no worker for it.
    NotRun(String),
    /// It reached a limit that it was given.
    Limit(LimitReached),
    /// A task was called off, for this reason: it did not run, or was ended while it ran. (A
    /// process that is terminated is [`Signalled`](Failure::Signalled).)
    Cancelled(String),
    /// What became of it is not known, for this reason: somebody else in this program took its
    /// status, its worker said what makes no sense, or the system cannot be asked at the moment.
    Lost(String),
    /// The machine on which a task was last run is gone, for this reason, and the task may have
    /// been run there. Only tasks of a pool whose workers are elsewhere
    /// ([`PoolBuilder::on`](crate::PoolBuilder::on)) can fail so: after several attempts, or after
    /// the first one with [`Tasks::once`](crate::Tasks::once).
    NodeLost(String),
}

impl Failure {
    /// Returns the panic, if it was one.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn fails() {
    ///     panic!("disk full");
    /// }
    ///
    /// let error = Process::new(fails, ()).start()?.join().unwrap_err();
    /// assert_eq!(error.failure().panic().map(|panic| panic.message()), Some("disk full"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Failure::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// Returns the signal that ended the process, if one did.
    ///
    /// ```
    /// use multiproc::{Process, Signal};
    ///
    /// let child = Process::new(|| -> u8 { std::process::abort() }, ()).start()?;
    /// let error = child.join().unwrap_err();
    /// assert_eq!(error.failure().signal(), Some(Signal::ABRT));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        match self {
            Failure::Signalled { signal, .. } => Some(*signal),
            _ => None,
        }
    }

    /// Returns the limit that was reached, if that was it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{LimitReached, Process};
    ///
    /// let (minute, moment) = (Duration::from_secs(60), Duration::from_millis(10));
    /// let child = Process::new(std::thread::sleep, (minute,)).deadline(moment).start()?;
    /// let error = child.join().unwrap_err();
    /// assert_eq!(error.failure().limit(), Some(&LimitReached::Deadline(moment)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn limit(&self) -> Option<&LimitReached> {
        match self {
            Failure::Limit(limit) => Some(limit),
            _ => None,
        }
    }

    /// Returns `true` if the task was cancelled: by [`Task::cancel`](crate::Task::cancel), or
    /// because its pool was terminated. Processes never are.
    ///
    /// ```
    /// use multiproc::Pool;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let pool = Pool::new(1)?;
    /// let task = pool.submit(std::thread::sleep, (minute,));
    /// pool.terminate();
    /// assert!(task.join().unwrap_err().failure().is_cancelled());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Failure::Cancelled(_))
    }
}

/// Lets an error, whose box has a `failure`, answer through it, and shows it to `main` as text.
macro_rules! answer_through_failure {
    ($Error:ident) => {
        impl $Error {
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

            /// Returns the panic, if it was one: [`Failure::panic`].
            #[must_use]
            pub fn panic(&self) -> Option<&Panic> {
                self.0.failure.panic()
            }

            /// Returns the signal that ended the process, if one did: [`Failure::signal`].
            #[must_use]
            pub fn signal(&self) -> Option<Signal> {
                self.0.failure.signal()
            }

            /// Returns the limit that was reached, if that was it: [`Failure::limit`].
            #[must_use]
            pub fn limit(&self) -> Option<&LimitReached> {
                self.0.failure.limit()
            }
        }

        impl fmt::Debug for $Error {
            /// The same as `Display`, so that an error returned from `main` reads well.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(super) use answer_through_failure;

impl fmt::Display for Failure {
    /// Returns what a sentence that begins with the process goes on with: `exited with code 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panicked(panic) => write!(f, "panicked: {panic}"),
            Failure::Exited(code) => write!(f, "exited with code {code}"),
            Failure::Signalled { signal, core_dumped: false } => {
                write!(f, "was killed by {signal}")
            }
            Failure::Signalled { signal, core_dumped: true } => {
                write!(f, "was killed by {signal} (core dumped)")
            }
            Failure::BadArguments(reason) => write!(f, "got no usable arguments: {reason}"),
            Failure::BadResult(reason) => write!(f, "gave no usable result: {reason}"),
            Failure::NotRun(reason) => write!(f, "did not run: {reason}"),
            Failure::Limit(limit) => write!(f, "reached {limit}"),
            Failure::Cancelled(reason) => write!(f, "was cancelled: {reason}"),
            Failure::Lost(reason) => write!(f, "was lost: {reason}"),
            Failure::NodeLost(reason) => write!(f, "was lost with its node: {reason}"),
        }
    }
}
