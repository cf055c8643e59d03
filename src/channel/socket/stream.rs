//! Messages over a stream socket: a length, then as many bytes, in CPython's form.
//!
//! The length is 4 bytes, big-endian and signed; -1 says that 8 bytes follow with a greater one.
//! Exactly one message is read ahead of the caller, never a byte of the next: so descriptors belong
//! to the message that they come with, and whoever polls the socket sees every message.
//!
//! A send that runs out of time inside of a message has sent it all the same: the rest is kept, and
//! goes out ahead of the next message, or while this side waits to receive. (Not when it is
//! dropped: one that moved to another process is dropped here, and the rest is the other's to
//! send.)

use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::transport::{Parts, RecvTransportError, SendTransportError};
use crate::codec::{self, Carried, MAX_FDS};
use crate::sys::ipc::socket::{self, Congestion, Mode};
use crate::sys::ipc::stream::{self, Kind};
use crate::sys::wait::poll::{self, Deadline};

/// The longest header.
const LONG_HEADER: usize = 12;

/// A usual one.
const SHORT_HEADER: usize = 4;

/// The most room, in bytes, that is made for a body of which nothing has arrived; afterwards, it is
/// as much as has arrived. So a length that is a lie costs no memory.
const STEP: usize = 64 * 1024;

/// One end of a connected stream socket.
pub(crate) struct Stream {
    socket: Arc<OwnedFd>,
    kind: Kind,
    incoming: Incoming,
    /// The error that `poll` found and `recv` has not returned yet.
    found: Option<RecvTransportError>,
    /// Nothing more can be received.
    is_over: bool,
    /// The rest of a message that was begun, and how much of that is out already.
    outgoing: Vec<u8>,
    gone: usize,
}

/// The message that is being received.
#[derive(Default)]
struct Incoming {
    header: [u8; LONG_HEADER],
    /// The bytes of the header that are there.
    got: usize,
    body: Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    fds_lost: bool,
}

/// The part that a message still lacks, in bytes.
enum Lack {
    Header(usize),
    Body(usize),
    Nothing,
}

impl Stream {
    /// Over a connected socket; what is no stream socket is refused.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Stream> {
        Stream::over(Arc::new(socket))
    }

    fn over(socket: Arc<OwnedFd>) -> io::Result<Stream> {
        let kind = stream::kind(socket.as_fd())?;
        let (incoming, outgoing) = (Incoming::default(), Vec::new());
        Ok(Stream { socket, kind, incoming, found: None, is_over: false, outgoing, gone: 0 })
    }

    /// Sends one message. `Full` says that nothing of it went out; once it has begun, it is
    /// accepted.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        self.send_parts(bytes.into(), fds, deadline)
    }

    /// As `send`, of a message that lies in two places.
    pub(crate) fn send_parts(
        &mut self,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        if !fds.is_empty() && self.kind != Kind::Local {
            return Err(SendTransportError::NoDescriptors);
        }
        if fds.len() > MAX_FDS {
            return Err(SendTransportError::TooManyDescriptors);
        }
        // The rest of an older message goes first, or the other side would read this one as a part
        // of it.
        self.flush(deadline)?;
        let (header, length) = header_for(parts.length());
        let header = &*with_front(&header[..length], parts.front);
        let bytes = parts.rest;
        let mut fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        let mut congestion = Congestion::default();
        let mut sent = 0;
        while sent < header.len() + bytes.len() {
            let parts = rest_of(header, bytes, sent);
            let fault = match stream::send(self.socket.as_fd(), parts, &fds) {
                Ok(count) => {
                    sent += count;
                    // They went with the first byte; sent again, they would be those of another
                    // message.
                    fds.clear();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match poll::one_writable(self.socket.as_fd(), deadline) {
                        Ok(true) => continue,
                        Ok(false) => SendTransportError::Full,
                        Err(error) => SendTransportError::Os(error),
                    }
                }
                Err(error) if fds.is_empty() => send_fault(error),
                Err(error) => match congestion
                    .wait(error, deadline, || socket::has_unreceived(self.socket.as_fd()))
                {
                    Ok(true) => continue,
                    Ok(false) => SendTransportError::Full,
                    Err(error) => send_fault(error),
                },
            };
            // Nothing went out, so the caller has the message back. Of one that went out in part
            // nothing can be taken back: it counts as sent, and the rest is kept.
            if sent == 0 || matches!(fault, SendTransportError::Disconnected) {
                return Err(fault);
            }
            let [header, bytes] = rest_of(header, bytes, sent);
            self.outgoing = [header, bytes].concat();
            return Ok(());
        }
        Ok(())
    }

    /// Sends the rest of a message that was begun; `Full` if it does not get out in time.
    pub(crate) fn flush(&mut self, deadline: Deadline) -> Result<(), SendTransportError> {
        while self.gone < self.outgoing.len() {
            match stream::send(self.socket.as_fd(), [&self.outgoing[self.gone..], &[]], &[]) {
                Ok(count) => self.gone += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !poll::one_writable(self.socket.as_fd(), deadline)
                        .map_err(SendTransportError::Os)?
                    {
                        return Err(SendTransportError::Full);
                    }
                }
                Err(error) => return Err(send_fault(error)),
            }
        }
        self.outgoing = Vec::new();
        self.gone = 0;
        Ok(())
    }

    /// Returns true if a part of a message waits to go out.
    #[cfg(feature = "async")]
    pub(crate) fn has_rest(&self) -> bool {
        self.gone < self.outgoing.len()
    }

    /// Receives one message behind what `onto` holds, and gives what came with it.
    pub(crate) fn recv(
        &mut self,
        onto: &mut Vec<u8>,
        limit: u64,
        deadline: Deadline,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        if let Some(fault) = self.found.take() {
            return Err(fault);
        }
        self.fill(limit, deadline)?;
        // From here on the next message may begin, whatever becomes of this one.
        self.incoming.got = 0;
        let fds = mem::take(&mut self.incoming.fds);
        // This process had no room for the descriptors, and the kernel threw them away. The message
        // without them is of no use.
        if mem::take(&mut self.incoming.fds_lost) {
            self.incoming.body.clear();
            return Err(RecvTransportError::Os(stream::no_descriptors()));
        }
        if onto.is_empty() {
            mem::swap(onto, &mut self.incoming.body);
        } else {
            onto.extend_from_slice(&self.incoming.body);
        }
        self.incoming.body.clear();
        Ok(fds)
    }

    /// Returns true if a message, or the end, can be received at once; waits for it until the
    /// deadline.
    pub(crate) fn poll(&mut self, limit: u64, deadline: Deadline) -> io::Result<bool> {
        if self.found.is_some() {
            return Ok(true);
        }
        match self.fill(limit, deadline) {
            Ok(()) => Ok(true),
            Err(RecvTransportError::Empty) => Ok(false),
            Err(RecvTransportError::Os(error)) => Err(error),
            Err(fault) => {
                self.found = Some(fault);
                Ok(true)
            }
        }
    }

    /// Returns true if a message is here already, so that the socket does not tell of it.
    pub(crate) fn has_message(&self) -> bool {
        self.found.is_some()
            || self.is_over
            || matches!(self.incoming.lack(u64::MAX), Ok(Lack::Nothing))
    }

    /// Returns true if the system takes some bytes now, or the other side is gone.
    pub(crate) fn has_room(&self) -> io::Result<bool> {
        poll::one_writable(self.as_fd(), Deadline::Now)
    }

    /// `has_room`, or something can be received.
    pub(crate) fn has_room_or_message(&self) -> io::Result<bool> {
        Ok(self.has_message() || poll::one_ready(self.as_fd(), Deadline::Now)?)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives until the message is whole.
    fn fill(&mut self, limit: u64, deadline: Deadline) -> Result<(), RecvTransportError> {
        // To sleep in the call itself saves two others; but not while something waits to go out.
        let mode = match deadline {
            Deadline::Never if self.outgoing.is_empty() => Mode::Wait,
            _ => Mode::Now,
        };
        loop {
            // Never more than the message lacks is read: the next one stays in the socket, where
            // pollers see it, and its descriptors with it.
            let lack = match self.incoming.lack(limit) {
                Ok(Lack::Nothing) => return Ok(()),
                Ok(lack) => lack,
                Err(fault) => {
                    self.end();
                    return Err(fault);
                }
            };
            if self.is_over {
                return Err(RecvTransportError::Disconnected);
            }
            match self.incoming.take(self.socket.as_fd(), &lack, mode) {
                // End-of-file: in order between two messages, and a cut inside of one.
                Ok(0) => {
                    self.is_over = true;
                    let cut = self.incoming.got > 0;
                    self.incoming = Incoming::default();
                    return Err(if cut {
                        RecvTransportError::Truncated
                    } else {
                        RecvTransportError::Disconnected
                    });
                }
                // Whoever sends drop by drop does not keep us beyond the deadline.
                Ok(_) => match deadline {
                    Deadline::At(_) if deadline.is_over() && !self.is_whole() => {
                        return Err(RecvTransportError::Empty);
                    }
                    _ => {}
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(deadline)?,
                Err(error) => return Err(RecvTransportError::Os(error)),
            }
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.incoming.lack(u64::MAX), Ok(Lack::Nothing))
    }

    /// Waits for something to receive, and sends what is left to send meanwhile.
    fn wait(&mut self, deadline: Deadline) -> Result<(), RecvTransportError> {
        // A fault of sending is the next send's to tell.
        // Both sides may have begun a message that the other is to read first. So whoever waits to
        // receive goes on sending.
        let stuck = matches!(self.flush(Deadline::Now), Err(SendTransportError::Full));
        let socket = self.socket.as_fd();
        let ready = if stuck {
            poll::one_ready(socket, deadline)
        } else {
            poll::one_readable(socket, deadline)
        };
        if ready.map_err(RecvTransportError::Os)? { Ok(()) } else { Err(RecvTransportError::Empty) }
    }

    /// Ends receiving, as the place of the next message is not known.
    fn end(&mut self) {
        self.is_over = true;
        self.incoming = Incoming::default();
        stream::stop_receiving(&self.socket);
    }
}

impl Incoming {
    /// Returns what is lacking; a fault if what is there is no message that could be accepted.
    fn lack(&self, limit: u64) -> Result<Lack, RecvTransportError> {
        if self.got < SHORT_HEADER {
            return Ok(Lack::Header(SHORT_HEADER - self.got));
        }
        // CPython's form: four bytes, or -1 and eight.
        let [a, b, c, d, long @ ..] = self.header;
        let length = match i32::from_be_bytes([a, b, c, d]) {
            -1 if self.got < LONG_HEADER => return Ok(Lack::Header(LONG_HEADER - self.got)),
            -1 => u64::from_be_bytes(long),
            length => u64::try_from(length)
                .map_err(|_| RecvTransportError::Corrupt("its length is negative"))?,
        };
        if length > limit {
            return Err(RecvTransportError::TooLong { length, limit });
        }
        let lacking =
            usize::try_from(length).ok().and_then(|length| length.checked_sub(self.body.len()));
        match lacking {
            // An empty message is whole with its header.
            Some(0) => Ok(Lack::Nothing),
            Some(lacking) => Ok(Lack::Body(lacking)),
            None => Err(RecvTransportError::Corrupt("it is longer than its length")),
        }
    }

    /// Receives a part of what is lacking, and says how much; 0 at end-of-file.
    fn take(&mut self, socket: BorrowedFd<'_>, lack: &Lack, mode: Mode) -> io::Result<usize> {
        match *lack {
            Lack::Header(lacking) => {
                let start = stream::recv_start(
                    socket,
                    &mut self.header[self.got..self.got + lacking],
                    mode,
                )?;
                // Descriptors come with the first byte of a message. Any others are nobody's, and
                // closed.
                // Those of the first byte belong to the message, as `send` sends them with it.
                if self.got == 0 {
                    self.fds = codec::table(start.fds);
                    self.fds_lost = start.fds_lost;
                }
                self.got += start.length;
                Ok(start.length)
            }
            Lack::Body(lacking) => {
                // At most twice what has arrived: a length that is a lie costs its sender as many
                // bytes.
                let most = lacking.min(STEP.max(self.body.len()));
                stream::recv_onto(socket, &mut self.body, most, mode)
            }
            Lack::Nothing => Ok(0),
        }
    }
}

/// The header of a message, and its length.
fn header_for(length: usize) -> ([u8; LONG_HEADER], usize) {
    let mut header = [0; LONG_HEADER];
    match i32::try_from(length) {
        Ok(short) => {
            header[..SHORT_HEADER].copy_from_slice(&short.to_be_bytes());
            (header, SHORT_HEADER)
        }
        Err(_) => {
            // From 2 GiB on, as CPython does it; it reads both forms.
            header[..SHORT_HEADER].copy_from_slice(&(-1_i32).to_be_bytes());
            header[SHORT_HEADER..].copy_from_slice(&(length as u64).to_be_bytes());
            (header, LONG_HEADER)
        }
    }
}

/// A header, and behind it the front of the message, which is a few bytes.
fn with_front<'a>(header: &'a [u8], front: &[u8]) -> Cow<'a, [u8]> {
    if front.is_empty() { Cow::Borrowed(header) } else { Cow::Owned([header, front].concat()) }
}

/// Returns what is left of both after `sent` bytes.
fn rest_of<'a>(header: &'a [u8], bytes: &'a [u8], sent: usize) -> [&'a [u8]; 2] {
    let of_header = sent.min(header.len());
    [&header[of_header..], &bytes[sent - of_header..]]
}

fn send_fault(error: io::Error) -> SendTransportError {
    match error.kind() {
        // Three ways in which the kernel says that nobody is there, by the kind of socket and by
        // what was lost.
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
            SendTransportError::Disconnected
        }
        _ => SendTransportError::Os(error),
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Stream");
        shown.field("socket", &self.socket).field("kind", &self.kind);
        shown.field("received", &(self.incoming.got + self.incoming.body.len()));
        shown.field("unsent", &(self.outgoing.len() - self.gone)).finish()
    }
}

/// A stream on its way to another process.
#[derive(Serialize, Deserialize)]
struct Moved {
    socket: Carried,
    /// The message that has begun to arrive, its header included, and what came with it.
    received: Vec<u8>,
    fds: Vec<Carried>,
    fds_lost: bool,
    /// The rest of the one that has begun to go out.
    outgoing: Vec<u8>,
    /// Set after garbage: what is still in the socket must not pass for messages.
    is_over: bool,
    untold: Option<Untold>,
}

/// An error that `poll` found and `recv` has not returned, on its way to another process.
#[derive(Serialize, Deserialize)]
enum Untold {
    Disconnected,
    Truncated,
    TooLong { length: u64, limit: u64 },
    Corrupt,
}

impl Untold {
    fn of(found: &RecvTransportError) -> Option<Untold> {
        match *found {
            RecvTransportError::Disconnected => Some(Untold::Disconnected),
            RecvTransportError::Truncated => Some(Untold::Truncated),
            RecvTransportError::TooLong { length, limit } => {
                Some(Untold::TooLong { length, limit })
            }
            RecvTransportError::Corrupt(_) => Some(Untold::Corrupt),
            // These are of this process and this moment; the other one asks again.
            RecvTransportError::Empty | RecvTransportError::Os(_) => None,
        }
    }
}

impl From<Untold> for RecvTransportError {
    fn from(untold: Untold) -> RecvTransportError {
        match untold {
            Untold::Disconnected => RecvTransportError::Disconnected,
            Untold::Truncated => RecvTransportError::Truncated,
            Untold::TooLong { length, limit } => RecvTransportError::TooLong { length, limit },
            Untold::Corrupt => {
                RecvTransportError::Corrupt("it was none before the connection moved")
            }
        }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Incoming { header, got, body, fds, fds_lost } = &self.incoming;
        let moved = Moved {
            socket: Carried(Arc::clone(&self.socket)),
            received: [&header[..*got], body].concat(),
            fds: fds.iter().map(|fd| Carried(Arc::clone(fd))).collect(),
            fds_lost: *fds_lost,
            outgoing: self.outgoing[self.gone..].to_vec(),
            is_over: self.is_over,
            untold: self.found.as_ref().and_then(Untold::of),
        };
        moved.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Stream, D::Error> {
        let moved = Moved::deserialize(deserializer)?;
        let mut stream = Stream::over(moved.socket.0).map_err(D::Error::custom)?;
        // The header is read again from the bytes, and checked as if they came from the socket.
        let mut rest = moved.received.as_slice();
        let incoming = &mut stream.incoming;
        while let Ok(Lack::Header(lacking)) = incoming.lack(u64::MAX) {
            let (now, later) = rest.split_at(lacking.min(rest.len()));
            incoming.header[incoming.got..incoming.got + now.len()].copy_from_slice(now);
            incoming.got += now.len();
            rest = later;
            if now.is_empty() {
                break;
            }
        }
        incoming.body = rest.to_vec();
        incoming.fds = moved.fds.into_iter().map(|fd| fd.0).collect();
        incoming
            .lack(u64::MAX)
            .map_err(|_| D::Error::custom("a stream with more than one message under way"))?;
        stream.incoming.fds_lost = moved.fds_lost;
        stream.outgoing = moved.outgoing;
        stream.is_over = moved.is_over;
        stream.found = moved.untold.map(RecvTransportError::from);
        Ok(stream)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
