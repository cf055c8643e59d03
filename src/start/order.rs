//! An order to start a child, and what comes of it: what the three methods take and give.

use std::io::ErrorKind;
#[cfg(feature = "cage")]
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::method::StartMethod;
use super::stdio::{Pipes, Streams};
use super::wire::Job;
use crate::error::{Cause, Result, os};
use crate::sys::fd;
use crate::sys::parcel::Parcel;
use crate::sys::process::namespaces::{self, ChildNamespace};
use crate::sys::program::environ::Environment;
use crate::sys::wait::poll::{self, Deadline};

/// Everything that a child is started with, whatever the method.
#[derive(Debug)]
pub(crate) struct Order {
    /// The message that crosses to the child.
    pub(crate) job: Job,
    /// The encoded arguments.
    pub(crate) arguments: Parcel,
    pub(crate) streams: Streams,
    /// The child's end of a lifeline of its own, for one in a cage.
    #[cfg(feature = "cage")]
    pub(crate) lifeline: Option<OwnedFd>,
    /// Not the caller's environment, but this one.
    pub(crate) environment: Option<Environment>,
    /// Not the caller's working directory, but this one.
    pub(crate) directory: Option<PathBuf>,
}

/// A child that was started, and is ours to wait for.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: u32,
    /// The socket to it.
    pub(crate) control: OwnedFd,
    /// Its pidfd, if the kernel does not give it from the socket.
    pub(crate) pidfd: Option<OwnedFd>,
    /// The method by which it was really made.
    pub(crate) method: StartMethod,
    /// Our ends of its streams.
    pub(crate) pipes: Pipes,
}

/// Time for which a process of ours that should answer may be silent (stopped by somebody, say)
/// before this one goes on without.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

impl Order {
    /// Waits until a child that is not to end with us says so or has ended: before that, we may not
    /// leave, or the lifeline takes it along.
    pub(super) fn wait_until_untied(&self, control: BorrowedFd<'_>) {
        if !self.job.spec.dies_with_parent {
            let _ = poll::one_readable(control, Deadline::after(ANSWER_TIMEOUT));
        }
    }

    /// Returns the child's end of a lifeline of its own, if it has one.
    pub(super) fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        #[cfg(feature = "cage")]
        return self.lifeline.as_ref().map(AsFd::as_fd);
        #[cfg(not(feature = "cage"))]
        None
    }

    /// Opens the directory that was asked for, in this process: its path may mean something else
    /// elsewhere.
    pub(super) fn open_directory(&self) -> Result<Option<OwnedFd>> {
        let open = |path: &PathBuf| {
            fd::directory(path)
                .map_err(os(format!("cannot use the working directory {}", path.display())))
        };
        self.directory.as_ref().map(open).transpose()
    }
}

/// Makes a process, unless it would be the first of a process namespace (`pid_namespaces(7)`): the
/// kernel drops most signals for that one, so it would outlive its parent, its deadline and
/// `terminate`, and its end would be that of all others there.
///
/// # Errors
/// The namespace for this process's children is empty; its first process has ended (ENOMEM, which
/// would mislead); what `make` fails of.
pub(super) fn in_populated_namespace<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    if namespaces::of_children(false) == ChildNamespace::Empty {
        return Err(Cause::EmptyNamespace.into());
    }
    make().map_err(|error| {
        let refused = error.os_error().is_some_and(|error| error.kind() == ErrorKind::OutOfMemory);
        let ended = refused && namespaces::of_children(true) == ChildNamespace::Ended;
        if ended { Cause::EndedNamespace.into() } else { error }
    })
}
