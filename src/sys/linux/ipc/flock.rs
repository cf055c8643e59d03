//! Locks on folders (`flock(2)`), which the kernel releases when their holder ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::sys::wait::poll::Deadline;

/// A folder that no other holder of a `Flock` has locked, in any process.
#[derive(Debug)]
pub(crate) struct Flock(OwnedFd);

impl Flock {
    /// Time to wait for another holder, which needs the lock for moments.
    pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

    /// Locks an open folder. There is no call with a time-out, so it asks again every 200
    /// microseconds.
    ///
    /// # Errors
    /// `TimedOut` at `deadline`.
    pub(crate) fn take(folder: OwnedFd, deadline: Deadline) -> io::Result<Flock> {
        loop {
            match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Flock(folder)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if !deadline.is_over() => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Flock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Flock {
    /// Unlocks, also for copies of the descriptor.
    fn drop(&mut self) {
        // Not left to the closing: a copy that was forked meanwhile has the descriptor, too.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}
