//! Room in a connection, as something to wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use super::ends::{Connection, Link};
use crate::channel::room::{Room, RoomGate};
use crate::channel::writable::HasRoom;
use crate::sys::wait::epoll::Epoll;
use crate::sys::wait::poll::Deadline;

impl<S, R> Connection<S, R> {
    /// Returns what [`wait`](crate::wait) can wait for until there is room to send, or the other
    /// end is gone.
    ///
    /// Of a [`connection`](crate::connection), it is room for a value as long as the last one that
    /// was [`Full`](crate::TrySendError::Full). Over a socket, it is room for some bytes: a value
    /// of which a part is sent counts as sent.
    ///
    /// While it waits, nobody else may use this end. To wait for values as well, see
    /// [`room_or_value`](Connection::room_or_value).
    ///
    /// ```
    /// use multiproc::wait;
    /// use std::time::Duration;
    ///
    /// let (mut near, mut far) = multiproc::connection_with_capacity::<u64, u64>(4096)?;
    /// while near.try_send(7).is_ok() {}
    /// assert!(wait(&[&near.room()], Some(Duration::ZERO))?.is_empty());
    /// far.recv()?;
    /// assert_eq!(wait(&[&near.room()], None)?, [0]);
    /// near.try_send(7)?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn room(&mut self) -> Room<'_> {
        self.room_with(false)
    }

    /// Returns what [`wait`](crate::wait) can wait for until there is [`room`](Connection::room) to
    /// send or something to receive, whichever comes first.
    ///
    /// ```
    /// use multiproc::wait;
    ///
    /// let (mut near, mut far) = multiproc::connection_with_capacity::<u64, u64>(4096)?;
    /// while near.try_send(7).is_ok() {}
    /// far.send(1)?;
    /// assert_eq!(wait(&[&near.room_or_value()], None)?, [0]);
    /// assert!(near.try_send(7).unwrap_err().is_full());
    /// assert_eq!(near.try_recv()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn room_or_value(&mut self) -> Room<'_> {
        self.room_with(true)
    }

    fn room_with(&mut self, or_value: bool) -> Room<'_> {
        Room::over(ConnectionRoom { link: &self.link, or_value })
    }
}

/// The room of a connection, of which one socket tells, as it does of values.
#[derive(Debug)]
struct ConnectionRoom<'a> {
    link: &'a Link,
    or_value: bool,
}

impl<S, R> HasRoom for Connection<S, R> {
    fn gate(&self) -> impl RoomGate {
        ConnectionRoom { link: &self.link, or_value: false }
    }
}

impl ConnectionRoom<'_> {
    /// Returns the set that tells of room.
    ///
    /// Of rings, it tells when something arrives at the socket, and not while something is there:
    /// descriptors may lie there, which who waits for room does not take.
    fn told<'t>(&self, told: &'t OnceLock<Epoll>) -> io::Result<&'t Epoll> {
        // Made before anybody looks for room, and then kept: what arrives after it was made is not
        // missed.
        if let Some(told) = told.get() {
            return Ok(told);
        }
        let made = Epoll::new()?;
        match self.link {
            Link::Ring(link) => made.add_arrivals(link.as_fd(), 0)?,
            Link::Stream(stream) if self.or_value => made.add_either(stream.as_fd(), 0)?,
            Link::Stream(stream) => made.add_writable(stream.as_fd(), 0)?,
        }
        Ok(told.get_or_init(|| made))
    }
}

impl RoomGate for ConnectionRoom<'_> {
    fn wait_fd<'t>(&self, told: &'t OnceLock<Epoll>) -> io::Result<BorrowedFd<'t>>
    where
        Self: 't,
    {
        self.told(told).map(AsFd::as_fd)
    }

    fn poll_ready(&self, told: &OnceLock<Epoll>) -> io::Result<bool> {
        match self.link {
            Link::Stream(stream) if self.or_value => stream.has_room_or_message(),
            Link::Stream(stream) => stream.has_room(),
            Link::Ring(link) => {
                // What arrived before is looked at now; what arrives later makes it readable again.
                // In this order: what arrives between this and the look makes the set readable
                // again.
                self.told(told)?.wait(&mut Vec::new(), Deadline::Now)?;
                if self.or_value { link.is_ready_or_has_room() } else { link.poll_room() }
            }
        }
    }
}
