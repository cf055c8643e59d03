//! The sending end of a ring: it turns messages into records, and sleeps until there is room.
//!
//! A message of up to an eighth of the ring is one record. A longer one goes in parts, each as soon
//! as there is room for it, while the receiver takes those before. Descriptors go over the socket
//! ahead of the last record, which says how many they are.
//!
//! ```text
//!   try_send      room for all of it, or nothing is written
//!   send          part, part, ... last; waits before each
//!   deadline hit  between two parts: an `Abort` record takes the place of the rest
//! ```
//!
//! A sender that is killed leaves the message before whole, and of the last one nothing or a
//! beginning without an end, which the receiver reports as truncated.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::doorbell::{Bell, wake};
use super::glance::Prospect;
use super::parts::{first_part, next_part};
use super::ring::{Corrupt, Kind, Producer, Ring};
use super::segment::Segment;
use crate::channel::spin::Spin;
use crate::channel::transport::{Parts, SendTransportError};
use crate::codec::MAX_FDS;
use crate::sys::ipc::bell::{Heard, Sent};
use crate::sys::wait::poll::{self, Deadline};

/// Messages between checks for a receiver that is gone. (A send that has to wait notices at once.)
const CHECK_INTERVAL: u32 = 64;

/// How long to sleep at a time where nobody can wake us.
const BLIND: Duration = Duration::from_millis(1);

/// The sending end of a ring.
pub(crate) struct Outbound {
    segment: Arc<Segment>,
    place: usize,
    writer: Writer,
}

/// The sending end without the memory, so that both can be borrowed at once.
struct Writer {
    producer: Producer,
    spin: Spin,
    count: u32,
    /// The room, in bytes, that the last message lacked; 0 if it was sent.
    lacked: u64,
}

impl Outbound {
    pub(crate) fn new(segment: Arc<Segment>, place: usize) -> Outbound {
        Outbound::with(segment, place, Producer::new())
    }

    fn with(segment: Arc<Segment>, place: usize, producer: Producer) -> Outbound {
        Outbound {
            segment,
            place,
            writer: Writer { producer, spin: Spin::new(), count: 0, lacked: 0 },
        }
    }

    /// Makes the end that was in another process, from its `state`.
    pub(crate) fn resume(
        segment: Arc<Segment>,
        place: usize,
        state: [u64; 2],
    ) -> Result<Outbound, Corrupt> {
        let producer = Producer::resume(segment.ring(place), state)?;
        Ok(Outbound::with(segment, place, producer))
    }

    /// Returns what `resume` needs in another process.
    pub(crate) fn state(&self) -> [u64; 2] {
        self.writer.producer.state()
    }

    /// Sends one message; waits for room until the deadline. On an error, the other side does not
    /// receive it.
    pub(crate) fn send(
        &mut self,
        bell: &mut Bell,
        bytes: &[u8],
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        if fds.len() > MAX_FDS {
            return Err(SendTransportError::TooManyDescriptors);
        }
        if bell.is_over {
            return Err(SendTransportError::Disconnected);
        }
        self.writer.send(self.segment.ring(self.place), bell, bytes.into(), fds, deadline)
    }

    /// As `send`, of a message that lies in two places, perhaps.
    ///
    /// Inlined: address and length of a message that was just encoded, put together in memory for a
    /// call, would take longer to read there than all of a short message.
    #[inline(always)]
    pub(crate) fn send_parts(
        &mut self,
        bell: &mut Bell,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        match parts.front {
            [] => self.send(bell, parts.rest, fds, deadline),
            _ if bell.is_over => Err(SendTransportError::Disconnected),
            _ => self.writer.send(self.segment.ring(self.place), bell, parts, fds, deadline),
        }
    }

    /// Tells the receiver on which processor the sender is, and returns that of the receiver; 0 if
    /// it has not said.
    pub(crate) fn sender_is_on(&self, cpu: u64) -> u64 {
        let ring = self.segment.ring(self.place);
        ring.producer_is_on(cpu);
        ring.consumer_cpu()
    }

    /// Publishes a short message without descriptors if there is room, and wakes nobody; returns
    /// true if it did.
    pub(crate) fn push_quietly(&mut self, bytes: &[u8]) -> Result<bool, SendTransportError> {
        let ring = self.segment.ring(self.place);
        let producer = &mut self.writer.producer;
        let fits = bytes.len() <= ring.longest()
            && producer
                .has_room(ring, Producer::room_for(Kind::Last, bytes.len()))
                .map_err(corrupt)?;
        if fits {
            producer.push_quietly(ring, Kind::Last, bytes);
        }
        Ok(fits)
    }

    /// Returns true if a message of that length could be published as one record now.
    pub(crate) fn has_room(&mut self, length: usize) -> Result<bool, SendTransportError> {
        let ring = self.segment.ring(self.place);
        let producer = &mut self.writer.producer;
        Ok(length <= ring.longest()
            && producer.has_room(ring, Producer::room_for(Kind::Last, length)).map_err(corrupt)?)
    }

    /// See `Producer::write_ahead`. There is room for it.
    #[inline]
    pub(crate) fn write_ahead(&self, from: usize, bytes: &[u8]) {
        self.writer.producer.write_ahead(self.segment.ring(self.place), from, bytes);
    }

    /// See `Producer::publish`.
    pub(crate) fn publish(&mut self, length: usize) {
        self.writer.producer.publish(self.segment.ring(self.place), length);
    }

    /// See `Producer::mark`.
    pub(crate) fn mark(&self) -> u32 {
        self.writer.producer.mark()
    }

    /// Returns true if the next part of a message, of which `left` bytes are left, could go out
    /// now.
    pub(crate) fn has_room_for_next(&mut self, left: usize) -> bool {
        let ring = self.segment.ring(self.place);
        let room = match ring.longest() {
            longest if left > longest => Producer::room_for(Kind::Part, longest),
            _ => Producer::room_for(Kind::Last, left),
        };
        // What is corrupt is found by who sends.
        self.writer.producer.has_room(ring, room).unwrap_or(true)
    }

    /// Wakes the other side, if it sleeps, for what was pushed quietly.
    pub(crate) fn wake_receiver(&mut self, bell: &mut Bell) -> Result<(), SendTransportError> {
        wake(bell, self.writer.producer.wake_now(self.segment.ring(self.place)))
    }

    /// Returns true if there is room for the message that was refused last (for a byte, if none
    /// was), or if the other side is gone. If not, the descriptor tells when that may have changed.
    ///
    /// 1. Take the wake-ups that came before. One of them may have been for who receives at this
    ///    end, which looks at its ring before it sleeps.
    /// 2. Write the wish, and look. The consumer moves `head` before it reads the wish: so either
    ///    there is room now, or it sends a wake-up, which stays, as nobody takes it meanwhile.
    pub(crate) fn poll_room(&self, bell: &Bell) -> io::Result<bool> {
        for _ in 0..CHECK_INTERVAL {
            match bell.look()? {
                Heard::Wake => {}
                Heard::End => return Ok(true),
                Heard::Nothing | Heard::Packet(_) => break,
            }
        }
        Ok(bell.is_over || self.wish_for_room())
    }

    /// Does the second step of `poll_room`, for who has taken the wake-ups before.
    pub(crate) fn wish_for_room(&self) -> bool {
        let ring = self.segment.ring(self.place);
        let least = Producer::room_for(Kind::Last, 1);
        let bytes = self.writer.lacked.clamp(least, ring.capacity());
        let producer = &self.writer.producer;
        producer.wish(ring, bytes);
        // What is corrupt is found by who sends.
        let has_room = producer.sees_room(ring, bytes).unwrap_or(true);
        if has_room {
            producer.withdraw_wish(ring);
        }
        has_room
    }

    /// Sends as much of a message as there is room for now; returns true if that is all. `sent` is
    /// how much went out before. Without room, the descriptor tells when there is some. Until it is
    /// all, no other message may be sent.
    pub(crate) fn send_some(
        &mut self,
        bell: &mut Bell,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        sent: &mut usize,
    ) -> Result<bool, SendTransportError> {
        if bell.is_over {
            return Err(SendTransportError::Disconnected);
        }
        let ring = self.segment.ring(self.place);
        self.writer.send_some(ring, bell, parts, fds, sent)
    }

    /// `send_some` without descriptors, and without being told of room: for who looks for it.
    pub(crate) fn send_some_awake(
        &mut self,
        bell: &mut Bell,
        parts: Parts<'_>,
        sent: &mut usize,
    ) -> Result<bool, SendTransportError> {
        if bell.is_over {
            return Err(SendTransportError::Disconnected);
        }
        let ring = self.segment.ring(self.place);
        self.writer.send_some_awake(ring, bell, parts, sent)
    }

    /// Returns a look at the room for what is left of a message.
    pub(crate) fn prospect(&self, left: usize) -> Prospect {
        let producer = self.writer.producer.clone();
        Prospect::new(Arc::clone(&self.segment), self.place, producer, left)
    }
}

impl Writer {
    /// Sends a message, in one record if it fits.
    #[inline]
    fn send(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        self.count = self.count.wrapping_add(1);
        // A sender that always finds room never sleeps at the socket, so it would not learn that
        // nobody receives.
        if self.count.is_multiple_of(CHECK_INTERVAL) {
            self.look_around(ring, bell)?;
        }
        // `wait_for_room` sets it again if this message is refused.
        self.lacked = 0;
        if parts.front.is_empty() && parts.rest.len() <= ring.longest() {
            // The usual case: one record, published by one store. Who dies before it has sent
            // nothing.
            return self.send_last(ring, bell, parts.rest, fds, deadline);
        }
        self.send_long(ring, bell, parts, fds, deadline)
    }

    /// Sends a message in several records.
    fn send_long(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        if matches!(deadline, Deadline::Now) {
            // All or nothing.
            let of_front = match parts.front.len() {
                0 => 0,
                length => Producer::room_for(Kind::Part, length),
            };
            let room = of_front + ring.room_for(parts.rest.len());
            self.wait_for_room(ring, bell, room, deadline)?;
        }
        // Once a part is out, giving up has to be said, or the next message would be taken for the
        // rest.
        let mut has_begun = false;
        // With time to wait, the parts go out one by one while the receiver makes room: so a
        // message may be longer than the ring.
        let done = self.send_records(ring, bell, parts, fds, deadline, &mut has_begun);
        if done.is_err() && has_begun {
            // There is room: each part has left it.
            // The receiver drops what it has of the message, and takes the next one for a new one.
            // A sender that dies before this leaves a message without an end, which the receiver
            // tells from an orderly one.
            let other = self.producer.push(ring, Kind::Abort, 0, &[]);
            let _ = wake(bell, other);
        }
        done
    }

    /// Sends the records one by one. What lies in front of the rest has one of its own.
    fn send_records(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
        has_begun: &mut bool,
    ) -> Result<(), SendTransportError> {
        let Parts { front, rest: mut bytes } = parts;
        if !front.is_empty() {
            self.send_part(ring, bell, front, deadline, has_begun)?;
        }
        while let Some((part, rest)) = first_part(ring, bytes) {
            self.send_part(ring, bell, part, deadline, has_begun)?;
            bytes = rest;
        }
        self.send_last(ring, bell, bytes, fds, deadline)
    }

    /// Sends a part of a message that is not its last record. From `has_begun` on, the receiver is
    /// in the middle of a message.
    ///
    /// A receiver that sleeps is woken when the ring is full or the message whole: on our
    /// processor, it would take one part at a time.
    fn send_part(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        part: &[u8],
        deadline: Deadline,
        has_begun: &mut bool,
    ) -> Result<(), SendTransportError> {
        self.wait_for_room(ring, bell, Producer::room_for(Kind::Part, part.len()), deadline)?;
        self.producer.push_quietly(ring, Kind::Part, part);
        *has_begun = true;
        Ok(())
    }

    fn send_some(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        sent: &mut usize,
    ) -> Result<bool, SendTransportError> {
        let done = loop {
            let left = parts.length() - *sent;
            // Each step is a part, or the last record with its descriptors. Nothing here waits.
            let step = match next_part(ring, parts, *sent) {
                (rest, true) => {
                    self.send_last(ring, bell, rest, fds, Deadline::Now).map(|()| rest.len())
                }
                (part, false) => {
                    self.send_part(ring, bell, part, Deadline::Now, &mut true).map(|()| part.len())
                }
            };
            match step {
                Ok(length) => *sent += length,
                Err(SendTransportError::Full) if left > ring.longest() => {
                    // A wish for more than the next part, so as not to be woken for each.
                    let more = ring.room_for(left).min(ring.capacity() / 2);
                    // As in `sleep_for_room`: the wish, then the look; but it is the caller who
                    // sleeps, at the descriptor.
                    self.producer.wish(ring, more);
                    if !self.producer.has_room(ring, more).map_err(corrupt)? {
                        break false;
                    }
                    self.producer.withdraw_wish(ring);
                }
                Err(SendTransportError::Full) => break false,
                Err(fault) => return Err(fault),
            }
            if *sent == parts.length() {
                break true;
            }
        };
        Ok(done)
    }

    fn send_some_awake(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        parts: Parts<'_>,
        sent: &mut usize,
    ) -> Result<bool, SendTransportError> {
        while *sent < parts.length() {
            let (part, is_last) = next_part(ring, parts, *sent);
            let kind = if is_last { Kind::Last } else { Kind::Part };
            let room = Producer::room_for(kind, part.len());
            if !self.producer.has_room(ring, room).map_err(corrupt)? {
                break;
            }
            self.producer.push_quietly(ring, kind, part);
            *sent += part.len();
        }
        wake(bell, self.producer.wake_now(ring))?;
        Ok(*sent == parts.length())
    }

    /// Sends the last record of a message, or the only one.
    #[inline]
    fn send_last(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        bytes: &[u8],
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        self.wait_for_room(ring, bell, Producer::room_for(Kind::Last, bytes.len()), deadline)?;
        if !fds.is_empty() {
            // Room for the record is there before the packet is sent: a packet whose record cannot
            // follow could not be taken back.
            self.send_packet(ring, bell, fds, deadline)?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 240")]
        let other = self.producer.push(ring, Kind::Last, fds.len() as u8, bytes);
        wake(bell, other)
    }

    /// Sends descriptors ahead of the record that they belong to. There is room for that: whoever
    /// receives them finds it.
    ///
    /// 1. Announce the packet in the ring.
    /// 2. Wake a receiver that sleeps, as it may sleep in a call that does not take packets.
    /// 3. Send the packet.
    /// 4. (By the caller:) publish the record.
    ///
    /// A sender that dies between 3 and 4 leaves a packet without a record, which the receiver
    /// drops with its end.
    fn send_packet(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        // 1. The announcement. Who dies behind it leaves the receiver looking for a packet until it
        //    sees the end.
        let other = self.producer.announce_packet(ring);
        let producer = &mut self.producer;
        // The kernel limits the descriptors in flight of a user. At the limit, a receiver that has
        // something to receive will make room; one that has received all will not, and then it is
        // an error.
        let is_behind = || producer.is_ahead(ring).unwrap_or(false);
        // 2. The wake-up. 3. The packet.
        let fault = match wake(bell, other).map(|()| bell.send_packet(fds, deadline, is_behind)) {
            Ok(Ok(Sent::Done)) => return Ok(()),
            Ok(Ok(Sent::NoRoom)) => SendTransportError::Full,
            Ok(Ok(Sent::PeerGone)) => SendTransportError::Disconnected,
            Ok(Err(error)) => SendTransportError::Os(error),
            Err(fault) => fault,
        };
        self.producer.withdraw_packet(ring);
        Err(fault)
    }

    /// Publishes our processor, and looks for a receiver that is gone if it has taken nothing since
    /// the last time: one that takes records is there, and asking the kernel costs a call.
    fn look_around(&mut self, ring: Ring<'_>, bell: &mut Bell) -> Result<(), SendTransportError> {
        ring.producer_is_on(self.spin.own_cpu());
        // Looked at anyway now and then, so that the head that is kept here does not fall far
        // behind.
        let goes_on = self.producer.look(ring).map_err(corrupt)?;
        if !goes_on && bell.is_deserted().map_err(SendTransportError::Os)? {
            bell.is_over = true;
            return Err(SendTransportError::Disconnected);
        }
        Ok(())
    }

    /// Waits for room for `bytes`.
    #[inline]
    fn wait_for_room(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        bytes: u64,
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        // The usual case is inlined into whoever sends: it is two loads of memory of its own.
        if self.producer.has_room(ring, bytes).map_err(corrupt)? {
            return Ok(());
        }
        self.spin_and_sleep(ring, bell, bytes, deadline)
    }

    /// Waits for room that is not there: spins while the receiver is on another processor, then
    /// sleeps.
    #[cold]
    fn spin_and_sleep(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        bytes: u64,
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        // For the parts that were sent quietly: it is to make room.
        wake(bell, self.producer.wake_now(ring))?;
        if matches!(deadline, Deadline::Now) {
            return self.sleep_for_room(ring, bell, bytes, deadline);
        }
        // Told to the receiver before spinning: it spins in turn only if we are on another
        // processor.
        let own = self.spin.own_cpu();
        ring.producer_is_on(own);
        let producer = &mut self.producer;
        let has_room = || producer.has_room(ring, bytes).unwrap_or(true);
        // Whether it helped or not, what follows looks again.
        let helped = self.spin.until(own, ring.consumer_cpu(), has_room);
        self.sleep_for_room(ring, bell, bytes, deadline)?;
        if let Err(since) = helped {
            self.spin.slept(since.elapsed());
        }
        Ok(())
    }

    /// Sleeps until there is room for `bytes`, in these steps:
    ///
    /// 1. Write the wish, with a fence.
    /// 2. Look for room. The receiver moves `head` before it reads the wish, so one of us sees the
    ///    other.
    /// 3. Take a wake-up that is there, or sleep until one comes or the other side is gone.
    ///
    /// A receiver that dies before it sends the wake-up closes the socket, which ends the sleep.
    fn sleep_for_room(
        &mut self,
        ring: Ring<'_>,
        bell: &mut Bell,
        bytes: u64,
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        let mut looks = 0;
        loop {
            if self.producer.has_room(ring, bytes).map_err(corrupt)? {
                return Ok(());
            }
            // 1. The wish. 2. The look.
            self.producer.wish(ring, bytes);
            if self.producer.has_room(ring, bytes).map_err(corrupt)? {
                self.producer.withdraw_wish(ring);
                return Ok(());
            }
            // 3. A packet is for who receives at this end of a connection: it stays where it is.
            match bell.hear_no_packet().map_err(SendTransportError::Os)? {
                // The last copy of the other end is closed: nobody will make room any more.
                Heard::End => return Err(SendTransportError::Disconnected),
                // Old, or for this wish and since the look: nobody would tell of that room again.
                Heard::Wake if looks < CHECK_INTERVAL || !deadline.is_over() => looks += 1,
                // At the deadline, the wish stays: the descriptor tells when there is room.
                _ if deadline.is_over() => {
                    self.lacked = bytes;
                    return Err(SendTransportError::Full);
                }
                Heard::Nothing | Heard::Wake => {
                    bell.sleep(deadline).map_err(SendTransportError::Os)?;
                }
                // It is for who receives at this end, and the wake-ups are behind it.
                Heard::Packet(_) => {
                    poll::readable(&[], deadline.within_next(BLIND))
                        .map_err(SendTransportError::Os)?;
                }
            }
        }
    }
}

fn corrupt(_: Corrupt) -> SendTransportError {
    SendTransportError::Corrupt
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Outbound");
        shown
            .field("capacity", &self.segment.ring(self.place).capacity())
            .field("producer", &self.writer.producer)
            .finish()
    }
}
