//! What a transport of messages can answer, whichever it is; the public errors are made of these.

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
    /// The other side ended inside of a message.
    Cut,
    /// A message is longer than the receiver accepts. What is behind it cannot be received.
    TooLong { length: u64, limit: u64 },
    /// What came is no message, for this reason.
    Garbage(&'static str),
    /// The operating system refused.
    Os(io::Error),
}
