//! Values into messages and out of them, by way of a buffer that is kept for its room.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{RecvError, RecvFailure, RecvIntoError, SendFailure};
use super::transport::{Parts, RecvTransportError, SendTransportError};
use crate::codec;

/// The longest message that is accepted unless something else is set: 1 GiB.
pub(crate) const MAX_MESSAGE: u64 = 1 << 30;

/// The bytes of one message after the other, kept for their room.
///
/// To take new memory from the system costs several times as much as to copy a message into it, so
/// the room of big messages is kept, too, but not for long once they do not come any more:
///
/// - room of up to 64 KiB is kept as long as the buffer;
/// - room of up to 4 MiB is given back after 16 messages in a row that needed less than a quarter;
/// - more room is given back after each message.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How many messages in a row were much smaller than the room.
    small: u8,
}

/// Room that is kept in any case.
const SMALL_ROOM: usize = 64 << 10;

/// The most room that is kept.
const MAX_KEPT_ROOM: usize = 4 << 20;

/// How many small messages in a row give the room back.
const SMALL_IN_A_ROW: u8 = 16;

impl Buffer {
    /// One without room.
    pub(super) const fn new() -> Buffer {
        Buffer { bytes: Vec::new(), small: 0 }
    }

    /// The bytes, of which there are none.
    #[inline]
    fn emptied(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        &mut self.bytes
    }

    /// Gives room back that is not worth keeping, after each message; its bytes are not needed any
    /// more.
    #[inline]
    fn settle(&mut self) {
        if self.bytes.capacity() > SMALL_ROOM {
            self.settle_much();
        }
    }

    #[cold]
    fn settle_much(&mut self) {
        let room = self.bytes.capacity();
        let is_used = self.bytes.len() >= room / 4;
        self.small = if is_used { 0 } else { self.small + 1 };
        if room > MAX_KEPT_ROOM || self.small >= SMALL_IN_A_ROW {
            *self = Buffer::new();
        }
    }
}

/// Encodes a value in at most `most` bytes, and has it sent. A long text, or a long vector of
/// numbers, is sent from where it is.
#[inline]
pub(super) fn send<T: Serialize, E: SendFailure<T>>(
    value: T,
    buffer: &mut Buffer,
    most: usize,
    send: impl FnOnce(Parts<'_>, &[Arc<OwnedFd>]) -> Result<(), SendTransportError>,
) -> Result<(), E> {
    let bytes = buffer.emptied();
    let mut fds = Vec::new();
    let (done, ends) = match codec::encode_front(&value, bytes, most) {
        Some(rest) => (send(Parts { front: bytes, rest }, &fds), codec::Ends::none()),
        None => match codec::encode_within(&value, bytes, most, &mut fds) {
            Ok(ends) => (send(Parts::from(&**bytes), &fds), ends),
            // What was encoded so far is dropped with `ends`: those inside the value stay usable
            // here.
            Err(reason) => return Err(E::new(SendTransportError::Encode(reason), value)),
        },
    };
    // Only a message that went out has taken its ends along.
    if done.is_ok() {
        ends.keep();
    }
    buffer.settle();
    done.map_err(|error| E::new(error, value))
}

/// Receives a message by `recv`, and decodes the value.
#[inline]
pub(super) fn recv<T: DeserializeOwned, E: RecvFailure>(
    buffer: &mut Buffer,
    recv: impl FnOnce(&mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError>,
) -> Result<T, E> {
    let bytes = buffer.emptied();
    let fds = recv(bytes)?;
    let value = codec::decode(bytes, fds);
    buffer.settle();
    value.map_err(|reason| RecvError::Decode(reason).into())
}

/// Receives a message, and puts it at the beginning of `target`; returns its length.
#[inline]
pub(super) fn recv_into<E: RecvFailure>(
    target: &mut [u8],
    buffer: &mut Buffer,
    recv: impl FnOnce(&mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError>,
) -> Result<usize, RecvIntoError<E>> {
    let bytes = buffer.emptied();
    recv(bytes).map_err(E::from)?;
    let length = bytes.len();
    match target.get_mut(..length) {
        Some(part) => part.copy_from_slice(bytes),
        // The message is out of the channel already, so the error carries it: nothing is lost.
        None => return Err(RecvIntoError::BufferTooShort(mem::take(bytes))),
    }
    buffer.settle();
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has a message of that length go through the buffer; returns the room that is left.
    fn room_after(buffer: &mut Buffer, length: usize) -> usize {
        buffer.emptied().resize(length, 0);
        buffer.settle();
        buffer.bytes.capacity()
    }

    #[test]
    fn room_is_kept_for_a_while() {
        let mut buffer = Buffer::new();
        assert!(room_after(&mut buffer, 60_000) >= 60_000);
        for _ in 0..100 {
            assert!(room_after(&mut buffer, 1) >= 60_000, "little room is kept");
        }
        assert!(room_after(&mut buffer, 1 << 20) >= 1 << 20);
        for _ in 1..SMALL_IN_A_ROW {
            assert!(room_after(&mut buffer, 1) >= 1 << 20, "too early");
        }
        assert!(room_after(&mut buffer, 1 << 20) >= 1 << 20);
        for _ in 1..SMALL_IN_A_ROW {
            room_after(&mut buffer, 1);
        }
        assert_eq!(room_after(&mut buffer, 1), 0, "it was not given back");
        assert_eq!(room_after(&mut buffer, MAX_KEPT_ROOM + 1), 0, "too much was kept");
    }
}
