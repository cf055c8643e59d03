//! A message that goes out bit by bit, as there is room.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;

use super::transport::SendTransportError;
use crate::codec::{self, Ends};

/// An encoded message, and how much of it has gone out.
#[derive(Debug)]
pub(crate) struct Unsent {
    bytes: Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    sent: usize,
    /// A part of it is out: the rest has to follow.
    has_begun: bool,
    ends: Ends,
}

impl Unsent {
    /// Encodes a value.
    ///
    /// # Errors
    /// `Encode`, if its type refuses.
    pub(crate) fn of(value: &impl Serialize) -> Result<Unsent, SendTransportError> {
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        let ends = codec::encode_within(value, &mut bytes, usize::MAX, &mut fds)
            .map_err(SendTransportError::Encode)?;
        Ok(Unsent { bytes, fds, sent: 0, has_begun: false, ends })
    }

    /// Has a message of these bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Unsent {
        let bytes = bytes.to_vec();
        Unsent { bytes, fds: Vec::new(), sent: 0, has_begun: false, ends: Ends::none() }
    }

    /// The rest of a message that the end itself keeps.
    pub(crate) fn rest() -> Unsent {
        Unsent { bytes: Vec::new(), fds: Vec::new(), sent: 1, has_begun: true, ends: Ends::none() }
    }

    /// Returns true if a part of it is out.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Sends on by `send`, which is given the bytes, the descriptors and how much is out, and
    /// counts on.
    pub(super) fn push_by(
        &mut self,
        send: impl FnOnce(&[u8], &[Arc<OwnedFd>], &mut usize) -> Result<bool, SendTransportError>,
    ) -> Result<bool, SendTransportError> {
        let done = send(&self.bytes, &self.fds, &mut self.sent);
        self.has_begun |= self.sent > 0;
        done
    }

    /// Sends all of it by `send`, or nothing.
    pub(super) fn push_whole_by(
        &mut self,
        send: impl FnOnce(&[u8], &[Arc<OwnedFd>]) -> Result<(), SendTransportError>,
    ) -> Result<bool, SendTransportError> {
        match send(&self.bytes, &self.fds) {
            Ok(()) => Ok(true),
            Err(SendTransportError::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The message is out: the ends that it carries stay given away.
    pub(crate) fn sent(self) {
        self.ends.keep();
    }
}

/// An end of a channel that sends a message bit by bit.
pub(crate) trait PushesOut {
    /// Sends as much of a message as there is room for; returns true if that is all of it. Never
    /// waits.
    ///
    /// # Errors
    /// Nobody will receive it, or it cannot be sent. Not `Full`.
    fn push(&mut self, unsent: &mut Unsent) -> Result<bool, SendTransportError>;

    /// Returns true if the end may send a part of a message and keep the rest.
    fn may_keep_rest(&self) -> bool {
        false
    }

    /// Returns true if the end keeps the rest of a message that it has sent in part.
    fn has_rest(&self) -> bool {
        false
    }

    /// Ends the channel, as to drop the end does, if it is one that only sends and that nobody else
    /// has.
    fn hang_up(&mut self) {}

    /// Returns true if something to receive may be here of which the descriptor does not tell, as
    /// who waited for room has taken the wake-up.
    fn has_unheard_value(&self) -> bool {
        false
    }
}
