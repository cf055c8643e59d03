//! The receiving end of a ring, which keeps what a call did not finish.
//!
//! A call that runs out of time keeps what it has of a message (`begun`) for the next one. A
//! message that `poll` found whole is kept in the same place, and `found` says so.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
#[cfg(feature = "async")]
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::doorbell::Bell;
use super::glance::Glance;
use super::reader::{CLOCK_INTERVAL, Reader, Target};
use super::ring::{Consumer, Corrupt};
use super::segment::Segment;
use crate::channel::transport::RecvTransportError;
use crate::codec::Carried;
use crate::sys::ipc::bell::Heard;
use crate::sys::wait::poll::Deadline;

/// The most messages that one call of `drain` takes by the longer way.
const MAX_LONG_MESSAGES: usize = 64;

/// The receiving end of a ring.
pub(crate) struct Inbound {
    segment: Arc<Segment>,
    place: usize,
    reader: Reader,
    /// The beginning of a message that a call did not finish, or all of one that `poll` found.
    begun: Vec<u8>,
    /// The outcome that `poll` found and `recv` has not returned yet.
    found: Option<Result<Vec<Arc<OwnedFd>>, RecvTransportError>>,
}

impl Inbound {
    pub(crate) fn new(segment: Arc<Segment>, place: usize) -> Inbound {
        let consumer = Consumer::new(segment.ring(place));
        Inbound::with(segment, place, consumer)
    }

    fn with(segment: Arc<Segment>, place: usize, consumer: Consumer) -> Inbound {
        let reader = Reader::new(consumer);
        Inbound { segment, place, reader, begun: Vec::new(), found: None }
    }

    /// Receives one message behind what `onto` holds, and gives what came with it.
    pub(crate) fn recv(
        &mut self,
        bell: &mut Bell,
        onto: &mut Vec<u8>,
        limit: u64,
        deadline: Deadline,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        self.recv_by(bell, onto, limit, Some(deadline))
    }

    /// `recv`; without a deadline, it neither waits nor asks to be woken.
    fn recv_by(
        &mut self,
        bell: &mut Bell,
        onto: &mut Vec<u8>,
        limit: u64,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        let start = onto.len();
        // What an earlier call kept comes first; usually `onto` is empty, and the buffers change
        // places.
        if !self.begun.is_empty() {
            if start == 0 {
                mem::swap(onto, &mut self.begun);
                self.begun.clear();
            } else {
                onto.append(&mut self.begun);
            }
        }
        // `poll` was faster: the message is whole, and its bytes are in `onto` by now.
        if let Some(found) = self.found.take() {
            return found;
        }
        let ring = self.segment.ring(self.place);
        let done = self.reader.fill(ring, bell, &mut Target { onto, start, limit }, deadline);
        match &done {
            Ok(_) => {}
            // Nothing is lost for a lack of time or memory: what came so far waits for the next
            // call.
            Err(RecvTransportError::Empty | RecvTransportError::Os(_)) if start == 0 => {
                mem::swap(onto, &mut self.begun)
            }
            Err(RecvTransportError::Empty | RecvTransportError::Os(_)) => {
                self.begun.extend(onto.drain(start..))
            }
            // The pipe is over, and what came of the message with it.
            Err(_) => onto.truncate(start),
        }
        done
    }

    /// Receives the messages that are there and has `each` see them; whether there may be more. If
    /// not, the descriptor will tell. `onto` is for the one at a time that is looked at; `each` may
    /// keep it.
    pub(crate) fn drain(
        &mut self,
        bell: &mut Bell,
        onto: &mut Vec<u8>,
        limit: u64,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>),
    ) -> Result<bool, RecvTransportError> {
        let ring = self.segment.ring(self.place);
        // The short way is for whole messages of one record, with nothing kept from before.
        if self.begun.is_empty() && self.found.is_none() && !self.reader.is_over {
            self.reader.sip(ring, bell, onto, limit, &mut each);
        }
        // What is in several parts or brings descriptors, what cannot be, and sleeping: the longer
        // way.
        for _ in 0..MAX_LONG_MESSAGES {
            onto.clear();
            match self.recv(bell, onto, limit, Deadline::Now) {
                Ok(fds) => each(onto, fds),
                // Not empty: it has taken many parts of a message, and goes on in the next call.
                Err(RecvTransportError::Empty) => return Ok(!self.is_empty()),
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }

    /// Does what `drain` does, but leaves the flag as it is, without a call of the kernel: for who
    /// goes on looking. Returns true if nothing is left in the ring; if not, `drain` has to follow.
    pub(crate) fn drain_awake(
        &mut self,
        bell: &mut Bell,
        onto: &mut Vec<u8>,
        limit: u64,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>),
    ) -> bool {
        if self.found.is_some() || self.reader.is_over {
            return false;
        }
        for _ in 0..MAX_LONG_MESSAGES {
            if self.begun.is_empty() {
                let ring = self.segment.ring(self.place);
                self.reader.sip(ring, bell, onto, limit, &mut each);
            }
            if self.is_empty() {
                return true;
            }
            onto.clear();
            match self.recv_by(bell, onto, limit, None) {
                Ok(fds) => each(onto, fds),
                Err(RecvTransportError::Empty) => return self.is_empty(),
                // Asked for again by `drain`.
                Err(RecvTransportError::Os(_)) => return false,
                // For `drain`, which tells it.
                Err(fault) => {
                    self.found = Some(Err(fault));
                    return false;
                }
            }
        }
        false
    }

    /// Takes the flag down, so that no wake-up comes over the socket, for who looks at the ring
    /// instead; `look_no_more` has to follow. `own` is the processor of who looks, so that a sender
    /// without room looks for it, too.
    pub(crate) fn glance(&self, own: u64) -> Glance {
        let ring = self.segment.ring(self.place);
        self.reader.consumer.lower_flag(ring);
        ring.consumer_is_on(own);
        let consumer = self.reader.consumer.clone();
        Glance { segment: Arc::clone(&self.segment), place: self.place, consumer, room: None }
    }

    /// Raises the flag again. Returns true if nothing is in the ring; if something is, it came
    /// without a wake-up.
    pub(crate) fn look_no_more(&self) -> bool {
        let ring = self.segment.ring(self.place);
        ring.consumer_is_on(0);
        self.reader.consumer.raise_flag(ring);
        self.is_empty()
    }

    /// See `Consumer::salvage`.
    pub(crate) fn salvage(&self, mark: u32, length: usize, onto: &mut Vec<u8>) -> bool {
        self.reader.consumer.salvage(self.segment.ring(self.place), mark, length, onto)
    }

    /// Returns true if there is no record in the ring.
    pub(crate) fn is_empty(&self) -> bool {
        self.reader.consumer.is_empty(self.segment.ring(self.place))
    }

    /// Returns true if a whole message, or the end, can be received at once; waits for it until the
    /// deadline. The message stays.
    pub(crate) fn poll(
        &mut self,
        bell: &mut Bell,
        limit: u64,
        deadline: Deadline,
    ) -> io::Result<bool> {
        if self.found.is_some() {
            return Ok(true);
        }
        let ring = self.segment.ring(self.place);
        let mut target = Target { onto: &mut self.begun, start: 0, limit };
        let done = self.reader.fill(ring, bell, &mut target, Some(deadline));
        match done {
            Err(RecvTransportError::Empty) => return Ok(false),
            Err(RecvTransportError::Os(error)) => return Err(error),
            Err(_) => self.begun.clear(),
            Ok(_) => {}
        }
        // Errors that end the pipe are found once, and returned by the `recv` that follows.
        self.found = Some(done);
        Ok(true)
    }

    /// Returns true if there is something to receive: the beginning of a message, or the end. If
    /// not, the descriptor turns readable when that may have changed.
    ///
    /// 1. Raise the flag, so that the next record comes with a wake-up.
    /// 2. Look into the ring: what was published before the flag was up came without one.
    /// 3. Take an old wake-up out of the socket, as it would make the descriptor readable for
    ///    nothing. It may have been for a record that came since 2, so back to 1.
    pub(crate) fn is_ready(&self, bell: &Bell) -> io::Result<bool> {
        let ring = self.segment.ring(self.place);
        if self.found.is_some()
            || self.reader.is_over
            || bell.is_over
            || !self.reader.consumer.is_empty(ring)
        {
            return Ok(true);
        }
        for _ in 0..CLOCK_INTERVAL {
            // 1. The flag. 2. The ring. 3. The socket.
            self.reader.consumer.raise_flag(ring);
            if !self.reader.consumer.is_empty(ring) {
                return Ok(true);
            }
            match bell.look()? {
                Heard::Nothing => return Ok(false),
                Heard::Wake => {}
                // The next `recv` says what is wrong.
                Heard::Packet(_) | Heard::End => return Ok(true),
            }
        }
        Ok(false)
    }

    /// See `LooksBriefly`.
    #[cfg(feature = "async")]
    pub(crate) fn look_briefly(&mut self, limit: Duration) -> Option<Instant> {
        let ring = self.segment.ring(self.place);
        let reader = &mut self.reader;
        if self.found.is_some() || reader.is_over || !reader.consumer.is_empty(ring) {
            return None;
        }
        reader.look(ring, limit).err()
    }

    /// See `LooksBriefly`.
    #[cfg(feature = "async")]
    pub(crate) fn came_late(&mut self, since: Instant) {
        self.reader.came_late(since);
    }

    /// Raises the flag before this end is dropped: the next send then rings a socket that nobody
    /// has, and so notices that the receiver is gone.
    pub(crate) fn leave(&self) {
        self.reader.consumer.raise_flag(self.segment.ring(self.place));
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Inbound");
        shown
            .field("capacity", &self.segment.ring(self.place).capacity())
            .field("consumer", &self.reader.consumer);
        shown.field("begun", &self.begun.len()).field("is_over", &self.reader.is_over).finish()
    }
}

/// A receiving end on its way to another process: what is not in the memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MovedInbound {
    consumer: (u64, bool),
    begun: Vec<u8>,
    /// The descriptors of the message that is there already.
    found: Option<Vec<Carried>>,
    is_over: bool,
}

impl Inbound {
    /// Returns what `resume` needs in another process. An error that `poll` found is not in it: the
    /// other process finds it again.
    pub(crate) fn state(&self) -> MovedInbound {
        let carried =
            |fds: &Vec<Arc<OwnedFd>>| fds.iter().map(|fd| Carried(Arc::clone(fd))).collect();
        let found = match &self.found {
            Some(Ok(fds)) => Some(carried(fds)),
            _ => None,
        };
        MovedInbound {
            consumer: self.reader.consumer.state(),
            begun: self.begun.clone(),
            found,
            is_over: self.reader.is_over,
        }
    }

    /// Returns the number of bytes that are here of a message that is not whole.
    #[cfg(test)]
    pub(crate) fn state_has_begun(&self) -> usize {
        self.begun.len()
    }

    /// Makes the end that was in another process, from its `state`.
    pub(crate) fn resume(
        segment: Arc<Segment>,
        place: usize,
        moved: MovedInbound,
    ) -> Result<Inbound, Corrupt> {
        let consumer = Consumer::resume(segment.ring(place), moved.consumer)?;
        let mut inbound = Inbound::with(segment, place, consumer);
        inbound.begun = moved.begun;
        // What `poll` had found goes along, with its descriptors: the other process has not got to
        // find it again.
        inbound.found = moved.found.map(|fds| Ok(fds.into_iter().map(|fd| fd.0).collect()));
        inbound.reader.is_over = moved.is_over;
        Ok(inbound)
    }
}
