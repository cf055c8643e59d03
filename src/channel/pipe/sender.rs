//! The end of a pipe that sends.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::doorbell::Bell;
use super::link::MovedBell;
use super::outbound::Outbound;
use super::segment::Segment;
use crate::channel::buffered::{self, Buffer};
use crate::channel::error::SendFailure;
use crate::channel::room::{Room, RoomGate};
use crate::channel::transport::SendTransportError;
use crate::channel::writable::HasRoom;
#[cfg(feature = "async")]
use crate::channel::{PushesOut, Unsent};
use crate::channel::{byte_forms, value_forms};
use crate::codec::{Carried, Sole};
use crate::sys::wait::epoll::Epoll;
use crate::sys::wait::poll::Deadline;

/// The end of a [`pipe`](crate::pipe) that sends.
///
/// It is passed on by value, so whoever sent it away cannot use it any more. It is not `Clone`: a
/// pipe has one sender. Threads of one process share it in a `Mutex`; processes share a
/// [`Queue`](crate::Queue). Whoever has it in an `Arc` can give it away once: a second time is an
/// error where it is encoded, and so is its use here.
///
/// ```
/// use multiproc::{Process, Receiver, pipe};
///
/// fn total(prices: Receiver<u64>) -> u64 {
///     prices.into_iter().map(Result::unwrap).sum()
/// }
///
/// let (mut sender, receiver) = pipe()?;
/// let child = Process::new(total, (receiver,)).start()?;
/// (1..=100).for_each(|price| sender.send(price).unwrap());
/// drop(sender); // ends the child's iterator
/// assert_eq!(child.join()?, 5050);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct Sender<T> {
    bell: Bell,
    segment: Arc<Segment>,
    outbound: Outbound,
    sole: Sole,
    /// The bytes of the value that is being sent, kept for their room.
    bytes: Buffer,
    values: PhantomData<fn(T)>,
}

/// The name of this end in errors.
const WHAT: &str = "the sender of a pipe";

value_forms::send_forms!(
    [T: Serialize] Sender<T>, T,
    "let (mut near, mut far) = multiproc::pipe_with_capacity::<u64>(4096)?;"
);

impl<T: Serialize> Sender<T> {
    fn send_by<E: SendFailure<T>>(&mut self, value: T, deadline: Deadline) -> Result<(), E> {
        if let Err(error) = self.sole.check(WHAT) {
            return Err(E::new(SendTransportError::Os(error), value));
        }
        // The buffer is borrowed by the encoder, the rest by what sends.
        let (bell, outbound) = (&mut self.bell, &mut self.outbound);
        buffered::send(value, &mut self.bytes, usize::MAX, |parts, fds| {
            outbound.send_parts(bell, parts, fds, deadline)
        })
    }
}

impl<T> Sender<T> {
    /// Returns what [`wait`](crate::wait) can wait for until there is room: for a value as long as
    /// the last one that was [`Full`](crate::TrySendError::Full), or for a byte if the last one was
    /// sent. A receiver that is gone counts as room, as the next `send` need not wait to say so.
    ///
    /// Of a value that is longer than the pipe's capacity, which `try_send` never sends, it waits
    /// until the pipe is empty.
    ///
    /// ```
    /// use multiproc::{pipe_with_capacity, wait};
    /// use std::time::Duration;
    ///
    /// let (mut sender, mut receiver) = pipe_with_capacity::<[u64; 8]>(4096)?;
    /// while sender.try_send([7; 8]).is_ok() {}
    /// assert!(wait(&[&sender.room()], Some(Duration::ZERO))?.is_empty());
    /// receiver.recv()?;
    /// assert_eq!(wait(&[&sender.room()], None)?, [0]);
    /// sender.try_send([7; 8])?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn room(&mut self) -> Room<'_> {
        Room::over(PipeRoom { bell: &self.bell, outbound: &self.outbound })
    }

    pub(crate) fn over(bell: Bell, segment: Arc<Segment>, outbound: Outbound) -> Sender<T> {
        Sender {
            bell,
            segment,
            outbound,
            sole: Sole::default(),
            bytes: Buffer::new(),
            values: PhantomData,
        }
    }

    fn transmit(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), SendTransportError> {
        self.outbound.send(&mut self.bell, bytes, &[], deadline)
    }
}

byte_forms::send_bytes_forms!(
    [T] Sender<T>,
    "let (mut near, mut far) = multiproc::pipe_with_capacity::<()>(4096)?;"
);

/// The room of a pipe. It borrows the sender for itself: there is one wish in a ring.
#[derive(Debug)]
struct PipeRoom<'a> {
    bell: &'a Bell,
    outbound: &'a Outbound,
}

impl RoomGate for PipeRoom<'_> {
    fn wait_fd<'t>(&self, _: &'t OnceLock<Epoll>) -> io::Result<BorrowedFd<'t>>
    where
        Self: 't,
    {
        Ok(self.bell.as_fd())
    }

    fn poll_ready(&self, _: &OnceLock<Epoll>) -> io::Result<bool> {
        self.outbound.poll_room(self.bell)
    }
}

impl<T> HasRoom for Sender<T> {
    fn gate(&self) -> impl RoomGate {
        PipeRoom { bell: &self.bell, outbound: &self.outbound }
    }
}

#[cfg(feature = "async")]
impl<T> PushesOut for Sender<T> {
    fn push(&mut self, unsent: &mut Unsent) -> Result<bool, SendTransportError> {
        self.sole.check(WHAT).map_err(SendTransportError::Os)?;
        unsent.push_by(|bytes, fds, sent| {
            self.outbound.send_some(&mut self.bell, bytes.into(), fds, sent)
        })
    }

    fn hang_up(&mut self) {
        // A forked copy has the socket in common with its original.
        if self.sole.check(WHAT).is_ok() {
            self.bell.shut();
        }
    }
}

impl<T> AsFd for Sender<T> {
    /// To poll for reading, in `epoll` or an async runtime: after
    /// [`TrySendError::Full`](crate::TrySendError::Full), readable means that there may be room
    /// now, or that the other end is gone. Without a `Full` right before, it says nothing.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("bell", &self.bell)
            .field("outbound", &self.outbound)
            .finish_non_exhaustive()
    }
}

/// A sender on its way to another process.
#[derive(Serialize, Deserialize)]
struct Moved {
    bell: MovedBell,
    memory: Carried,
    outbound: [u64; 2],
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Marked as given away before anything is written: an end that is in two places would break
        // the rule of one producer that all of the ring rests on.
        self.sole.give(WHAT)?;
        let memory = Carried(Arc::clone(self.segment.fd()));
        Moved { bell: self.bell.state(), memory, outbound: self.outbound.state() }
            .serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sender<T>, D::Error> {
        let moved = Moved::deserialize(deserializer)?;
        let segment = Arc::new(Segment::open(moved.memory.0, 1).map_err(D::Error::custom)?);
        let outbound = Outbound::resume(Arc::clone(&segment), 0, moved.outbound);
        let outbound = outbound.map_err(|corrupt| D::Error::custom(corrupt.0))?;
        Ok(Sender::over(Bell::resume(moved.bell), segment, outbound))
    }
}
