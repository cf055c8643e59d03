//! How a receiving end reads its ring: it puts messages together from records, and sleeps until
//! there are some.
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

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::doorbell::{Bell, Missing};
use super::ring::{Consumer, Corrupt, Kind, Other, Record, Ring};
use crate::channel::spin::Spin;
use crate::channel::transport::RecvTransportError;
use crate::sys::ipc::bell::Heard;
use crate::sys::ipc::socket::Mode;
use crate::sys::wait::poll::Deadline;

/// Records or wake-ups between two looks at the clock while there is something to do.
pub(super) const CLOCK_INTERVAL: u32 = 64;

/// The receiving end without the memory and what is kept, so that these can be borrowed at once.
pub(super) struct Reader {
    pub(super) consumer: Consumer,
    /// Nothing more can be received.
    pub(super) is_over: bool,
    spin: Spin,
}

/// The place where a message goes: behind `start` of `onto`, at most `limit` bytes of it.
pub(super) struct Target<'a> {
    pub(super) onto: &'a mut Vec<u8>,
    pub(super) start: usize,
    pub(super) limit: u64,
}

impl Reader {
    pub(super) fn new(consumer: Consumer) -> Reader {
        Reader { consumer, is_over: false, spin: Spin::new() }
    }

    /// Takes the messages of one record each that are there, up to one of another kind, and no more
    /// than the ring holds at once: a sender that is as fast keeps nobody here.
    #[inline]
    pub(super) fn sip(
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
    #[inline]
    pub(super) fn fill(
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
    pub(super) fn look(&mut self, ring: Ring<'_>, limit: Duration) -> Result<(), Instant> {
        // Told to the sender before spinning, as `wait_for_room` does it the other way round.
        let own = self.spin.own_cpu();
        ring.consumer_is_on(own);
        let consumer = &self.consumer;
        self.spin.until_within(limit, own, ring.producer_cpu(), || !consumer.is_empty(ring))
    }

    /// Notes that a record came that a look since then was in vain for.
    #[cfg(feature = "async")]
    pub(super) fn came_late(&mut self, since: Instant) {
        self.spin.slept(since.elapsed());
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
