//! The error of whatever prepares, starts or asks processes.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::join::JoinError;
use super::task::TaskError;

/// The result of whatever prepares, starts or asks processes.
///
/// ```
/// fn main() -> multiproc::Result<()> {
///     let child = multiproc::Process::new(|| 1, ()).start()?; // an `Error`
///     assert_eq!(child.join()?, 1); // a `JoinError`, converted
///     Ok(())
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something about processes could not be done.
///
/// Opaque, so that kinds can be added; ask with the predicates. A [`JoinError`] converts into it,
/// so that one `?` serves both in `main`.
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

/// The kinds of [`Error`], for this library only.
#[derive(Debug)]
pub(crate) enum Cause {
    /// A call of the operating system failed; `what` says what it was for.
    Os {
        what: String,
        error: io::Error,
    },
    /// An argument cannot be encoded.
    Encode {
        what: String,
        reason: String,
    },
    /// Something that was asked for cannot be; the text says all.
    BadInput(String),
    /// The function is code of a library.
    ForeignCode {
        function: String,
    },
    /// This code is part of a library, or the program has no list of initialisers.
    NoHook,
    /// This process has rights that it did not start with.
    BorrowedRights,
    /// The child would be the first process of its namespace.
    EmptyNamespace,
    /// The first process of the children's namespace has ended.
    EndedNamespace,
    /// A fork while the process runs its exit handlers.
    Exiting,
    DaemonHasNoChildren,
    /// A fork beside other threads.
    ThreadsExist,
    /// A start before this process, a child, has its job.
    Bootstrapping,
    /// The fork server failed.
    Server(String),
    MethodIsSet,
    UnknownMethod(String),
    /// The handle belongs to the process that this one is a copy of.
    OtherProcess(String),
    /// Of a lock or the like.
    Acquire(String),
    Join(JoinError),
    Task(TaskError),
    /// Of sending or receiving a message; its text says all.
    Channel(io::Error),
}

impl Error {
    /// Returns the operating system's error behind this one, if it is one: to tell a lack of
    /// descriptors (EMFILE), of processes (EAGAIN) or of memory (ENOMEM).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let process = Process::new(|| (), ()).current_dir("/does/not/exist");
    /// let error = process.start().unwrap_err();
    /// assert_eq!(error.os_error().unwrap().kind(), std::io::ErrorKind::NotFound);
    /// assert_eq!(error.raw_os_error(), Some(2)); // ENOENT
    /// ```
    #[must_use]
    pub fn os_error(&self) -> Option<&io::Error> {
        match &*self.0 {
            Cause::Os { error, .. } | Cause::Channel(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the errno of the operating system's error: its own, or that of the error within it.
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let error = SharedMemory::attach("nobody-gave-this").unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(2)); // ENOENT
    /// ```
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        // Errors wrap each other: ours an `io::Error`, that one another of ours.
        let mut error: &(dyn StdError + 'static) = self.os_error()?;
        loop {
            if let Some(number) =
                error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
            {
                return Some(number);
            }
            error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => inner,
                None => error.source()?,
            };
        }
    }

    /// Returns `true` if an argument could not be encoded.
    ///
    /// ```
    /// use std::ffi::OsString;
    /// use std::os::unix::ffi::OsStringExt;
    /// use std::path::PathBuf;
    /// use multiproc::Process;
    ///
    /// // serde refuses a path that is not UTF-8.
    /// let path = PathBuf::from(OsString::from_vec(vec![0xff]));
    /// let process = Process::new(|path: PathBuf| path.exists(), (path,));
    /// assert!(process.start().unwrap_err().is_encode());
    /// ```
    #[must_use]
    pub fn is_encode(&self) -> bool {
        matches!(*self.0, Cause::Encode { .. })
    }

    /// Returns `true` if a daemon tried to start a child.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let in_daemon = || Process::new(|| (), ()).start().unwrap_err().is_daemon_with_children();
    /// assert!(Process::new(in_daemon, ()).daemon(true).start()?.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_daemon_with_children(&self) -> bool {
        matches!(*self.0, Cause::DaemonHasNoChildren)
    }

    /// Returns `true` if `fork` was refused because the process has other threads.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let _other = std::thread::spawn(|| std::thread::park());
    /// let error = Process::from_closure(|| 1).start().unwrap_err();
    /// assert!(error.is_threads());
    /// ```
    #[must_use]
    pub fn is_threads(&self) -> bool {
        matches!(*self.0, Cause::ThreadsExist)
    }

    /// Returns `true` if the target, or this library itself, is code of a dynamic library, which a
    /// child does not have.
    #[must_use]
    pub fn is_foreign_code(&self) -> bool {
        matches!(*self.0, Cause::ForeignCode { .. } | Cause::NoHook)
    }

    /// Returns `true` if this process has left its process namespace for its children
    /// (`unshare(CLONE_NEWPID)`), and the child would be the first process of the new one, or could
    /// not come into it any more, as its first process has ended.
    ///
    /// The kernel drops most signals for a first process, so nothing could end it. Fork once and go
    /// on in the copy, as `unshare --fork` does: there, children are ordinary ones.
    #[must_use]
    pub fn is_namespace(&self) -> bool {
        matches!(*self.0, Cause::EmptyNamespace | Cause::EndedNamespace)
    }

    /// Returns `true` if the start method was set already.
    ///
    /// ```
    /// use multiproc::{StartMethod, set_start_method};
    ///
    /// set_start_method(StartMethod::Spawn)?;
    /// assert!(set_start_method(StartMethod::Spawn).unwrap_err().is_method_set());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_method_set(&self) -> bool {
        matches!(*self.0, Cause::MethodIsSet)
    }

    /// Returns `true` if the handle belongs to another process, of which this one is a forked copy.
    #[must_use]
    pub fn is_other_process(&self) -> bool {
        matches!(*self.0, Cause::OtherProcess(_))
    }

    /// Returns how the process failed, if this error came from joining one.
    ///
    /// ```
    /// fn run() -> multiproc::Result<u32> {
    ///     let child = multiproc::Process::new(|| -> u32 { panic!("no") }, ()).start()?;
    ///     Ok(child.join()?)
    /// }
    ///
    /// let error = run().unwrap_err();
    /// assert_eq!(error.join_error().and_then(|error| error.exitcode()), Some(1));
    /// ```
    #[must_use]
    pub fn join_error(&self) -> Option<&JoinError> {
        match &*self.0 {
            Cause::Join(error) => Some(error),
            _ => None,
        }
    }

    /// Returns how the task failed, if this error came from a pool's task.
    ///
    /// ```
    /// fn run() -> multiproc::Result<u32> {
    ///     let pool = multiproc::Pool::new(1)?;
    ///     Ok(pool.apply(|| -> u32 { panic!("no") }, ())?)
    /// }
    ///
    /// let error = run().unwrap_err();
    /// assert!(error.task_error().is_some_and(|error| error.panic().is_some()));
    /// ```
    #[must_use]
    pub fn task_error(&self) -> Option<&TaskError> {
        match &*self.0 {
            Cause::Task(error) => Some(error),
            _ => None,
        }
    }

    /// Makes an error of the operating system's; `what` says what failed.
    pub(crate) fn os(what: impl Into<String>, error: io::Error) -> Error {
        Cause::Os { what: what.into(), error }.into()
    }
}

/// For `map_err` on a system call: `what` says what it was for.
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
            Cause::BadInput(text) | Cause::OtherProcess(text) | Cause::Acquire(text) => {
                f.write_str(text)
            }
            Cause::ForeignCode { function } => write!(
                f,
                "`{function}` is code of a dynamic library, not of the main program, so a child \
                 cannot find it; the fork start method can run it"
            ),
            Cause::NoHook => f.write_str(
                "multiproc is not among the initialisers of the main program (it is part of a \
                 dynamic library, or the program is linked statically at a fixed address), so a \
                 child that executes the program would run `main`; the fork start method works",
            ),
            Cause::BorrowedRights => f.write_str(
                "this process has rights that it was not started with (set-user-id, file \
                 capabilities, or an effective user that is not the real one), so what it \
                 executes does not trust its environment; the fork start method works",
            ),
            Cause::EmptyNamespace => f.write_str(
                "the child would be the first process of a new process namespace \
                 (`unshare(CLONE_NEWPID)`), for which the kernel drops signals; fork once and \
                 start processes in the copy",
            ),
            Cause::EndedNamespace => f.write_str(
                "the first process of the process namespace in which children would be \
                 (`unshare(CLONE_NEWPID)` or `setns`) has ended, so there can be no others",
            ),
            Cause::Exiting => f.write_str("cannot fork while the process is exiting"),
            Cause::DaemonHasNoChildren => f.write_str(
                "daemonic processes are not allowed to have \
                 children",
            ),
            Cause::ThreadsExist => f.write_str(
                "cannot fork while other threads exist: the copy could wait for ever for a lock \
                 that one of them holds; use the forkserver or spawn start method, or \
                 `start_unchecked`",
            ),
            Cause::Bootstrapping => f.write_str(
                "an attempt to start a process before the current process has finished its \
                 bootstrapping phase",
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
