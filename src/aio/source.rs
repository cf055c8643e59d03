//! Descriptors that the reactor watches.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use async_io::Async as Watched;

use crate::sys::fd;
use crate::sys::per_process::Generation;

/// The process in which the reactor runs, once this library has used it.
static REACTOR_OF: OnceLock<Generation> = OnceLock::new();

/// A descriptor that the reactor watches: a duplicate of one, so that it stays registered as long
/// as it is open, whatever becomes of the original.
#[derive(Debug)]
pub(super) struct Source {
    /// `Some` until it is dropped.
    watched: Option<Arc<Watched<OwnedFd>>>,
    made_in: Generation,
}

impl Source {
    /// Makes a descriptor known to the reactor, which does not watch it yet.
    ///
    /// # Errors
    /// No descriptor is left; the reactor belongs to a process of which this one is a forked copy;
    /// EPERM for an ordinary file, which is always ready.
    pub(super) fn of(fd: BorrowedFd<'_>) -> io::Result<Source> {
        check_reactor()?;
        // The flags of the open file stay as they are: others may share it, and the reactor does
        // not read from it.
        let watched = Watched::new_nonblocking(fd::duplicate(fd)?)?;
        Ok(Source { watched: Some(Arc::new(watched)), made_in: Generation::current() })
    }

    /// Has reads and writes by the descriptor, and by that which it is a duplicate of, sleep again.
    pub(super) fn set_blocking(&self) {
        // A forked copy has the flags in common with its original.
        if self.made_in.is_current() {
            let _ = fd::set_blocking(self.watched().as_fd());
        }
    }

    /// Returns the descriptor as the reactor has it.
    pub(super) fn watched(&self) -> Arc<Watched<OwnedFd>> {
        Arc::clone(self.watched.as_ref().expect("it is taken by `drop` only"))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A forked copy shares the reactor's epoll set with its original: to deregister there would
        // make the original deaf. The copy leaves the descriptor open.
        if !self.made_in.is_current() {
            mem::forget(self.watched.take());
        }
    }
}

/// Checks that the reactor's thread can be in this process.
///
/// # Errors
/// `Unsupported` in a forked copy of the process that used it first.
pub(super) fn check_reactor() -> io::Result<()> {
    let current = Generation::current();
    if *REACTOR_OF.get_or_init(|| current) == current {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the reactor of async-io runs in the process that this one was forked from: do not await \
         in a forked process, or start it by another method",
    ))
}
