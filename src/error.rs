//! What can go wrong: before a process runs (`Error`), and how it ended (`JoinError`).

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::task_error::TaskError;
use crate::unwind::Panic;

/// The result of whatever prepares, starts or asks processes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something about processes could not be done.
///
/// Opaque, so that kinds can be added; ask with the predicates. A [`JoinError`] converts into it, so that one `?` serves
/// both in `main`.
///
/// ```
/// use multiproc::{Context, StartMethod};
///
/// let error = "thread".parse::<StartMethod>().unwrap_err();
/// assert_eq!(error.to_string(), "cannot find context for 'thread'");
/// assert!(error.os_error().is_none());
/// # let _ = Context::new(StartMethod::Spawn);
/// ```
pub struct Error(Box<Cause>);

/// The kinds of `Error`.
#[derive(Debug)]
pub(crate) enum Cause {
    Os {
        what: String,
        error: io::Error,
    },
    Encode {
        what: String,
        reason: String,
    },
    BadInput(String),
    ForeignCode {
        function: String,
    },
    NoHook,
    BorrowedRights,
    EmptyNamespace,
    EndedNamespace,
    Exiting,
    DaemonHasNoChildren,
    ThreadsExist,
    Bootstrapping,
    Server(String),
    MethodIsSet,
    UnknownMethod(String),
    OtherProcess(String),
    Acquire(String),
    Join(JoinError),
    Task(TaskError),
    /// Of sending or receiving a message; its text says all.
    Channel(io::Error),
}

impl Error {
    /// The operating system's error behind this one, if it is one: to tell a lack of descriptors (`EMFILE`), of
    /// processes (`EAGAIN`) or of memory (`ENOMEM`).
    #[must_use]
    pub fn os_error(&self) -> Option<&io::Error> {
        match &*self.0 {
            Cause::Os { error, .. } | Cause::Channel(error) => Some(error),
            _ => None,
        }
    }

    /// The number of the operating system's error: its own, or that of the error within it.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut error: &(dyn StdError + 'static) = self.os_error()?;
        loop {
            if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                return Some(number);
            }
            error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => inner,
                None => error.source()?,
            };
        }
    }

    /// An argument could not be encoded.
    #[must_use]
    pub fn is_encode(&self) -> bool {
        matches!(*self.0, Cause::Encode { .. })
    }

    /// A daemon tried to start a child.
    #[must_use]
    pub fn is_daemon_with_children(&self) -> bool {
        matches!(*self.0, Cause::DaemonHasNoChildren)
    }

    /// `fork` was refused because the process has other threads.
    #[must_use]
    pub fn is_threads(&self) -> bool {
        matches!(*self.0, Cause::ThreadsExist)
    }

    /// The target, or this library itself, is code of a dynamic library, which a child does not have.
    #[must_use]
    pub fn is_foreign_code(&self) -> bool {
        matches!(*self.0, Cause::ForeignCode { .. } | Cause::NoHook)
    }

    /// This process has left its process namespace for its children (`unshare(CLONE_NEWPID)`), and the child would be
    /// the first process of the new one, or could not come into it any more, as its first process has ended.
    ///
    /// The kernel drops most signals for a first process, so nothing could end it. Fork once and go on in the copy,
    /// as `unshare --fork` does: there, children are ordinary ones.
    #[must_use]
    pub fn is_namespace(&self) -> bool {
        matches!(*self.0, Cause::EmptyNamespace | Cause::EndedNamespace)
    }

    /// The start method was set already.
    #[must_use]
    pub fn is_method_set(&self) -> bool {
        matches!(*self.0, Cause::MethodIsSet)
    }

    /// The handle belongs to another process (this one is a forked copy of it).
    #[must_use]
    pub fn is_other_process(&self) -> bool {
        matches!(*self.0, Cause::OtherProcess(_))
    }

    /// How the process ended, if this error came from joining one.
    #[must_use]
    pub fn join_error(&self) -> Option<&JoinError> {
        match &*self.0 {
            Cause::Join(error) => Some(error),
            _ => None,
        }
    }

    /// How the task failed, if this error came from a pool's task.
    #[must_use]
    pub fn task_error(&self) -> Option<&TaskError> {
        match &*self.0 {
            Cause::Task(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn os(what: impl Into<String>, error: io::Error) -> Error {
        Cause::Os { what: what.into(), error }.into()
    }
}

/// For `map_err` on a system call: says what it was for.
pub(crate) fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::os(what, error)
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Error {
        Error(Box::new(cause))
    }
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Error {
        Cause::Join(error).into()
    }
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Error {
        Cause::Task(error).into()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = error.os_error().map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Os { what, error } => write!(f, "{what}: {error}"),
            Cause::Encode { what, reason } => write!(f, "{what} cannot be encoded: {reason}"),
            Cause::BadInput(text) | Cause::OtherProcess(text) | Cause::Acquire(text) => f.write_str(text),
            Cause::ForeignCode { function } => write!(
                f,
                "`{function}` is code of a dynamic library, not of the main program, so a child cannot find it; \
                 the fork start method can run it"
            ),
            Cause::NoHook => f.write_str(
                "multiproc is not among the initialisers of the main program (it is part of a dynamic library, or the program \
                 is linked statically at a fixed address), so a child that executes the program would run `main`; the \
                 fork start method works",
            ),
            Cause::BorrowedRights => f.write_str(
                "this process has rights that it was not started with (set-user-id, file capabilities, or an effective user \
                 that is not the real one), so what it executes does not trust its environment; the fork start method works",
            ),
            Cause::EmptyNamespace => f.write_str(
                "the child would be the first process of a new process namespace (`unshare(CLONE_NEWPID)`), for which the \
                 kernel drops signals; fork once and start processes in the copy",
            ),
            Cause::EndedNamespace => f.write_str(
                "the first process of the process namespace in which children would be (`unshare(CLONE_NEWPID)` or `setns`) \
                 has ended, so there can be no others",
            ),
            Cause::Exiting => f.write_str("cannot fork while the process is exiting"),
            Cause::DaemonHasNoChildren => f.write_str("daemonic processes are not allowed to have children"),
            Cause::ThreadsExist => f.write_str(
                "cannot fork while other threads exist: the copy could wait for ever for a lock that one of them holds; \
                 use the forkserver or spawn start method, or `start_unchecked`",
            ),
            Cause::Bootstrapping => f.write_str(
                "an attempt to start a process before the current process has finished its bootstrapping phase",
            ),
            Cause::Server(text) => write!(f, "the fork server failed: {text}"),
            Cause::MethodIsSet => f.write_str("the start method has already been set"),
            Cause::UnknownMethod(name) => write!(f, "cannot find context for '{name}'"),
            Cause::Join(error) => error.fmt(f),
            Cause::Task(error) => error.fmt(f),
            Cause::Channel(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    /// The same as `Display`, so that an error returned from `main` reads well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Cause::Os { error, .. } => Some(error),
            Cause::Join(error) => Some(error),
            Cause::Task(error) => Some(error),
            // Its text is ours already.
            Cause::Channel(error) => error.get_ref().and_then(StdError::source),
            _ => None,
        }
    }
}

/// How a process failed, with its name, number and function.
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

/// The ways in which a process can fail to return a value.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Its function panicked, and the panic was not caught. (Where a panic cannot be caught, as with `panic = "abort"`, the exit
    /// code is that of SIGABRT.)
    Panicked(Panic),
    /// It left by `process::exit` or the like, with this code, before its function returned.
    Exited(i32),
    /// A signal ended it.
    #[non_exhaustive]
    Signalled {
        /// Which one.
        signal: Signal,
        /// Whether the kernel wrote an image of its memory.
        core_dumped: bool,
    },
    /// Its arguments came to it, but could not be decoded there.
    BadArguments(String),
    /// Its function returned, but the value could not be encoded there or decoded here.
    BadResult(String),
    /// It could not prepare to run its function, for this reason.
    NotRun(String),
    /// It reached a limit that it was given.
    Limit(LimitReached),
    /// Its arguments could not be encoded, so it was not even sent.
    NotSent(String),
    /// It was called off, for this reason: it did not run, or was ended while it ran.
    Cancelled(String),
    /// It ended, but what became of it is not known: somebody else in this program took its status.
    Lost(String),
    /// This process could not find out, for a reason that may pass (no descriptors, no memory): ask again.
    Os(io::Error),
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

    /// What happened.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// What happened, owned.
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

    /// The exit code, as `Child::exitcode` gives it: 1 for a panic, `-signal`; `None` if it is not known.
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

impl Failure {
    /// The panic, if it was one.
    pub(crate) fn panic(&self) -> Option<&Panic> {
        match self {
            Failure::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// The signal, if it was one.
    pub(crate) fn signal(&self) -> Option<Signal> {
        match self {
            Failure::Signalled { signal, .. } => Some(*signal),
            _ => None,
        }
    }

    /// The limit, if it was one.
    pub(crate) fn limit(&self) -> Option<&LimitReached> {
        match self {
            Failure::Limit(limit) => Some(limit),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    /// What a sentence that begins with the process goes on with: `exited with code 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panicked(panic) => write!(f, "panicked: {panic}"),
            Failure::Exited(code) => write!(f, "exited with code {code}"),
            Failure::Signalled { signal, core_dumped: false } => write!(f, "was killed by {signal}"),
            Failure::Signalled { signal, core_dumped: true } => write!(f, "was killed by {signal} (core dumped)"),
            Failure::BadArguments(reason) => write!(f, "could not decode its arguments: {reason}"),
            Failure::BadResult(reason) => write!(f, "gave no usable result: {reason}"),
            Failure::NotRun(reason) => write!(f, "did not run: {reason}"),
            Failure::Limit(limit) => write!(f, "reached {limit}"),
            Failure::NotSent(reason) => write!(f, "could not be sent its arguments: {reason}"),
            Failure::Cancelled(reason) => write!(f, "was cancelled: {reason}"),
            Failure::Lost(reason) => write!(f, "was lost: {reason}"),
            Failure::Os(error) => write!(f, "cannot be asked at the moment: {error}"),
        }
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
