//! Putting records into a queue and getting them out: what happens in which order, and what is left
//! when a process dies between two steps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::carry;
use super::core::{Held, LONGEST_HOLD, NO_GET, QueueCore, Want};
use super::growable::{Record, RingError};
use crate::channel::cells::Ordering;
use crate::channel::transport::{Parts, RecvTransportError, SendTransportError};
use crate::sys::ipc::socket;
use crate::sys::process::threads;
use crate::sys::wait::poll::Deadline;

/// How long one who waits to get may take to come awake for what is handed over at once.
const LONGEST_AWAKENING: Duration =
    Duration::from_millis(if cfg!(multiproc_fuzz) { 0 } else { 10 });

/// The records that may lie in the ring, taken back, before a further one waits to be offered.
const MAX_LEFT: u64 = 8;

/// The most stale records that are thrown away before one looks at the time.
const MAX_STALE: u32 = 64;

impl From<RingError<io::Error>> for SendTransportError {
    fn from(fault: RingError<io::Error>) -> SendTransportError {
        match fault {
            RingError::Full => SendTransportError::Os(io::ErrorKind::OutOfMemory.into()),
            RingError::TooLong => SendTransportError::TooLong,
            RingError::Corrupt => SendTransportError::Corrupt,
            RingError::Store(error) => SendTransportError::Os(error),
        }
    }
}

impl From<RingError<io::Error>> for RecvTransportError {
    fn from(fault: RingError<io::Error>) -> RecvTransportError {
        match fault {
            RingError::Full | RingError::TooLong | RingError::Corrupt => {
                RecvTransportError::Corrupt("the shared memory of the queue was overwritten")
            }
            RingError::Store(error) => RecvTransportError::Os(error),
        }
    }
}

impl QueueCore {
    /// Puts a record, when there are fewer than `most`; if that is 0, hands it over to one who
    /// gets.
    pub(crate) fn put(
        &self,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        most: u64,
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        let growable = self.memory.growable();
        let is_hopeless =
            // The holder sleeps there for one of two reasons: for room, or for its descriptors to
            // be received. In both cases the queue is as good as full for whoever has no time.
            || self.count() >= most || self.memory.flags().put_waits.load(Ordering::Relaxed) != 0;
        let end = self
            .enter(self.memory.put_end(), deadline, is_hopeless)
            .ok_or(SendTransportError::Full)?;
        if end.inherited {
            // It may have died while it waited.
            self.memory.flags().put_waits.store(0, Ordering::Relaxed);
        }
        if self.is_shut_down() {
            return Err(SendTransportError::Disconnected);
        }
        // A queue without room has a protocol of its own; the lock is the same, so that one offer
        // at a time stands.
        if most == 0 {
            return self.hand_over(&end, parts, fds, deadline);
        }
        if most != u64::MAX && growable.count()? >= most {
            // The count is exact enough: those who put are kept out by the lock, and those who get
            // only make it less.
            let may_go_on = || self.count() < most || self.is_shut_down();
            if !self.sleep(Want::Room, deadline, may_go_on) {
                return Err(SendTransportError::Full);
            }
            if self.is_shut_down() {
                return Err(SendTransportError::Disconnected);
            }
        }
        self.publish(&end, parts, fds, deadline, false).map(drop)
    }

    /// Writes and publishes a record, on offer or not, and wakes who gets. Gives its number, if it
    /// has one.
    ///
    /// 1. Write the record where nobody looks yet.
    /// 2. Send its descriptors, if there are any.
    /// 3. Arm the alarm, publish, wake, disarm.
    ///
    /// Who dies before 3 has put nothing; what it wrote is overwritten, what it sent is thrown
    /// away. Who dies within 3 has put the record, and the kernel wakes who gets in its place.
    fn publish(
        &self,
        end: &Held<'_>,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
        is_offer: bool,
    ) -> Result<u32, SendTransportError> {
        let growable = self.memory.growable();
        // 1. Find the place, and take memory for it. A refusal has changed nothing.
        let place = growable.prepare(parts.length())?;
        let descriptors =
            u8::try_from(fds.len()).map_err(|_| SendTransportError::TooManyDescriptors)?;
        // 2. Give the record a number, if anything refers to it. The number is stored before it is
        //    used: who dies from here on leaves a gap, never two of the same number.
        let number = match (descriptors, is_offer) {
            (0, false) => 0,
            _ => growable.next_number(),
        };
        // 3. Write the record behind the tail, where nobody looks yet. Who dies here has written
        //    what the next one overwrites.
        growable.fill(&place, descriptors, number, [parts.front, parts.rest])?;
        if descriptors > 0 {
            let put_waits = self.memory.flags().put_waits;
            // 4. Send the descriptors ahead, so that whoever finds the record finds them. Who dies
            //    here leaves a lot that no record asks for; see `carry`.
            carry::send(self.put_end.as_fd(), put_waits, number, fds, deadline)?;
        }
        if is_offer {
            // 5. Offer it before it can be seen: whoever sees a record without an offer would take
            //    it for a stale one, and throw it away.
            self.offer().make(number);
        }
        // 6. Publish it by one store, and wake who waits. Who dies between the two is survived by
        //    an alarm that the kernel rings.
        end.change(|| growable.publish(&place), || self.tell_of_record());
        Ok(number)
    }

    /// Hands a record over: publishes it on offer, and waits until it was taken. See `offer`.
    ///
    /// At a deadline that is over, it does so only if somebody waits to get, and gives that one a
    /// moment to come awake.
    fn hand_over(
        &self,
        end: &Held<'_>,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        let deadline = match deadline.is_over() {
            // Nobody waits to get, as far as the flags say. One who is about to is missed, which is
            // what `try` means. A flag may also be left of one who died; then the offer is taken
            // back in a moment.
            true if !self.is_awaited() => return Err(SendTransportError::Full),
            true => Deadline::after(LONGEST_AWAKENING),
            false => deadline,
        };
        if !self.make_way(deadline) {
            return Err(SendTransportError::Full);
        }
        // From here on the record may be taken at any time, until it is taken back.
        let number = self.publish(end, parts, fds, deadline, true)?;
        // Who puts with a deadline needs not wait for our lock.
        let put_waits = self.memory.flags().put_waits;
        put_waits.store(1, Ordering::Relaxed);
        // CLAIMED does not end the sleep: the claimant may still give the claim back, or die.
        let may_go_on = || self.offer().is_taken(number) || self.is_shut_down();
        self.sleep(Want::Room, deadline, may_go_on);
        // Asked again after the sleep, whatever ended it: the swap of `take_back` decides, not the
        // time.
        let is_taken = self.offer().is_taken(number) || !self.take_back(number);
        put_waits.store(0, Ordering::Relaxed);
        // A shutdown counts only for who has the value back.
        match is_taken {
            true => Ok(()),
            false if self.is_shut_down() => Err(SendTransportError::Disconnected),
            false => Err(SendTransportError::Full),
        }
    }

    /// Sees to it that few records lie in the ring that were taken back; false at the deadline.
    ///
    /// Usually there is none. But while one who gets is stopped with its lock in hand, nobody can
    /// throw them away, and each further offer would leave one more.
    fn make_way(&self, deadline: Deadline) -> bool {
        if self.count() == 0 {
            return true;
        }
        if let Some(held) = self.hold(self.memory.get_end(), Deadline::Now) {
            self.discard_stale(&held);
        }
        let is_free = || self.count() < MAX_LEFT || self.is_shut_down();
        is_free() || self.sleep(Want::Room, deadline, is_free)
    }

    /// Takes back what was offered; false if somebody has taken it.
    fn take_back(&self, number: u32) -> bool {
        let (offer, get_end) = (self.offer(), self.memory.get_end());
        // One swap decides between this and the claim of one who gets.
        if offer.withdraw(number) {
            // What nobody will get is thrown away at once, if nobody is about to look at it.
            if let Some(held) = self.hold(get_end, Deadline::Now) {
                self.discard_stale(&held);
            }
            return true;
        }
        // Claimed: it will be taken in a moment, unless the claimant is dead. A claimant that is
        // stopped, say by a debugger, goes on with the value when it goes on. To give it back here
        // would have it twice, so after a while it counts as taken.
        let patient = Deadline::after(LONGEST_HOLD);
        while !offer.is_taken(number) && !patient.is_over() {
            // Not waited for: whoever has taken the record may hold the lock for long, asleep for
            // the next one.
            if let Some(held) = self.hold(get_end, Deadline::Now) {
                // With the lock in our hand nobody is getting: so a claim that still stands is of
                // one who died.
                let is_back = offer.withdraw_from_dead(number);
                self.discard_stale(&held);
                return is_back;
            }
            threads::pause();
        }
        false
    }

    /// Throws away records that are not to be had any more. (By who holds the consumers' lock.)
    fn discard_stale(&self, held: &Held<'_>) {
        for _ in 0..MAX_STALE {
            match self.memory.growable().peek() {
                Ok(Some(record)) if self.offer().is_stale(record.number) => {
                    self.discard(held, &record);
                }
                _ => return,
            }
        }
    }

    fn discard(&self, held: &Held<'_>, record: &Record) {
        // Taken out first, then its descriptors: in the other order, who dies between would leave a
        // record that cannot be decoded.
        held.change(|| self.memory.growable().take(record), || self.tell_of_room());
        carry::discard(self.get_end.as_fd(), record);
    }

    /// Gets a record: its bytes go behind what `onto` holds. `before` is called when it is sure,
    /// before it is taken out.
    ///
    /// 1. Take the lock, and wait for a record.
    /// 2. Copy it, and make duplicates of its descriptors.
    /// 3. Claim it, if it is on offer, and call `before`.
    /// 4. Arm the alarm, take it out, wake who waits for room, disarm.
    /// 5. Throw its descriptors away.
    ///
    /// Who dies before 4 leaves the record to the next one, which inherits the lock; who dies
    /// within 4 has taken it, and the kernel wakes who waits for room in its place; for 5, see
    /// `carry`.
    pub(crate) fn get(
        &self,
        onto: &mut Vec<u8>,
        deadline: Deadline,
        before: impl FnOnce() -> io::Result<()>,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        let (growable, offer) = (self.memory.growable(), self.offer());
        let Some(end) = self.enter(self.memory.get_end(), deadline, || self.count() == 0) else {
            return Err(if self.is_shut_down() && self.count() == 0 {
                RecvTransportError::Disconnected
            } else {
                RecvTransportError::Empty
            });
        };
        // The caller may have something in the buffer already; what is added for a stale record
        // goes again.
        let start = onto.len();
        let (record, fds) = loop {
            // 1. and 2. Nothing here changes what others see, so an error, or a death, leaves the
            //    record.
            let record = self.wait_for_record(&end, deadline)?;
            onto.try_reserve(record.length)
                .map_err(|_| RecvTransportError::Os(io::ErrorKind::OutOfMemory.into()))?;
            growable.read(&record, onto)?;
            let fds = match record.descriptors {
                0 => None,
                _ => carry::recv(self.get_end.as_fd(), &record)?,
            };
            // 3. Everything that can fail has been done but `before`, so that a claim is rarely
            //    given back.
            if offer.claim(record.number) {
                break (record, fds);
            }
            // It was taken back meanwhile.
            onto.truncate(start);
        };
        // Before the value counts as taken: a `join` of jobs that comes between would miss it
        // otherwise.
        if let Err(error) = before() {
            offer.unclaim(record.number);
            return Err(RecvTransportError::Os(error));
        }
        // 4. The offer is settled before the record goes. Who dies between the two has taken the
        //    value along: who put is told that it was taken, and the next one to get throws the
        //    record away.
        let take = || {
            offer.settle(record.number);
            growable.take(&record);
        };
        end.change(take, || self.tell_of_room());
        if fds.is_some() {
            socket::discard(self.get_end.as_fd());
        }
        // A value whose descriptors are not there cannot be decoded; it is lost, the queue goes on.
        Ok(fds.unwrap_or_default())
    }

    /// Waits for a record that can be had. (By who holds the consumers' lock.)
    fn wait_for_record(
        &self,
        end: &Held<'_>,
        deadline: Deadline,
    ) -> Result<Record, RecvTransportError> {
        let mut is_last_look = false;
        let mut stale = 0;
        loop {
            if self.memory.flags().shut_down.load(Ordering::Acquire) == NO_GET {
                return Err(RecvTransportError::Disconnected);
            }
            // Nobody else takes records while we hold the lock, so what `peek` shows stays.
            match self.peek()? {
                Some(record) if self.offer().is_stale(record.number) => {
                    self.discard(end, &record);
                    // Somebody hostile could put stale records faster than they are thrown away;
                    // the deadline holds all the same.
                    stale += 1;
                    if stale > MAX_STALE && deadline.is_over() {
                        return Err(RecvTransportError::Empty);
                    }
                    continue;
                }
                Some(record) => return Ok(record),
                None if is_last_look => return Err(RecvTransportError::Disconnected),
                None if self.is_shut_down() => {
                    // Who is about to put did not see the flag yet; who comes later does.
                    drop(self.hold(self.memory.put_end(), Deadline::after(LONGEST_HOLD)));
                    // With the lock of those who put taken once, all who passed the check before
                    // the flag was up are through. One more look is enough.
                    is_last_look = true;
                    continue;
                }
                None => {}
            }
            // A corrupt growable is a reason to look, too.
            let may_go_on =
                || !matches!(self.memory.growable().peek(), Ok(None)) || self.is_shut_down();
            if !self.sleep(Want::Record, deadline, may_go_on) {
                return Err(RecvTransportError::Empty);
            }
        }
    }

    /// The next record. If the growable is corrupt, it is emptied: what was there is lost, what
    /// comes is not.
    fn peek(&self) -> Result<Option<Record>, RecvTransportError> {
        let growable = self.memory.growable();
        growable.peek().map_err(|fault| {
            // Nobody can tell where the next record begins. Emptied, the queue works again for what
            // comes.
            if matches!(fault, RingError::Corrupt) {
                growable.clear();
            }
            fault.into()
        })
    }
}
