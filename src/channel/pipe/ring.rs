//! A ring of bytes in shared memory, with one producer and one consumer: what is in it and who may
//! touch what. It never waits; who does is told what to do before it sleeps and whom to wake.
//!
//! The memory is words that both processes may write to at any time:
//!
//! ```text
//! control: | tail | ... | head | ... | the consumer's flag, cpu | ...
//!          | the producer's wish, cpu, descriptors | ... |
//! data:    | header, payload | header, payload | ...
//! ```
//!
//! `tail` and `head` count bytes and never wrap; `tail` is the producer's, `head` the consumer's,
//! each in cache lines of its own. A record is a header of one word and a payload that is filled up
//! to whole words, and may go on at the beginning of the data. The producer writes all of it, then
//! stores `tail`: who dies half-way has published nothing.
//!
//! A message that is longer than a fragment goes in several records. Each but the last leaves room
//! for one more header: so a producer that gives up in the middle can always say so.
//!
//! **Sending**, in this order:
//!
//! 1. Copy the payload and the header behind `tail`. The consumer does not look there.
//! 2. Store `tail` (release). From here on the record is sent, whatever becomes of the producer.
//! 3. Fence, and load the consumer's flag. If it is up, take it down and wake the consumer.
//!
//! A producer that dies before 2 has sent nothing. One that dies between 2 and 3 has sent a record
//! and woken nobody; its end of the socket closes with it, which wakes the consumer, and that looks
//! at the ring before it believes in the end.
//!
//! **Receiving**, in this order:
//!
//! 1. Load `tail` (acquire), check it, and copy the record out.
//! 2. Store `head` (release). From here on the producer may overwrite the record.
//! 3. Fence, and load the producer's wish. If `head` has reached it, take it down and wake the
//!    producer.
//!
//! A consumer that dies before 2 has received nothing that another could still receive: its end of
//! the socket closes with it, and a pipe has one receiver.
//!
//! **Sleeping.** The consumer raises its flag, then looks once more, then sleeps. The producer
//! stores `tail`, then looks at the flag; if it takes it down, it owes a wake-up. Between the two
//! steps of each is a fence: one of them sees the other. The same the other way round with the
//! producer's wish, which is the `head` that it needs. Whoever takes a flag down does so by a swap,
//! so a sleeper is woken once.
//!
//! **Distrust.** Each side keeps its own position to itself and checks what it reads of the
//! other's. What a position or a header cannot be is `Corrupt`; nothing is read or written outside
//! of the data in any case.

use crate::channel::cells::{
    AtomicU64, Ordering, copy_few_in, copy_in, copy_out, fence, store_and_fence,
};

/// The words before the data: 512 bytes, so that the data begin on a line of their own.
pub(crate) const CONTROL: usize = 64;
/// The least and the most bytes of data, which are a power of two: a position is turned into a
/// place by a mask.
pub(crate) const SMALLEST: usize = 4096;
pub(crate) const LARGEST: usize = 1 << 30;

/// Two cache lines apart: processors fetch them in pairs.
const TAIL: usize = 0;
const HEAD: usize = 16;
const CONSUMER_SLEEPS: usize = 32;
const CONSUMER_CPU: usize = 33;
const PRODUCER_WANTS: usize = 48;
const PRODUCER_CPU: usize = 49;
const DESCRIPTORS: usize = 50;

/// The bytes of a header.
const HEADER: u64 = 8;

/// Up to so many bytes are faster copied one by one than by words.
const FEW: usize = 16;

/// Bits of a header: the length of the payload in the low half, what the record is, how many
/// descriptors come with it.
const IS_LAST: u64 = 1 << 32;
const IS_ABORT: u64 = 1 << 33;
const FDS_SHIFT: u32 = 40;
const KNOWN: u64 = 0xff << FDS_SHIFT | IS_LAST | IS_ABORT | u32::MAX as u64;

/// The memory of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a> {
    control: &'a [AtomicU64],
    data: &'a [AtomicU64],
}

/// The other side wrote something impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A part of a message; more comes.
    Part,
    /// The end of a message, or all of it.
    Last,
    /// The message that had begun will not be finished.
    Abort,
}

/// A record that is in the ring, as its header said when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The bytes of the payload.
    pub(crate) length: usize,
    /// The number of descriptors that come with the message, over the socket.
    pub(crate) fds: u8,
}

/// The state of the other side: one that sleeps is to be woken, by whoever is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Other {
    Awake,
    Sleeps,
}

impl<'a> Ring<'a> {
    /// A ring in `words`, or nothing if there is no such length.
    pub(crate) fn new(words: &'a [AtomicU64]) -> Option<Ring<'a>> {
        let data = size_of_val(words).saturating_sub(CONTROL * 8);
        let fits = data.is_power_of_two() && (SMALLEST..=LARGEST).contains(&data);
        fits.then(|| Ring::known(words))
    }

    /// `new`, when the length was checked before.
    #[inline]
    pub(crate) fn known(words: &'a [AtomicU64]) -> Ring<'a> {
        let (control, data) = words.split_at(CONTROL);
        Ring { control, data }
    }

    /// Returns the bytes of data, headers included, that fit in.
    #[inline]
    pub(crate) fn capacity(self) -> u64 {
        size_of_val(self.data) as u64
    }

    /// The longest payload of one record. An eighth: while one side writes such a part, the other
    /// reads those before.
    #[inline]
    pub(crate) fn longest(self) -> usize {
        size_of_val(self.data) / 8 - 8
    }

    /// Returns the room, in bytes, that a message of `length` bytes takes with its headers.
    pub(crate) fn room_for(self, length: usize) -> u64 {
        let parts = length.div_ceil(self.longest()).max(1) as u64;
        (length as u64).next_multiple_of(8) + parts * HEADER
    }

    /// Returns true if packets of descriptors are under way or in the socket, when `came` of them
    /// were taken from it.
    ///
    /// If not, asked after the consumer's flag was raised: the next thing that comes over the
    /// socket is no such packet.
    pub(crate) fn expects_packet(self, came: u64) -> bool {
        self.control[DESCRIPTORS].load(Ordering::Relaxed) != came
    }

    /// Publishes the processor that the consumer runs on (0 is none), which decides if the producer
    /// spins.
    pub(crate) fn consumer_is_on(self, cpu: u64) {
        note(&self.control[CONSUMER_CPU], cpu);
    }

    /// Publishes the processor that the producer runs on, as `consumer_is_on` does.
    pub(crate) fn producer_is_on(self, cpu: u64) {
        note(&self.control[PRODUCER_CPU], cpu);
    }

    /// Returns the processor that the consumer was last on; 0 if it has not said.
    pub(crate) fn consumer_cpu(self) -> u64 {
        self.control[CONSUMER_CPU].load(Ordering::Relaxed)
    }

    /// Returns the processor that the producer was last on; 0 if it has not said.
    pub(crate) fn producer_cpu(self) -> u64 {
        self.control[PRODUCER_CPU].load(Ordering::Relaxed)
    }

    /// The words for the bytes from `position` on: those up to the end of the data, and the data
    /// from its beginning.
    #[inline]
    fn from(self, position: u64) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let capacity = self.capacity();
        #[expect(clippy::cast_possible_truncation, reason = "less than the length of a slice")]
        let word = (position & (capacity - 1)) as usize / 8;
        (&self.data[word..], self.data)
    }
}

/// Returns the low half of a position, in words, to tell neighbouring records apart.
fn mark(position: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "enough to tell neighbours apart")]
    let mark = (position / 8) as u32;
    mark
}

/// Stores a value only if it is new: a store would take the line away from the other side, which
/// reads it.
fn note(word: &AtomicU64, value: u64) {
    if word.load(Ordering::Relaxed) != value {
        word.store(value, Ordering::Relaxed);
    }
}

/// Checks a position that the other side stored: a whole number of words, not behind `old`, where
/// it was before, and not ahead of `most`.
fn checked(new: u64, old: u64, most: u64) -> Result<u64, Corrupt> {
    if !new.is_multiple_of(8) || new < old || new > most {
        return Err(Corrupt("a position in the ring cannot be"));
    }
    Ok(new)
}

/// The side that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    /// Where the next record goes.
    tail: u64,
    /// Where the consumer was when we last looked.
    head: u64,
    /// The number of packets of descriptors that went out, those withdrawn not counted.
    packets: u64,
}

impl Producer {
    /// Makes the producer of a new ring.
    pub(crate) fn new() -> Producer {
        Producer { tail: 0, head: 0, packets: 0 }
    }

    /// Makes the producer that was in another process, from its `state`.
    ///
    /// The state came in a message and is checked against the ring: a tail that is not within one
    /// capacity of the consumer's head is refused.
    pub(crate) fn resume(ring: Ring<'_>, [tail, packets]: [u64; 2]) -> Result<Producer, Corrupt> {
        let lowest = tail.saturating_sub(ring.capacity());
        let head = checked(ring.control[HEAD].load(Ordering::Acquire), lowest, tail)?;
        checked(tail, 0, u64::MAX / 2)?;
        Ok(Producer { tail, head, packets })
    }

    /// Returns what `resume` needs: the position and the packets. What is in the ring stays there.
    pub(crate) fn state(&self) -> [u64; 2] {
        [self.tail, self.packets]
    }

    /// Returns true if there is room for `bytes`, headers included.
    #[inline]
    pub(crate) fn has_room(&mut self, ring: Ring<'_>, bytes: u64) -> Result<bool, Corrupt> {
        // What we saw last may do; the consumer's cache line is left to it. Its head only grows, so
        // room that was there is there.
        if self.free(ring) >= bytes {
            return Ok(true);
        }
        self.look(ring)?;
        Ok(self.free(ring) >= bytes)
    }

    /// As `has_room`, for callers that only look: what was seen is not kept.
    pub(crate) fn sees_room(&self, ring: Ring<'_>, bytes: u64) -> Result<bool, Corrupt> {
        let head = checked(ring.control[HEAD].load(Ordering::Acquire), self.head, self.tail)?;
        Ok(ring.capacity() - (self.tail - head) >= bytes)
    }

    /// Loads the consumer's position; returns true if it went on since the last look.
    #[inline]
    pub(crate) fn look(&mut self, ring: Ring<'_>) -> Result<bool, Corrupt> {
        // Acquire: the consumer has read what we overwrite.
        let head = checked(ring.control[HEAD].load(Ordering::Acquire), self.head, self.tail)?;
        Ok(std::mem::replace(&mut self.head, head) != head)
    }

    /// Returns true if the consumer has not read all that was published.
    pub(crate) fn is_ahead(&mut self, ring: Ring<'_>) -> Result<bool, Corrupt> {
        self.look(ring)?;
        Ok(self.head != self.tail)
    }

    #[inline]
    fn free(&self, ring: Ring<'_>) -> u64 {
        ring.capacity() - (self.tail - self.head)
    }

    /// Returns the room that a record needs before it is pushed. A part needs that of a header
    /// more, which an `Abort` behind it would take.
    #[inline]
    pub(crate) fn room_for(kind: Kind, length: usize) -> u64 {
        let spare = if kind == Kind::Part { HEADER } else { 0 };
        HEADER + (length as u64).next_multiple_of(8) + spare
    }

    /// Writes a record and publishes it: the three steps of sending. There is room for it: the
    /// caller looked.
    #[inline]
    pub(crate) fn push(&mut self, ring: Ring<'_>, kind: Kind, fds: u8, payload: &[u8]) -> Other {
        self.write(ring, kind, fds, payload);
        // Release: who sees the tail sees the record.
        store_and_fence(&ring.control[TAIL], self.tail);
        self.wake_if_asleep(ring)
    }

    /// Writes and publishes a record without descriptors, but leaves a consumer that sleeps asleep,
    /// until `wake_now`. A third of what `push` costs.
    #[inline]
    pub(crate) fn push_quietly(&mut self, ring: Ring<'_>, kind: Kind, payload: &[u8]) {
        self.write(ring, kind, 0, payload);
        // Release: who sees the tail sees the record.
        ring.control[TAIL].store(self.tail, Ordering::Release);
    }

    /// Writes the payload of the next record from byte `from` on; `payload` is all of it so far.
    /// Nobody sees it before `publish`, but for who looks after a producer that was killed.
    #[inline]
    pub(crate) fn write_ahead(&self, ring: Ring<'_>, from: usize, payload: &[u8]) {
        let (words, rest) = ring.from(self.tail + HEADER + from as u64);
        let within = from & 7;
        let part = &payload[from..];
        if part.len() <= FEW && within + part.len() <= size_of_val(words) {
            return copy_few_in(words, within, part);
        }
        let part = &payload[from - within..];
        match part.split_at_checked(size_of_val(words)) {
            Some((first, second)) => {
                copy_in(words, first);
                copy_in(rest, second);
            }
            None => copy_in(words, part),
        }
    }

    /// Publishes what was written ahead as a whole message of that length, as `push_quietly` would.
    pub(crate) fn publish(&mut self, ring: Ring<'_>, length: usize) {
        let size = HEADER + (length as u64).next_multiple_of(8);
        assert!(self.free(ring) >= size, "there is no room for a record");
        let (words, _) = ring.from(self.tail);
        words[0].store(length as u64 | IS_LAST, Ordering::Relaxed);
        self.tail += size;
        // Release: who sees the tail sees the record.
        ring.control[TAIL].store(self.tail, Ordering::Release);
    }

    /// Returns the mark of the next record, which tells it from others that were written ahead.
    pub(crate) fn mark(&self) -> u32 {
        mark(self.tail)
    }

    /// Does the third step of sending for what was pushed quietly before.
    pub(crate) fn wake_now(&self, ring: Ring<'_>) -> Other {
        fence(Ordering::SeqCst);
        self.wake_if_asleep(ring)
    }

    /// Writes a record. There is room for it: the caller looked.
    #[inline]
    fn write(&mut self, ring: Ring<'_>, kind: Kind, fds: u8, payload: &[u8]) {
        let size = HEADER + (payload.len() as u64).next_multiple_of(8);
        // The one check that keeps a fault of ours from overwriting what the consumer reads.
        assert!(self.free(ring) >= size, "there is no room for a record");
        let bits = match kind {
            Kind::Part => 0,
            Kind::Last => IS_LAST,
            Kind::Abort => IS_ABORT,
        };
        // Relaxed: nobody reads these words before the store of `tail`, which is a release.
        let (words, _) = ring.from(self.tail);
        words[0]
            .store(payload.len() as u64 | bits | u64::from(fds) << FDS_SHIFT, Ordering::Relaxed);
        // Up to the end of the data, then from the beginning. A header never is cut: all is in
        // words.
        let (words, rest) = ring.from(self.tail + HEADER);
        match payload.split_at_checked(size_of_val(words)) {
            Some((first, second)) => {
                copy_in(words, first);
                copy_in(rest, second);
            }
            None => copy_in(words, payload),
        }
        self.tail += size;
    }

    /// Takes the consumer's flag down, if it is up. To be asked after whatever the consumer waits
    /// for was stored, and a fence.
    #[inline]
    fn wake_if_asleep(&self, ring: Ring<'_>) -> Other {
        // The load first: a flag that is down, as it mostly is, costs no write to a shared line.
        let flag = &ring.control[CONSUMER_SLEEPS];
        if flag.load(Ordering::SeqCst) != 0 && flag.swap(0, Ordering::AcqRel) != 0 {
            return Other::Sleeps;
        }
        Other::Awake
    }

    /// Announces a packet of descriptors that is about to go over the socket. A consumer that
    /// sleeps is to be woken *before* it.
    ///
    /// A producer that dies after the announcement leaves a count that no packet follows: the
    /// consumer then expects one, which costs it a peek at the socket each time it waits, until it
    /// reads the end.
    pub(crate) fn announce_packet(&mut self, ring: Ring<'_>) -> Other {
        // The count before the flag: a consumer that raises its flag later sees the count.
        self.packets = self.packets.wrapping_add(1);
        store_and_fence(&ring.control[DESCRIPTORS], self.packets);
        self.wake_if_asleep(ring)
    }

    /// Takes an announcement back, of a packet that does not go after all.
    pub(crate) fn withdraw_packet(&mut self, ring: Ring<'_>) {
        self.packets = self.packets.wrapping_sub(1);
        ring.control[DESCRIPTORS].store(self.packets, Ordering::Relaxed);
    }

    /// Asks to be woken when there is room for `bytes`: writes the `head` that it takes, and a
    /// fence. The caller looks once more, then sleeps. A wish that nobody withdraws costs one
    /// wake-up.
    pub(crate) fn wish(&self, ring: Ring<'_>, bytes: u64) {
        // Zero is no wish; and as there is no room, some of it is still to be read.
        let head = (self.tail + bytes).saturating_sub(ring.capacity()).max(1);
        ring.control[PRODUCER_WANTS].swap(head, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Takes the wish back.
    pub(crate) fn withdraw_wish(&self, ring: Ring<'_>) {
        ring.control[PRODUCER_WANTS].swap(0, Ordering::AcqRel);
    }
}

/// The side that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consumer {
    /// Where the next record is.
    head: u64,
    /// Where the producer was when we last looked.
    tail: u64,
    /// A message has begun.
    is_inside: bool,
}

impl Consumer {
    /// Makes the consumer of a new ring. It counts as asleep: whoever waits for the descriptor
    /// alone is to be woken by the first record.
    pub(crate) fn new(ring: Ring<'_>) -> Consumer {
        ring.control[CONSUMER_SLEEPS].store(1, Ordering::Relaxed);
        Consumer { head: 0, tail: 0, is_inside: false }
    }

    /// Makes the consumer that was in another process, from its `state`, which is checked as of the
    /// producer.
    pub(crate) fn resume(
        ring: Ring<'_>,
        (head, is_inside): (u64, bool),
    ) -> Result<Consumer, Corrupt> {
        checked(head, 0, u64::MAX / 2)?;
        let tail =
            checked(ring.control[TAIL].load(Ordering::Acquire), head, head + ring.capacity())?;
        Ok(Consumer { head, tail, is_inside })
    }

    /// Returns what `resume` needs.
    pub(crate) fn state(&self) -> (u64, bool) {
        (self.head, self.is_inside)
    }

    /// Returns true within a message: between its first part and its end.
    pub(crate) fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// Returns true if there is no record. An impossible position counts as one, so that whoever
    /// takes it is told.
    pub(crate) fn is_empty(&self, ring: Ring<'_>) -> bool {
        self.head == self.tail && ring.control[TAIL].load(Ordering::Acquire) == self.head
    }

    /// Returns the next record, which stays in the ring: the first step of receiving. The producer
    /// may still change what it published, so the record is what its header said at this moment;
    /// nothing of it is read from the ring again.
    #[inline]
    pub(crate) fn peek(&mut self, ring: Ring<'_>) -> Result<Option<Record>, Corrupt> {
        if self.head == self.tail {
            // Acquire: the records up to there are written.
            let tail = ring.control[TAIL].load(Ordering::Acquire);
            self.tail = checked(tail, self.tail, self.head + ring.capacity())?;
            if self.head == self.tail {
                return Ok(None);
            }
        }
        let header = ring.from(self.head).0[0].load(Ordering::Relaxed);
        self.understand(header).map(Some)
    }

    /// Understands a header, or refuses what no honest producer writes: unknown bits, a length
    /// beyond what was published, an empty part (a loop that would not end), an abort outside of a
    /// message.
    #[inline]
    fn understand(&self, header: u64) -> Result<Record, Corrupt> {
        if header & !KNOWN != 0 {
            return Err(Corrupt("the header of a record cannot be"));
        }
        let length = header & u64::from(u32::MAX);
        let published = self.tail - self.head;
        if HEADER + length.next_multiple_of(8) > published {
            return Err(Corrupt("a record is longer than what is in the ring"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "shifted and masked by `KNOWN`")]
        let fds = (header >> FDS_SHIFT) as u8;
        let kind = match (header & IS_LAST != 0, header & IS_ABORT != 0) {
            (true, false) => Kind::Last,
            (false, false) if length > 0 && fds == 0 => Kind::Part,
            (false, true) if length == 0 && fds == 0 && self.is_inside => Kind::Abort,
            _ => return Err(Corrupt("the header of a record cannot be")),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most the length of the data")]
        Ok(Record { kind, length: length as usize, fds })
    }

    /// Puts the payload of the record that `peek` gave behind `onto`, and gives its room back.
    #[inline]
    pub(crate) fn take(&mut self, ring: Ring<'_>, record: Record, onto: &mut Vec<u8>) -> Other {
        self.take_quietly(ring, record, onto);
        self.give_back(ring)
    }

    /// `take`, but the room stays taken until `give_back`.
    #[inline]
    pub(crate) fn take_quietly(&mut self, ring: Ring<'_>, record: Record, onto: &mut Vec<u8>) {
        let (words, rest) = ring.from(self.head + HEADER);
        // `peek` has checked that the length is within what was published, which is within the
        // data.
        let first = record.length.min(size_of_val(words));
        copy_out(words, first, onto);
        if record.length > first {
            copy_out(rest, record.length - first, onto);
        }
        self.head += HEADER + (record.length as u64).next_multiple_of(8);
        self.is_inside = record.kind == Kind::Part;
    }

    /// Gives the room of all that was taken back: the second and third step of receiving.
    #[inline]
    pub(crate) fn give_back(&self, ring: Ring<'_>) -> Other {
        // Release: who sees the head may overwrite what was read.
        store_and_fence(&ring.control[HEAD], self.head);
        let wish = &ring.control[PRODUCER_WANTS];
        let wanted = wish.load(Ordering::SeqCst);
        // Not for each bit of room: the producer named the head that it needs.
        if wanted != 0 && self.head >= wanted && wish.swap(0, Ordering::AcqRel) != 0 {
            return Other::Sleeps;
        }
        Other::Awake
    }

    /// Copies what a producer that is gone had written ahead behind `onto`, if `mark_seen` is the
    /// mark of the next record; returns true if it did. The bytes may be anything: the producer may
    /// have died half-way.
    pub(crate) fn salvage(
        &self,
        ring: Ring<'_>,
        mark_seen: u32,
        length: usize,
        onto: &mut Vec<u8>,
    ) -> bool {
        if mark(self.head) != mark_seen
            || !self.is_empty(ring)
            || HEADER + length as u64 > ring.capacity()
        {
            return false;
        }
        let (words, rest) = ring.from(self.head + HEADER);
        let first = length.min(size_of_val(words));
        copy_out(words, first, onto);
        if length > first {
            copy_out(rest, length - first, onto);
        }
        true
    }

    /// Raises the flag, and a fence. The caller looks once more, then sleeps.
    pub(crate) fn raise_flag(&self, ring: Ring<'_>) {
        ring.control[CONSUMER_SLEEPS].swap(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Takes the flag down: a producer need not wake whoever found a record by itself.
    pub(crate) fn lower_flag(&self, ring: Ring<'_>) {
        ring.control[CONSUMER_SLEEPS].swap(0, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
