//! The errors of transports (rings, sockets, queue cores), from which the public errors are made.

use std::io;

/// A message that lies in two places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// Its beginning, of a multiple of eight bytes, or nothing.
    pub(crate) front: &'a [u8],
    pub(crate) rest: &'a [u8],
}

impl Parts<'_> {
    /// How many bytes the message has.
    #[inline]
    pub(crate) fn length(&self) -> usize {
        self.front.len() + self.rest.len()
    }
}

impl<'a> From<&'a [u8]> for Parts<'a> {
    /// A message in one piece.
    #[inline]
    fn from(bytes: &'a [u8]) -> Parts<'a> {
        Parts { front: &[], rest: bytes }
    }
}

/// Why a transport did not take a message.
#[derive(Debug)]
pub(crate) enum SendTransportError {
    /// There was no room until the deadline; nothing of the message went out.
    Full,
    /// Nobody will ever receive it.
    Disconnected,
    /// This transport cannot carry descriptors.
    NoDescriptors,
    /// More descriptors than one message can carry.
    TooManyDescriptors,
    /// The message is longer than this transport can carry.
    TooLong,
    /// The value was not encoded, for this reason. (No transport says this; the layer above does.)
    Encode(String),
    /// The shared memory was overwritten by somebody.
    Corrupt,
    /// The operating system refused.
    Os(io::Error),
}

/// Why a transport has no message to give.
#[derive(Debug)]
pub(crate) enum RecvTransportError {
    /// None was there until the deadline; what came of one is kept for the next call.
    Empty,
    /// None will ever come.
    Disconnected,
    /// The peer disconnected in the middle of a message.
    Truncated,
    /// A message is longer than the receiver accepts. What is behind it cannot be received.
    TooLong { length: u64, limit: u64 },
    /// What came is no message, or the shared memory was overwritten, for this reason.
    Corrupt(&'static str),
    /// The operating system refused.
    Os(io::Error),
}
