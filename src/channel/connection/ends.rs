//! One end of a duplex connection, as users see it.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
#[cfg(feature = "async")]
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::buffered::{self, Buffer, MAX_MESSAGE};
use crate::channel::error::{RecvError, RecvFailure, RecvIntoError, SendError, SendFailure};
use crate::channel::pipe::link::RingLink;
use crate::channel::socket::stream::Stream;
use crate::channel::transport::{Parts, RecvTransportError, SendTransportError};
#[cfg(feature = "async")]
use crate::channel::{LooksBriefly, PushesOut, Unsent};
use crate::channel::{byte_forms, value_forms};
use crate::codec::Sole;
use crate::sys::wait::poll::Deadline;

/// One end of a connection that sends values of type `S` and receives values of type `R`, the same
/// unless given.
///
/// Connections come from [`Listener::accept`](crate::Listener::accept) and
/// [`connect`](crate::connect). They are passed to other processes as arguments of a
/// [`Process`](crate::Process) and inside messages (over a Unix socket), together with what has
/// begun to arrive; whoever passes one on uses it no longer. Any type that serde can encode
/// crosses, descriptors included ([`Descriptor`](crate::Descriptor), connections, locks, shared
/// memory) where the transport carries them: TCP does not.
///
/// Both sides must mean the same types: what crosses says nothing of its type, so another one is an
/// error at best. For bytes ([`send_bytes`](Connection::send_bytes)), they do not matter; these are
/// CPython's messages, so that a Python program can be at the other end.
///
/// Every call is bounded if its timeout is. A call that runs out of time loses nothing: a message
/// that arrived in part is kept for the next call, and one of which a part was sent counts as sent;
/// the rest goes out with the next message, while this side waits to receive, or by
/// [`flush`](Connection::flush). Two sides that both send, without a timeout, more than the system
/// holds (some 200 KiB), and neither receives, wait for each other for ever, as in CPython.
///
/// One process at a time uses an end, as one thread does: a forked copy that uses its parent's gets
/// parts of messages. An end that was given away, by who has it in an `Arc`, can be neither used
/// here nor given away again.
///
/// ```
/// use multiproc::{Address, Connection, Listener, Process, connect};
///
/// fn double(address: Address) {
///     let mut requests: Connection<u32> = connect(&address).unwrap();
///     while let Ok(n) = requests.recv() {
///         requests.send(2 * n).unwrap();
///     }
/// }
///
/// let mut listener = Listener::bind(Address::fresh()?)?;
/// let child = Process::new(double, (listener.address().clone(),)).start()?;
/// let mut connection: Connection<u32> = listener.accept()?;
/// connection.send(21)?;
/// assert_eq!(connection.recv()?, 42);
/// drop(connection);
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct Connection<S, R = S> {
    pub(super) link: Link,
    max_message: u64,
    sole: Sole,
    /// The bytes of the message that is being sent, and of the one that was received: kept for
    /// their room.
    sent: Buffer,
    received: Buffer,
    types: PhantomData<fn(S) -> R>,
}

/// The name of this end in errors.
const WHAT: &str = "an end of a connection";

/// The transport of a connection. Another one is another variant, with the same methods.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Link {
    Stream(Stream),
    Ring(Box<RingLink>),
}

impl Link {
    #[inline(always)]
    fn send(
        &mut self,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        match self {
            Link::Stream(stream) => stream.send_parts(parts, fds, deadline),
            Link::Ring(link) => link.send_parts(parts, fds, deadline),
        }
    }

    fn flush(&mut self, deadline: Deadline) -> Result<(), SendTransportError> {
        match self {
            Link::Stream(stream) => stream.flush(deadline),
            // A message is sent, or it is not.
            Link::Ring(_) => Ok(()),
        }
    }

    fn recv(
        &mut self,
        onto: &mut Vec<u8>,
        limit: u64,
        deadline: Deadline,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        match self {
            Link::Stream(stream) => stream.recv(onto, limit, deadline),
            Link::Ring(link) => link.recv(onto, limit, deadline),
        }
    }

    fn poll(&mut self, limit: u64, deadline: Deadline) -> io::Result<bool> {
        match self {
            Link::Stream(stream) => stream.poll(limit, deadline),
            Link::Ring(link) => link.poll(limit, deadline),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Link::Stream(stream) => stream.as_fd(),
            Link::Ring(link) => link.as_fd(),
        }
    }
}

value_forms::send_forms!(
    [S: Serialize, R] Connection<S, R>, S,
    "let (mut near, mut far) = multiproc::connection_with_capacity::<u64, u64>(4096)?;"
);
value_forms::recv_forms!(
    [S, R: DeserializeOwned] Connection<S, R>, R,
    "let (mut near, mut far) = multiproc::connection_with_capacity::<u64, u64>(4096)?;"
);

impl<S: Serialize, R> Connection<S, R> {
    fn send_by<E: SendFailure<S>>(&mut self, value: S, deadline: Deadline) -> Result<(), E> {
        if let Err(error) = self.sole.check(WHAT) {
            return Err(E::new(SendTransportError::Os(error), value));
        }
        buffered::send(value, &mut self.sent, usize::MAX, |parts, fds| {
            self.link.send(parts, fds, deadline)
        })
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    fn recv_by<E: RecvFailure>(&mut self, deadline: Deadline) -> Result<R, E> {
        self.sole.check(WHAT).map_err(RecvError::Os)?;
        buffered::recv(&mut self.received, |onto| self.link.recv(onto, self.max_message, deadline))
    }
}

impl<S, R> Connection<S, R> {
    /// Over a connected socket.
    pub(crate) fn over_stream(stream: Stream) -> Connection<S, R> {
        Connection::over(Link::Stream(stream))
    }

    /// Over rings in shared memory.
    pub(crate) fn over_ring(link: RingLink) -> Connection<S, R> {
        Connection::over(Link::Ring(Box::new(link)))
    }

    fn over(link: Link) -> Connection<S, R> {
        Connection {
            link,
            max_message: MAX_MESSAGE,
            sole: Sole::default(),
            sent: Buffer::new(),
            received: Buffer::new(),
            types: PhantomData,
        }
    }

    fn transmit(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), SendTransportError> {
        self.link.send(bytes.into(), &[], deadline)
    }

    fn receive(
        &mut self,
        onto: &mut Vec<u8>,
        deadline: Deadline,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        self.link.recv(onto, self.max_message, deadline)
    }

    fn receive_into<E: RecvFailure>(
        &mut self,
        target: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, RecvIntoError<E>> {
        buffered::recv_into(target, &mut self.received, |onto| {
            self.link.recv(onto, self.max_message, deadline)
        })
    }

    fn poll_by(&mut self, deadline: Deadline) -> io::Result<bool> {
        self.link.poll(self.max_message, deadline)
    }

    /// Sends the rest of a message that [`try_send`](Connection::try_send) or
    /// [`send_timeout`](Connection::send_timeout) began; waits until there is room for it.
    ///
    /// # Errors
    /// The other end is gone, or the system refuses.
    ///
    /// ```
    /// use multiproc::Connection;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, far) = UnixStream::pair().unwrap();
    /// let mut near: Connection<Vec<u8>> = near.try_into()?;
    /// let mut far: Connection<Vec<u8>> = far.try_into()?;
    /// near.try_send(vec![7; 1 << 20])?; // more than the system holds: a part goes out
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| near.flush().unwrap());
    ///     assert_eq!(far.recv(), Ok(vec![7; 1 << 20]));
    /// });
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn flush(&mut self) -> Result<(), SendError<()>> {
        let checked = self.sole.check(WHAT).map_err(SendTransportError::Os);
        checked
            .and_then(|()| self.link.flush(Deadline::Never))
            .map_err(|error| SendError::new(error, ()))
    }

    /// Closes this end, after [`flush`](Connection::flush). What was sent can still be received at
    /// the other, which then is told of the end. To drop a connection does the same, without the
    /// flush.
    ///
    /// # Errors
    /// As [`flush`](Connection::flush). It is closed all the same.
    ///
    /// ```
    /// let (mut near, mut far) = multiproc::connection::<u32, u32>()?;
    /// near.send(1)?;
    /// near.close()?;
    /// assert_eq!(far.recv()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn close(mut self) -> Result<(), SendError<()>> {
        self.flush()
    }

    /// Returns true if something can be received without waiting for the descriptor.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        match &self.link {
            Link::Stream(stream) => Ok(stream.has_message()),
            Link::Ring(link) => link.is_ready(),
        }
    }

    /// Returns true if the descriptor may turn readable for nothing, as that of rings may.
    pub(crate) fn may_wake_for_nothing(&self) -> bool {
        matches!(self.link, Link::Ring(_))
    }
}

#[cfg(feature = "async")]
impl<S, R> LooksBriefly for Connection<S, R> {
    fn look_briefly(&mut self, limit: Duration) -> Option<Instant> {
        match &mut self.link {
            Link::Ring(link) => link.inbound().look_briefly(limit),
            // To look there is a system call each time.
            Link::Stream(_) => None,
        }
    }

    fn came_late(&mut self, since: Instant) {
        if let Link::Ring(link) = &mut self.link {
            link.inbound().came_late(since);
        }
    }
}

#[cfg(feature = "async")]
impl<S, R> PushesOut for Connection<S, R> {
    fn push(&mut self, unsent: &mut Unsent) -> Result<bool, SendTransportError> {
        self.sole.check(WHAT).map_err(SendTransportError::Os)?;
        match &mut self.link {
            Link::Ring(link) => {
                unsent.push_by(|bytes, fds, sent| link.send_some(bytes.into(), fds, sent))
            }
            // A message that has begun is the stream's own to go on with.
            Link::Stream(stream) => unsent.push_by(|bytes, fds, sent| {
                if *sent == 0 {
                    match stream.send(bytes, fds, Deadline::Now) {
                        // The length of the header counts: an empty message is sent, too.
                        Ok(()) => *sent = bytes.len() + 1,
                        Err(SendTransportError::Full) => return Ok(false),
                        Err(error) => return Err(error),
                    }
                }
                match stream.flush(Deadline::Now) {
                    Ok(()) => Ok(true),
                    Err(SendTransportError::Full) => Ok(false),
                    Err(error) => Err(error),
                }
            }),
        }
    }

    fn may_keep_rest(&self) -> bool {
        matches!(self.link, Link::Stream(_))
    }

    fn has_rest(&self) -> bool {
        matches!(&self.link, Link::Stream(stream) if stream.has_rest())
    }

    fn has_unheard_value(&self) -> bool {
        matches!(&self.link, Link::Ring(link) if !link.is_empty())
    }
}

#[cfg(feature = "async")]
impl<S, R> Connection<S, R> {
    /// Returns true if there may be room of which the descriptor does not tell, as who waited for a
    /// value has taken the wake-up.
    pub(crate) fn has_unheard_room(&self) -> bool {
        matches!(&self.link, Link::Ring(link) if link.wish_for_room())
    }
}

byte_forms::send_bytes_forms!(
    [S, R] Connection<S, R>,
    "let (mut near, mut far) = multiproc::connection_with_capacity::<(), ()>(4096)?;"
);
byte_forms::recv_bytes_forms!(
    [S, R] Connection<S, R>,
    "let (mut near, mut far) = multiproc::connection::<(), ()>()?;"
);

impl<S, R> AsFd for Connection<S, R> {
    /// To poll for reading, in `epoll` or an async runtime: readable means that something can be
    /// received or has come to its end. After [`poll`](Connection::poll), the message is in this
    /// process already; receive until [`TryRecvError::Empty`](crate::TryRecvError::Empty) before
    /// waiting.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("link", &self.link).finish_non_exhaustive()
    }
}

impl<S, R> Serialize for Connection<S, R> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        self.sole.give(WHAT)?;
        (&self.link, self.max_message).serialize(serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Connection<S, R>, D::Error> {
        // The types are those that the receiver asks for: what crosses does not name them.
        let (link, max_message) = Deserialize::deserialize(deserializer)?;
        Ok(Connection { max_message, ..Connection::over(link) })
    }
}
