//! Messages between processes while one starts another, and the way in which they are sent.
//!
//! ```text
//!  byte 0    0: the rest is in this message; 1: it is in a sealed memory file, the last descriptor
//!  byte 1    how many descriptors the message brings
//!  then      the header's length (4 bytes, the lowest first), the header, the payload
//! ```
//!
//! A header is one of the types below, the payload bytes that only the two ends understand. Sending
//! never blocks: what is too big for an empty socket goes into a memory file, whose descriptor
//! crosses.
//!
//! | who | to whom | what |
//! |---|---|---|
//! | client | fork server | `Setup` once, then `ServerRequest` |
//! | fork server, its clones | client | `ServerReply` |
//! | parent | child | `Job` once, then perhaps `StopRequest` |
//! | child | parent | perhaps `Report::Untied` and `Limit`, then one other `Report` |
//!
//! What comes in is not trusted: `recv` gives a message or an error, in bounded memory, whatever
//! was written.

use std::io;
use std::mem;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::method::StartMethod;
use super::spec::ProcessSpec;
use crate::codec::{self, DecodeLimits};
use crate::log::LogSettings;
use crate::relay::records::Wanted;
use crate::sys::ipc::socket::{self, Mode, Received};
use crate::sys::limits::watch::NOTE_HEAD;
use crate::sys::memory::sealed::{self, Mapping};
#[cfg(feature = "cage")]
use crate::sys::memory::shared::SharedFile;
use crate::sys::program::code::Offset;
use crate::sys::program::environ::Environment;
use crate::sys::{errno, fd};
use crate::unwind::Panic;

/// Parent to child: what to run and as whom. The payload is the encoded arguments.
///
/// Descriptors: the child's end of a lifeline of its own if it is caged, then the
/// streams that `streams` says, then the working directory if `directory` says so, then those of
/// the arguments, then the socket for records if `records` is something.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) spec: ProcessSpec,
    /// The function to run; `None` if it does not cross, but comes with the fork.
    pub(crate) entry: Option<Offset>,
    /// The name of the program for `ps`.
    pub(crate) program: String,
    pub(crate) parent_name: String,
    pub(crate) parent_pid: u32,
    pub(crate) method: StartMethod,
    pub(crate) log: LogSettings,
    /// What of its records goes to its parent.
    pub(crate) records: Option<Wanted>,
    /// Limits of the messages that it decodes.
    pub(crate) decode_limits: DecodeLimits,
    /// Functions for the child's own fork server to run before its first clone.
    pub(crate) preload: Vec<Offset>,
    /// All of the environment, if it is not the fork server's own.
    pub(crate) environment: Option<Environment>,
    /// The standard streams that come as descriptors.
    pub(crate) streams: [bool; 3],
    /// The working directory comes as a descriptor.
    pub(crate) directory: bool,
    /// No status flag of its standard streams is anybody else's.
    #[cfg(feature = "cage")]
    pub(crate) has_own_streams: bool,
}

/// Parent to child, later: a request to end when it suits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StopRequest;

/// Child to parent, once, at its end; but for `Untied` and `Limit`, which come before. Descriptors:
/// those of the value returned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// At its beginning: it will not end with its parent.
    Untied,
    /// The function returned; the payload is the encoded value.
    Returned,
    /// The function panicked.
    Panicked(Panic),
    /// The arguments could not be decoded: the function did not run.
    BadArguments(String),
    /// The result of the function could not be encoded or sent.
    BadResult(String),
    /// The process could not be set up: the function did not run.
    NotRun(String),
    /// The process leaves by `exit` with this code, of which the kernel keeps only 8 bits.
    Exiting(i32),
    /// Before any of these: a limit is about to end it. The payload says which.
    Limit,
}

/// `Report::Limit` as it stands in front of its payload, for a signal handler, which must not
/// allocate. A test compares it with what the codec writes.
pub(crate) const LIMIT_NOTE: [u8; NOTE_HEAD] = [INLINE, 0, 1, 0, 0, 0, 7];

/// Client to fork server, first: what to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Functions to run before the first clone.
    pub(crate) preload: Vec<Offset>,
    /// The client's environment.
    pub(crate) environment: Environment,
}

/// Client to fork server: how things shall be. (Not what to do: then a clone that dies could make
/// the two count apart.)
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServerRequest {
    /// The number of this request.
    pub(crate) number: u64,
    /// The clone of this number is put to use: its end is no business of the server's any more.
    pub(crate) taken: Option<u32>,
    /// So many clones shall be ready or on their way.
    pub(crate) ahead: u32,
}

/// Fork server (or a clone of it) to client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ServerReply {
    /// A clone is ready and waits for its job. `id` is its number as the server sees it.
    /// Descriptor: the socket to it.
    Ready { id: u32 },
    /// A clone died before it was put to use. Descriptor: its pidfd.
    Died,
    /// No clone could be made; the server does not try again before the next request. `request` is
    /// the last that it got.
    Failed { errno: i32, request: u64 },
    /// The server cannot work here, for this reason; it has ended.
    Unfit(String),
    /// A function that was to run before the first clone failed; the server has ended.
    PreloadFailed(String),
}

/// The bytes of a message behind its header: of the message itself, or mapped from its memory file.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Bytes,
    start: usize,
}

/// The bytes as they came: in the message, or mapped.
#[derive(Debug)]
enum Bytes {
    Inline(Vec<u8>),
    Memory(Mapping),
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Inline(bytes) => &bytes[self.start..],
            Bytes::Memory(mapping) => &mapping[self.start..],
        }
    }
}

/// A message as it came in.
#[derive(Debug)]
pub(crate) struct Message<Header> {
    pub(crate) header: Header,
    pub(crate) payload: Payload,
    pub(crate) fds: Vec<OwnedFd>,
}

/// The first byte of a message: where the rest of it is. The second is the number of its
/// descriptors.
const INLINE: u8 = 0;
const IN_MEMORY: u8 = 1;

/// Length that a header may have, in bytes: it is copied into memory when it is decoded, whoever
/// wrote it.
const MAX_HEADER: usize = 256 << 20;

/// Sends a message. Never blocks, whatever its size.
///
/// # Errors
/// EPIPE and ECONNRESET if the other side is gone; EAGAIN if its socket is full; ETOOMANYREFS if
/// too many descriptors of this user are in flight; no memory or descriptor for a big message.
pub(crate) fn send<Header: Serialize>(
    socket: BorrowedFd<'_>,
    header: &Header,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_by(socket, header, payload, fds, |socket, parts, count, fds| {
        let memory = sealed::seal(parts)?;
        send_memory(socket, memory.as_fd(), count, fds)
    })
}

/// `send`; a big message goes into memory that was prepared for one.
#[cfg(feature = "cage")]
pub(crate) fn send_in<Header: Serialize>(
    prepared: &SharedFile,
    socket: BorrowedFd<'_>,
    header: &Header,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_by(socket, header, payload, fds, |socket, parts, count, fds| {
        send_memory(socket, sealed::fill(prepared, parts)?, count, fds)
    })
}

/// Sends a message that is in memory: two bytes, and the descriptors with that of the memory last.
fn send_memory(
    socket: BorrowedFd<'_>,
    memory: BorrowedFd<'_>,
    count: u8,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().copied().chain([memory]).collect();
    socket::send(socket, &[&[IN_MEMORY, count + 1]], &fds)
}

/// Sends a message inline if it fits, otherwise by `send_big`.
fn send_by<Header: Serialize>(
    socket: BorrowedFd<'_>,
    header: &Header,
    payload: &[u8],
    fds: &[BorrowedFd<'_>],
    send_big: impl FnOnce(BorrowedFd<'_>, &[&[u8]], u8, &[BorrowedFd<'_>]) -> io::Result<()>,
) -> io::Result<()> {
    let header = {
        let mut bytes = Vec::new();
        codec::encode_plain(header, &mut bytes).map_err(invalid)?;
        bytes
    };
    let length = u32::try_from(header.len())
        .map_err(|_| invalid("a header of more than 4 GiB"))?
        .to_le_bytes();
    // The kernel passes 253 at most.
    let count = u8::try_from(fds.len())
        .map_err(|_| invalid("more descriptors than fit into one message"))?;
    if 2 + length.len() + header.len() + payload.len() <= socket::LARGEST {
        match socket::send(socket, &[&[INLINE, count], &length, &header, payload], fds) {
            // Where the system's socket buffers are small.
            Err(error) if error.raw_os_error() == Some(errno::MESSAGE_SIZE) => {}
            sent => return sent.map_err(socket::explained),
        }
    }
    send_big(socket, &[&length, &header, payload], count, fds).map_err(socket::explained)
}

/// Makes sure that the next message can be received whole: as many descriptors must be free as it
/// brings. Otherwise the kernel would hand over the message without them (`MSG_CTRUNC`), and they
/// would be lost.
///
/// # Errors
/// EMFILE if there are fewer: the message stays in the socket.
pub(crate) fn room_for_next(socket: BorrowedFd<'_>) -> io::Result<()> {
    let Some([_, count]) = socket::peek(socket)? else { return Ok(()) };
    fd::check_room(socket, count.into())
}

/// Receives a message, or `None` at end-of-file.
///
/// # Errors
/// EWOULDBLOCK if `mode` is not to wait and nothing is there; EMFILE if descriptors were lost;
/// invalid data if it is no message.
pub(crate) fn recv<Header: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    mode: Mode,
) -> io::Result<Option<Message<Header>>> {
    socket::recv(socket, mode)?.map(|mut received| open(&mut received)).transpose()
}

/// Makes a message of what came in. If there is no memory for it, it is left as it was, to be
/// opened later.
pub(crate) fn open<Header: DeserializeOwned>(
    received: &mut Received,
) -> io::Result<Message<Header>> {
    if received.fds_lost {
        return Err(io::Error::from_raw_os_error(errno::NO_DESCRIPTORS));
    }
    let (bytes, offset) = match received.bytes.first() {
        Some(&INLINE) => (Bytes::Inline(mem::take(&mut received.bytes)), 2),
        Some(&IN_MEMORY) => {
            let memory = received
                .fds
                .last()
                .ok_or_else(|| invalid("a big message came without its memory"))?;
            let mapping = Mapping::of(memory.as_fd())?;
            received.fds.pop();
            (Bytes::Memory(mapping), 0)
        }
        _ => return Err(invalid("a message of no known form")),
    };
    if matches!(&bytes, Bytes::Inline(inline) if inline.len() < offset) {
        return Err(invalid("a message of one byte"));
    }
    let mut payload = Payload { bytes, start: offset };
    let Some((length, rest)) = payload.split_first_chunk() else {
        return Err(invalid("a message without a length"));
    };
    let length = u32::from_le_bytes(*length) as usize;
    // Before anything is decoded: lists in a header would be made of the sender's numbers.
    if length > MAX_HEADER {
        return Err(invalid("a message whose header is longer than 256 MiB"));
    }
    let header = rest.get(..length).ok_or_else(|| invalid("a message shorter than it says"))?;
    let header = codec::decode_plain(header).map_err(invalid)?;
    payload.start += size_of::<u32>() + length;
    Ok(Message { header, payload, fds: mem::take(&mut received.fds) })
}

/// An error of bytes that are no message.
fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_big_messages_arrive_whole() {
        for size in [0, 1, socket::LARGEST - 64, socket::LARGEST, 5 << 20] {
            let (a, b) = socket::pair().expect("pair");
            let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
            send(
                a.as_fd(),
                &ServerRequest { number: 1, taken: Some(7), ahead: 1 },
                &payload,
                &[a.as_fd()],
            )
            .expect("send");
            let message =
                recv::<ServerRequest>(b.as_fd(), Mode::Now).expect("recv").expect("a message");
            assert_eq!(message.header.taken, Some(7));
            assert!(*message.payload == *payload, "{size} bytes changed on the way");
            assert_eq!(message.fds.len(), 1);
        }
    }

    #[test]
    fn a_note_is_a_report() {
        let (a, b) = socket::pair().expect("pair");
        let note: Vec<u8> = LIMIT_NOTE.into_iter().chain([4, 1, 0, 0, 0, 0, 0, 0, 0]).collect();
        socket::send(a.as_fd(), &[&note], &[]).expect("send");
        let message = recv::<Report>(b.as_fd(), Mode::Now).expect("recv").expect("a message");
        assert!(matches!(message.header, Report::Limit));
        assert_eq!(message.payload.len(), 9);
    }

    #[test]
    fn garbage_is_an_error() {
        let garbage: [&[u8]; 8] = [
            &[],
            &[9],
            &[INLINE],
            &[IN_MEMORY],
            &[IN_MEMORY, 1],
            &[INLINE, 0, 1, 0],
            &[INLINE, 0, 255, 255, 255, 255, 1],
            &[INLINE, 0, 1, 0, 0, 0, 200],
        ];
        for bytes in garbage {
            let (a, b) = socket::pair().expect("pair");
            // A descriptor makes even an empty message one.
            socket::send(a.as_fd(), &[bytes], &[a.as_fd()]).expect("send");
            assert!(
                recv::<Report>(b.as_fd(), Mode::Now).is_err(),
                "{bytes:?} passed for a message"
            );
        }
    }
}
