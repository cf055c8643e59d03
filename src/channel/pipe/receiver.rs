//! The end of a pipe that receives.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::doorbell::Bell;
use super::inbound::{Inbound, MovedInbound};
use super::link::MovedBell;
use super::segment::Segment;
use crate::channel::buffered::{self, MAX_MESSAGE};
use crate::channel::error::{
    self, RecvError, RecvFailure, RecvIntoError, RecvTimeoutError, TryRecvError,
};
use crate::codec::{Carried, Sole};
use crate::sys::wait::poll::Deadline;

/// The end of a [`pipe`](crate::pipe) that receives.
///
/// It is passed on by value, so whoever sent it away cannot use it any more. It is not `Clone`: a
/// pipe has one receiver. Threads of one process share it in a `Mutex`.
pub struct Receiver<T> {
    bell: Bell,
    segment: Arc<Segment>,
    inbound: Inbound,
    max_message: u64,
    sole: Sole,
    /// The bytes of the value that was received, kept for their room.
    bytes: Vec<u8>,
    values: PhantomData<fn() -> T>,
}

/// The name of this end in errors.
const WHAT: &str = "the receiver of a pipe";

impl<T: DeserializeOwned> Receiver<T> {
    /// Receives a value; waits until one comes.
    ///
    /// # Errors
    /// The other end is gone and nothing is left ([`RecvError::Disconnected`], Python's
    /// `EOFError`), what came is no such value (later ones can be received), or the rest of
    /// [`RecvError`].
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_by(Deadline::Never)
    }

    /// Receives a value if one is there.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv), and [`TryRecvError::Empty`] if none is there.
    ///
    /// ```
    /// let (mut sender, mut receiver) = multiproc::pipe::<u8>()?;
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// sender.send(1)?;
    /// drop(sender);
    /// assert_eq!(receiver.try_recv()?, 1);
    /// assert!(receiver.try_recv().unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.recv_by(Deadline::now())
    }

    /// Receives a value; waits for one for `timeout` at most.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv), and [`RecvTimeoutError::Timeout`] if none came in time.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_by(Deadline::after(timeout))
    }

    /// Receives a value; waits for one until `deadline`.
    ///
    /// # Errors
    /// As [`recv_timeout`](Receiver::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_by(Deadline::at(deadline))
    }

    fn recv_by<E: RecvFailure>(&mut self, deadline: Deadline) -> Result<T, E> {
        let limit = self.max_message;
        self.sole.check(WHAT).map_err(RecvError::Os)?;
        let (bell, inbound) = (&mut self.bell, &mut self.inbound);
        buffered::recv(&mut self.bytes, |onto| inbound.recv(bell, onto, limit, deadline))
    }

    /// Returns an iterator over the values that come, until the other end is gone. Other errors are
    /// items, and are final unless they are [`RecvError::Decode`].
    ///
    /// ```
    /// let (mut sender, mut receiver) = multiproc::pipe::<u8>()?;
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// drop(sender);
    /// assert_eq!(receiver.iter().collect::<Result<Vec<u8>, _>>()?, [1, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(&mut self) -> ReceiverIter<'_, T> {
        ReceiverIter { receiver: self }
    }

    /// Returns an iterator over the values that are there now; it never waits. It ends where
    /// nothing is there yet and where the other end is gone; other errors are items.
    ///
    /// ```
    /// let (mut sender, mut receiver) = multiproc::pipe::<u8>()?;
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// assert_eq!(receiver.try_iter().collect::<Result<Vec<u8>, _>>()?, [1, 2]);
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_iter(&mut self) -> impl Iterator<Item = Result<T, RecvError>> {
        error::try_iter(|| self.try_recv())
    }
}

impl<T> Receiver<T> {
    pub(crate) fn over(bell: Bell, segment: Arc<Segment>, inbound: Inbound) -> Receiver<T> {
        Receiver {
            bell,
            segment,
            inbound,
            max_message: MAX_MESSAGE,
            sole: Sole::default(),
            bytes: Vec::new(),
            values: PhantomData,
        }
    }

    /// Receives a message as it is; waits until one comes. Descriptors that came with it are
    /// closed.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv), except that any bytes will do.
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>, RecvError> {
        self.recv_bytes_by(Deadline::Never)
    }

    /// Receives a message as it is if one is there.
    ///
    /// # Errors
    /// As [`recv_bytes`](Receiver::recv_bytes), and [`TryRecvError::Empty`] if none is there.
    pub fn try_recv_bytes(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.recv_bytes_by(Deadline::now())
    }

    /// Receives a message as it is; waits for one for `timeout` at most.
    ///
    /// # Errors
    /// As [`recv_bytes`](Receiver::recv_bytes), and [`RecvTimeoutError::Timeout`] if none came in
    /// time.
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>, RecvTimeoutError> {
        self.recv_bytes_by(Deadline::after(timeout))
    }

    /// Receives a message as it is; waits for one until `deadline`.
    ///
    /// # Errors
    /// As [`recv_bytes_timeout`](Receiver::recv_bytes_timeout).
    pub fn recv_bytes_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        self.recv_bytes_by(Deadline::at(deadline))
    }

    fn recv_bytes_by<E: RecvFailure>(&mut self, deadline: Deadline) -> Result<Vec<u8>, E> {
        self.sole.check(WHAT).map_err(RecvError::Os)?;
        let mut bytes = Vec::new();
        self.inbound.recv(&mut self.bell, &mut bytes, self.max_message, deadline)?;
        Ok(bytes)
    }

    /// Receives a message into the beginning of `buffer`, and says how long it is; waits until one
    /// comes. To begin elsewhere, give a part of a buffer.
    ///
    /// # Errors
    /// [`RecvIntoError::BufferTooShort`] has the whole message if it does not fit; else as
    /// [`recv_bytes`](Receiver::recv_bytes).
    ///
    /// ```
    /// use multiproc::RecvIntoError;
    ///
    /// let (mut sender, mut receiver) = multiproc::pipe::<()>()?;
    /// let mut buffer = [b'.'; 6];
    /// sender.send_bytes(b"abc")?;
    /// assert_eq!(receiver.recv_bytes_into(&mut buffer[2..])?, 3);
    /// assert_eq!(&buffer, b"..abc.");
    ///
    /// sender.send_bytes(b"too long")?;
    /// let too_short = receiver.recv_bytes_into(&mut buffer).unwrap_err();
    /// assert_eq!(too_short, RecvIntoError::BufferTooShort(b"too long".to_vec()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn recv_bytes_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.recv_bytes_into_by(buffer, Deadline::Never)
    }

    /// Receives a message into the beginning of `buffer` if one is there.
    ///
    /// # Errors
    /// As [`recv_bytes_into`](Receiver::recv_bytes_into), and [`TryRecvError::Empty`] if none is
    /// there.
    pub fn try_recv_bytes_into(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<usize, RecvIntoError<TryRecvError>> {
        self.recv_bytes_into_by(buffer, Deadline::now())
    }

    /// Receives a message into the beginning of `buffer`; waits for one for `timeout` at most.
    ///
    /// # Errors
    /// As [`recv_bytes_into`](Receiver::recv_bytes_into), and [`RecvTimeoutError::Timeout`] if none
    /// came in time.
    pub fn recv_bytes_into_timeout(
        &mut self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, RecvIntoError<RecvTimeoutError>> {
        self.recv_bytes_into_by(buffer, Deadline::after(timeout))
    }

    /// Receives a message into the beginning of `buffer`; waits for one until `deadline`.
    ///
    /// # Errors
    /// As [`recv_bytes_into_timeout`](Receiver::recv_bytes_into_timeout).
    pub fn recv_bytes_into_deadline(
        &mut self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<usize, RecvIntoError<RecvTimeoutError>> {
        self.recv_bytes_into_by(buffer, Deadline::at(deadline))
    }

    fn recv_bytes_into_by<E: RecvFailure>(
        &mut self,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, RecvIntoError<E>> {
        let limit = self.max_message;
        self.sole.check(WHAT).map_err(|error| E::from(RecvError::Os(error)))?;
        let (bell, inbound) = (&mut self.bell, &mut self.inbound);
        buffered::recv_into(buffer, &mut self.bytes, |onto| {
            inbound.recv(bell, onto, limit, deadline)
        })
    }

    /// Returns true if a message, or the end, can be received without waiting; waits for that for
    /// `timeout` at most, and for ever without one. The message stays.
    ///
    /// # Errors
    /// The system refuses to wait or to receive.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (mut sender, mut receiver) = multiproc::pipe::<u8>()?;
    /// assert!(!receiver.poll(Some(Duration::ZERO))?);
    /// sender.send(1)?;
    /// assert!(receiver.poll(None)?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<bool, RecvError> {
        self.sole.check(WHAT).map_err(RecvError::Os)?;
        self.inbound
            .poll(&mut self.bell, self.max_message, Deadline::within(timeout))
            .map_err(RecvError::Os)
    }

    /// Sets how long a message may be that is received here, in bytes; 1 GiB at first. A longer one
    /// is [`RecvError::TooLong`], and the end of what can be received.
    ///
    /// Whatever the limit: room is made only for what has arrived.
    pub fn set_max_message(&mut self, bytes: u64) {
        self.max_message = bytes;
    }

    /// Returns the length of the longest message that is accepted here, in bytes.
    #[must_use]
    pub fn max_message(&self) -> u64 {
        self.max_message
    }

    /// See `Inbound::is_ready`.
    pub(crate) fn is_ready(&self) -> std::io::Result<bool> {
        self.inbound.is_ready(&self.bell)
    }
}

impl<T> AsFd for Receiver<T> {
    /// To poll for reading, in `epoll` or an async runtime: after [`TryRecvError::Empty`], readable
    /// means that something may be there, or that the other end is gone. Without an `Empty` right
    /// before, it says nothing: messages do not go over it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.inbound.leave();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("bell", &self.bell)
            .field("inbound", &self.inbound)
            .finish_non_exhaustive()
    }
}

/// A receiver on its way to another process.
#[derive(Serialize, Deserialize)]
struct Moved {
    bell: MovedBell,
    memory: Carried,
    inbound: MovedInbound,
    max_message: u64,
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sole.give(WHAT)?;
        let moved = Moved {
            bell: self.bell.state(),
            memory: Carried(Arc::clone(self.segment.fd())),
            inbound: self.inbound.state(),
            max_message: self.max_message,
        };
        moved.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Receiver<T>, D::Error> {
        let moved = Moved::deserialize(deserializer)?;
        let segment = Arc::new(Segment::open(moved.memory.0, 1).map_err(D::Error::custom)?);
        let inbound = Inbound::resume(Arc::clone(&segment), 0, moved.inbound);
        let inbound = inbound.map_err(|corrupt| D::Error::custom(corrupt.0))?;
        let mut receiver = Receiver::over(Bell::resume(moved.bell), segment, inbound);
        receiver.max_message = moved.max_message;
        Ok(receiver)
    }
}

/// The values that come over a pipe: see [`Receiver::iter`].
pub struct ReceiverIter<'a, T> {
    receiver: &'a mut Receiver<T>,
}

impl<T: DeserializeOwned> Iterator for ReceiverIter<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Result<T, RecvError>> {
        error::item(self.receiver.recv())
    }
}

impl<T> fmt::Debug for ReceiverIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverIter").field("receiver", &self.receiver).finish()
    }
}

/// The values that come over a pipe whose end is the iterator's own: see [`Receiver::iter`].
#[derive(Debug)]
pub struct ReceiverIntoIter<T> {
    receiver: Receiver<T>,
}

impl<T: DeserializeOwned> Iterator for ReceiverIntoIter<T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Result<T, RecvError>> {
        self.receiver.iter().next()
    }
}

impl<T: DeserializeOwned> IntoIterator for Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = ReceiverIntoIter<T>;

    fn into_iter(self) -> ReceiverIntoIter<T> {
        ReceiverIntoIter { receiver: self }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a mut Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = ReceiverIter<'a, T>;

    fn into_iter(self) -> ReceiverIter<'a, T> {
        self.iter()
    }
}
