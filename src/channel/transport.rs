//! The errors of transports (rings, sockets, queue cores), from which the public errors are made.

use std::io;

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
