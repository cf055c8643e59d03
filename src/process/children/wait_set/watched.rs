//! How the kernel watches a member of a set.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::error::{Result, os};
use crate::process::children::wait::Waitable;
use crate::sys::fd;
use crate::sys::wait::epoll::Epoll;

/// How the kernel watches a member.
pub(super) enum Watched {
    /// By its own descriptor, of this number.
    Own(RawFd),
    /// By a duplicate, as another member has the same descriptor, of this number.
    Duplicate(RawFd, OwnedFd),
    /// Not at all: an ordinary file, of this number, is always readable.
    Not(RawFd),
}

impl Watched {
    /// The number of the member's own descriptor.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Watched::Own(fd) | Watched::Duplicate(fd, _) | Watched::Not(fd) => *fd,
        }
    }
}

/// Has the kernel watch a member.
pub(super) fn watch(epoll: &Epoll, member: &impl Waitable, data: u64) -> Result<Watched> {
    let cannot = |error| os("cannot have the system watch a member of a set")(error);
    let fd = member.wait_fd()?;
    match epoll.add(fd, data) {
        Ok(()) => Ok(Watched::Own(fd.as_raw_fd())),
        // Of an ordinary file there is nothing to wait for.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Watched::Not(fd.as_raw_fd()))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let duplicate = fd::duplicate(fd).map_err(cannot)?;
            epoll.add(duplicate.as_fd(), data).map_err(cannot)?;
            Ok(Watched::Duplicate(fd.as_raw_fd(), duplicate))
        }
        Err(error) => Err(cannot(error)),
    }
}
