//! The end of a pipe that receives.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
#[cfg(feature = "async")]
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::doorbell::Bell;
use super::inbound::{Inbound, MovedInbound};
use super::link::MovedBell;
use super::segment::Segment;
#[cfg(feature = "async")]
use crate::channel::LooksBriefly;
use crate::channel::buffered::{self, Buffer, MAX_MESSAGE};
use crate::channel::error::{RecvError, RecvFailure, RecvIntoError};
use crate::channel::transport::RecvTransportError;
use crate::channel::{byte_forms, forms, value_forms};
use crate::codec::{Carried, Sole};
use crate::sys::wait::poll::Deadline;

/// The end of a [`pipe`](crate::pipe) that receives.
///
/// It is passed on by value, so whoever sent it away cannot use it any more. It is not `Clone`: a
/// pipe has one receiver. Threads of one process share it in a `Mutex`.
///
/// ```
/// use multiproc::{Process, Sender, pipe};
///
/// fn measure(mut samples: Sender<f64>) {
///     for sample in [0.5, 1.5] {
///         samples.send(sample).unwrap();
///     }
/// }
///
/// let (sender, mut receiver) = pipe()?;
/// let child = Process::new(measure, (sender,)).start()?;
/// assert_eq!(receiver.recv()?, 0.5);
/// assert_eq!(receiver.recv()?, 1.5);
/// assert!(receiver.recv().unwrap_err().is_disconnected());
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct Receiver<T> {
    bell: Bell,
    segment: Arc<Segment>,
    inbound: Inbound,
    max_message: u64,
    sole: Sole,
    /// The bytes of the value that was received, kept for their room.
    bytes: Buffer,
    values: PhantomData<fn() -> T>,
}

/// The name of this end in errors.
const WHAT: &str = "the receiver of a pipe";

value_forms::recv_forms!(
    [T: DeserializeOwned] Receiver<T>, T,
    "let (mut near, mut far) = multiproc::pipe_with_capacity::<u64>(4096)?;"
);

impl<T: DeserializeOwned> Receiver<T> {
    fn recv_by<E: RecvFailure>(&mut self, deadline: Deadline) -> Result<T, E> {
        let limit = self.max_message;
        self.sole.check(WHAT).map_err(RecvError::Os)?;
        let (bell, inbound) = (&mut self.bell, &mut self.inbound);
        buffered::recv(&mut self.bytes, |onto| inbound.recv(bell, onto, limit, deadline))
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
            bytes: Buffer::new(),
            values: PhantomData,
        }
    }

    fn receive(
        &mut self,
        onto: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        self.inbound.recv(&mut self.bell, onto, self.max_message, deadline)
    }

    fn receive_into<E: RecvFailure>(
        &mut self,
        target: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, RecvIntoError<E>> {
        let (bell, inbound, limit) = (&mut self.bell, &mut self.inbound, self.max_message);
        buffered::recv_into(target, &mut self.bytes, |onto| {
            inbound.recv(bell, onto, limit, deadline)
        })
    }

    fn poll_by(&mut self, deadline: Deadline) -> io::Result<bool> {
        self.inbound.poll(&mut self.bell, self.max_message, deadline)
    }

    /// See `Inbound::is_ready`.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        self.inbound.is_ready(&self.bell)
    }
}

#[cfg(feature = "async")]
impl<T> LooksBriefly for Receiver<T> {
    fn look_briefly(&mut self, limit: Duration) -> Option<Instant> {
        self.inbound.look_briefly(limit)
    }

    fn came_late(&mut self, since: Instant) {
        self.inbound.came_late(since);
    }
}

impl<T> AsFd for Receiver<T> {
    /// To poll for reading, in `epoll` or an async runtime: after
    /// [`TryRecvError::Empty`](crate::TryRecvError::Empty), readable means that something may be
    /// there, or that the other end is gone. Without an `Empty` right before, it says nothing:
    /// messages do not go over it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // In a forked copy, too: then the flag only costs the sender a wake-up.
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
        // As of the sender: there is one consumer.
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

byte_forms::recv_bytes_forms!(
    [T] Receiver<T>,
    "let (mut near, mut far) = multiproc::pipe::<()>()?;"
);
forms::iterators!(
    Receiver[] by recv, &mut,
    /// An iterator over the values that come over a pipe: [`Receiver::iter`].
    ReceiverIter,
    /// An iterator over the values that come over a pipe, which has the receiver: of `into_iter`.
    ReceiverIntoIter
);
