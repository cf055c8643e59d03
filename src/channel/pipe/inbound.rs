//! The receiving end of a ring: it puts messages together from records, and sleeps until there are
//! some.
//!
//! A call that runs out of time keeps what it has of a message (`begun`) for the next one. A
//! message that `poll` found whole is kept in the same place, and `found` says so.
//!
//! To receive, in this order:
//!
//! 1. Note whether the other side is known to be gone.
//! 2. Look into the ring. If there is a record, take it; its descriptors were sent before it was
//!    published, so they are in the socket by now.
//! 3. If there is none, and 1 said that the other side is gone, this is the end: whatever it sent
//!    was published before it went.
//! 4. Otherwise spin, then raise the flag, look again, and sleep at the socket. Back to 1.
//!
//! The order of 1 and 2 matters: looked at the other way round, a record that is published between
//! the two, by a sender that then ends, would be lost.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::doorbell::{Bell, Missing};
use super::glance::Glance;
use super::ring::{Consumer, Corrupt, Kind, Other, Record, Ring};
use super::segment::Segment;
use crate::channel::spin::Spin;
use crate::channel::transport::RecvTransportError;
use crate::codec::Carried;
use crate::sys::ipc::bell::Heard;
use crate::sys::ipc::socket::Mode;
use crate::sys::wait::poll::Deadline;

/// Records or wake-ups between two looks at the clock while there is something to do.
const CLOCK_INTERVAL: u32 = 64;

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

/// The receiving end without the memory and what is kept, so that these can be borrowed at once.
struct Reader {
    consumer: Consumer,
    /// Nothing more can be received.
    is_over: bool,
    spin: Spin,
}

/// The place where a message goes: behind `start` of `onto`, at most `limit` bytes of it.
struct Target<'a> {
    onto: &'a mut Vec<u8>,
    start: usize,
    limit: u64,
}

impl Inbound {
    pub(crate) fn new(segment: Arc<Segment>, place: usize) -> Inbound {
        let consumer = Consumer::new(segment.ring(place));
        Inbound::with(segment, place, consumer)
    }

    fn with(segment: Arc<Segment>, place: usize, consumer: Consumer) -> Inbound {
        let reader = Reader { consumer, is_over: false, spin: Spin::new() };
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
        self.reader.spin.slept(since.elapsed());
    }

    /// Raises the flag before this end is dropped: the next send then rings a socket that nobody
    /// has, and so notices that the receiver is gone.
    pub(crate) fn leave(&self) {
        self.reader.consumer.raise_flag(self.segment.ring(self.place));
    }
}

impl Reader {
    /// Takes the messages of one record each that are there, up to one of another kind, and no more
    /// than the ring holds at once: a sender that is as fast keeps nobody here.
    fn sip(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        onto: &mut Vec<u8>,
        limit: u64,
        each: &mut impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>),
    ) {
        let mut taken = 0;
        let mut held = 0;
        while let Ok(Some(record)) = self.consumer.peek(ring) {
            let is_plain =
                record.kind == Kind::Last && record.fds == 0 && !self.consumer.is_inside();
            onto.clear();
            if !is_plain || record.length as u64 > limit || onto.try_reserve(record.length).is_err()
            {
                break;
            }
            // Taken without giving its room back: a fence for each message costs more than the copy
            // of a short one.
            self.consumer.take_quietly(ring, record, onto);
            let size = record.length as u64 + 8;
            held += size;
            // Some room back now and then, so that the other side can go on meanwhile.
            // A quarter of the ring: the sender never waits long for room, and the fence is paid
            // seldom.
            if held >= ring.capacity() / 4 {
                held = 0;
                self.give_back(ring, bell);
            }
            each(onto, Vec::new());
            taken += size;
            if taken >= ring.capacity() {
                break;
            }
        }
        if held > 0 {
            self.give_back(ring, bell);
        }
    }

    /// Gives the room of all that was taken back, and wakes a sender that waits for it.
    fn give_back(&self, ring: Ring<'_>, bell: &mut Bell) {
        if self.consumer.give_back(ring) == Other::Sleeps {
            // Whether anybody is there is no matter: what was sent is received.
            let _ = bell.wake();
        }
    }

    /// Takes records until a message is whole, in the steps that stand at the top of this file;
    /// without a deadline, until there are no more.
    fn fill(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        target: &mut Target<'_>,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        if self.is_over {
            return Err(RecvTransportError::Disconnected);
        }
        let mut waiting = Waiting { since: None };
        let mut turns = 0_u32;
        loop {
            // Seen before the ring is: what is in it then is all that there will be.
            // Steps 1 to 3 of those at the top: the end that is known before the look is the end.
            let is_last_look = bell.is_over;
            match self.consumer.peek(ring) {
                Ok(Some(record)) => {
                    if let Some(fds) = self.accept(ring, record, bell, target)? {
                        waiting.came(&mut self.spin);
                        return Ok(fds);
                    }
                }
                Ok(None) if is_last_look => {
                    self.is_over = true;
                    // An end between messages is in order; one inside of a message is a sender that
                    // was killed over it.
                    let cut = self.consumer.is_inside();
                    return Err(if cut {
                        RecvTransportError::Truncated
                    } else {
                        RecvTransportError::Disconnected
                    });
                }
                Ok(None) => match deadline {
                    Some(deadline) => self.wait(ring, bell, deadline, &mut waiting)?,
                    None => return Err(RecvTransportError::Empty),
                },
                Err(corrupt) => return Err(self.garbage(bell, corrupt)),
            }
            // A peer that is always about to send does not keep us beyond the deadline.
            turns += 1;
            if turns.is_multiple_of(CLOCK_INTERVAL)
                && deadline.is_none_or(|deadline| deadline.is_over())
            {
                return Err(RecvTransportError::Empty);
            }
        }
    }

    /// Takes a record; returns the descriptors of the message if that was its end.
    ///
    /// The checks come before `take`, so that a record that cannot be taken for a lack of memory or
    /// of descriptors stays, and the call can be made again.
    fn accept(
        &mut self,
        ring: Ring<'_>,
        record: Record,
        bell: &mut Bell,
        Target { onto, start, limit }: &mut Target<'_>,
    ) -> Result<Option<Vec<Arc<OwnedFd>>>, RecvTransportError> {
        let (start, limit) = (*start, *limit);
        // The parts that came before count: a limit is for the message, not for each record.
        let length = (onto.len() - start + record.length) as u64;
        // Before any room is made for it: what a header claims is not to be believed.
        if length > limit {
            self.end(bell);
            return Err(RecvTransportError::TooLong { length, limit });
        }
        let fds = match record.fds {
            0 => Vec::new(),
            // They were sent before the record was published, so they are there, or never will be.
            count => match bell.packet(count) {
                Ok(fds) => fds,
                Err(Missing::Os(error)) => return Err(RecvTransportError::Os(error)),
                Err(Missing::Never) => {
                    return Err(self.garbage(bell, Corrupt("its descriptors did not come")));
                }
            },
        };
        if onto.try_reserve(record.length).is_err() {
            if !fds.is_empty() {
                bell.put_back(fds);
            }
            return Err(RecvTransportError::Os(io::ErrorKind::OutOfMemory.into()));
        }
        // Only now the record is gone from the ring. All that can fail came before.
        if self.consumer.take(ring, record, onto) == Other::Sleeps {
            // Whether anybody is there is no matter: what was sent is received.
            let _ = bell.wake();
        }
        match record.kind {
            Kind::Last => return Ok(Some(fds)),
            // The sender gave up in the middle; what it sends next is another message.
            Kind::Abort => onto.truncate(start),
            Kind::Part => {}
        }
        Ok(None)
    }

    /// Waits until there may be a record in the ring, or something came over the socket. It spins
    /// once for each message, then sleeps.
    fn wait(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        deadline: Deadline,
        waiting: &mut Waiting,
    ) -> Result<(), RecvTransportError> {
        if waiting.since.is_none() && !matches!(deadline, Deadline::Now) {
            match self.look(ring, Duration::MAX) {
                Ok(()) => return Ok(()),
                Err(since) => waiting.since = Some(since),
            }
        }
        // This order: the flag, then the ring. The producer's is the other way round, so one of us
        // sees the other.
        self.consumer.raise_flag(ring);
        if !self.consumer.is_empty(ring) {
            self.consumer.lower_flag(ring);
            return Ok(());
        }
        // The count is loaded after the flag was raised: a sender that announces a packet later
        // sees the flag, and wakes us before it sends the packet.
        let heard = if ring.expects_packet(bell.packets_came()) {
            bell.hear_or_take()
        } else {
            // One call at a time: whoever sends a packet takes the flag down and wakes us before.
            bell.hear(if matches!(deadline, Deadline::Never) { Mode::Wait } else { Mode::Now })
        };
        match heard.map_err(RecvTransportError::Os)? {
            Heard::Wake | Heard::End => Ok(()),
            Heard::Packet(_) => Err(self.garbage(bell, Corrupt("descriptors without a message"))),
            Heard::Nothing if matches!(deadline, Deadline::Now) => Err(RecvTransportError::Empty),
            // Nothing in the ring and nothing in the socket: whatever comes from now on makes the
            // socket readable.
            Heard::Nothing => match bell.sleep(deadline).map_err(RecvTransportError::Os)? {
                true => Ok(()),
                // At the deadline, one more look: a wake-up may be late, a record never is.
                false if self.consumer.is_empty(ring) => Err(RecvTransportError::Empty),
                false => Ok(()),
            },
        }
    }

    /// Looks for a record as long as that is worth it, and for `limit` at the most. In vain, it
    /// gives the time when it began.
    fn look(&mut self, ring: Ring<'_>, limit: Duration) -> Result<(), Instant> {
        // Told to the sender before spinning, as `wait_for_room` does it the other way round.
        let own = self.spin.own_cpu();
        ring.consumer_is_on(own);
        let consumer = &self.consumer;
        self.spin.until_within(limit, own, ring.producer_cpu(), || !consumer.is_empty(ring))
    }

    /// Ends the pipe because of what the other side wrote.
    fn garbage(&mut self, bell: &mut Bell, Corrupt(why): Corrupt) -> RecvTransportError {
        self.end(bell);
        RecvTransportError::Corrupt(why)
    }

    /// Ends the pipe: nothing more can be received. The other side is told, so that it does not
    /// wait for room for ever.
    fn end(&mut self, bell: &mut Bell) {
        self.is_over = true;
        bell.shut();
    }
}

/// The record of a wait, from which the next one learns how long to spin.
struct Waiting {
    /// Since when, if looking did not help.
    since: Option<Instant>,
}

impl Waiting {
    /// Reports that the message came.
    fn came(&self, spin: &mut Spin) {
        if let Some(since) = self.since {
            spin.slept(since.elapsed());
        }
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
