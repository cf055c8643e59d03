//! Values into messages and out of them, by way of a buffer that is kept for its room.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{RecvError, RecvFailure, RecvIntoError, SendFailure};
use super::transport::{RecvTransportError, SendTransportError};
use crate::codec;

/// The longest message that is accepted unless something else is set: 1 GiB.
pub(crate) const MAX_MESSAGE: u64 = 1 << 30;

/// Buffers that grew beyond this are given back.
const MAX_KEPT_BUFFER: usize = 1 << 20;

/// Encodes a value and has it sent.
#[inline]
pub(super) fn send<T: Serialize, E: SendFailure<T>>(
    value: T,
    buffer: &mut Vec<u8>,
    send: impl FnOnce(&[u8], &[Arc<OwnedFd>]) -> Result<(), SendTransportError>,
) -> Result<(), E> {
    buffer.clear();
    let mut fds = Vec::new();
    let ends = match codec::encode_within(&value, buffer, usize::MAX, &mut fds) {
        Ok(ends) => ends,
        // What was encoded so far is dropped with `ends`: those inside the value stay usable here.
        Err(reason) => return Err(E::new(SendTransportError::Encode(reason), value)),
    };
    let done = send(buffer, &fds);
    // Only a message that went out has taken its ends along.
    if done.is_ok() {
        ends.keep();
    }
    forget_if_big(buffer);
    done.map_err(|error| E::new(error, value))
}

/// Receives a message by `recv`, and decodes the value.
#[inline]
pub(super) fn recv<T: DeserializeOwned, E: RecvFailure>(
    buffer: &mut Vec<u8>,
    recv: impl FnOnce(&mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError>,
) -> Result<T, E> {
    buffer.clear();
    let fds = recv(buffer)?;
    let value = codec::decode(buffer, fds);
    forget_if_big(buffer);
    value.map_err(|reason| RecvError::Decode(reason).into())
}

/// Receives a message, and puts it at the beginning of `target`; returns its length.
#[inline]
pub(super) fn recv_into<E: RecvFailure>(
    target: &mut [u8],
    buffer: &mut Vec<u8>,
    recv: impl FnOnce(&mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError>,
) -> Result<usize, RecvIntoError<E>> {
    buffer.clear();
    recv(buffer).map_err(E::from)?;
    let length = buffer.len();
    match target.get_mut(..length) {
        Some(part) => part.copy_from_slice(buffer),
        // The message is out of the channel already, so the error carries it: nothing is lost.
        None => return Err(RecvIntoError::BufferTooShort(mem::take(buffer))),
    }
    forget_if_big(buffer);
    Ok(length)
}

fn forget_if_big(buffer: &mut Vec<u8>) {
    if buffer.capacity() > MAX_KEPT_BUFFER {
        *buffer = Vec::new();
    }
}
