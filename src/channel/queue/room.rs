//! Room in a queue, as something to wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use super::core::QueueCore;
use crate::codec::Carried;
use crate::sys::wait::epoll::Epoll;
use crate::sys::wait::poll;

/// The room of a queue; with the end that tells of receivers that are gone, if it is split.
#[derive(Debug)]
pub(super) struct QueueRoom<'a> {
    core: &'a QueueCore,
    most: u64,
    end: Option<&'a Carried>,
}

impl<'a> QueueRoom<'a> {
    pub(super) fn new(core: &'a QueueCore, most: u64, end: Option<&'a Carried>) -> QueueRoom<'a> {
        QueueRoom { core, most, end }
    }
}

impl crate::channel::room::RoomGate for QueueRoom<'_> {
    /// If there is an end, that of a set which is readable when the queue's descriptor is or the
    /// receivers are gone.
    fn wait_fd<'t>(&self, both: &'t OnceLock<Epoll>) -> io::Result<BorrowedFd<'t>>
    where
        Self: 't,
    {
        match self.end {
            None => Ok(self.core.room_pollable()),
            Some(end) => either(both, self.core.room_pollable(), end),
        }
    }

    fn poll_ready(&self, _: &OnceLock<Epoll>) -> io::Result<bool> {
        // In this order: armed before the end is looked at, as the descriptor tells of both later.
        if self.core.arm_room(self.most) {
            return Ok(true);
        }
        self.end.map_or(Ok(false), |end| poll::hung_up(end.as_fd()))
    }
}

/// Returns a descriptor that is readable while `fd` is, or when the other side of `end` is gone. It
/// is made once, and kept in `both`.
pub(super) fn either<'a>(
    both: &'a OnceLock<Epoll>,
    fd: BorrowedFd<'_>,
    end: &Carried,
) -> io::Result<BorrowedFd<'a>> {
    if let Some(both) = both.get() {
        return Ok(both.as_fd());
    }
    let made = Epoll::new()?;
    made.add(fd, 0)?;
    made.add_end(end.as_fd(), 1)?;
    Ok(both.get_or_init(|| made).as_fd())
}
