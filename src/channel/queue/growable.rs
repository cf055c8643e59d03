//! The storage of a queue: rings, each double the former, at fixed places of one sparse memory
//! file.
//!
//! Producers write into one segment of the growable, consumers read from one; most of the time it
//! is the lowest, and warm in the caches. When it is full, producers go on in a higher one, and
//! leave a note where; consumers follow when they have emptied theirs, and give the memory of the
//! high ones back. When a high one is empty, producers go down again. So a queue takes what fits
//! into memory, and costs what a ring costs.
//!
//! This is the state alone. Whoever writes holds the lock of that end, whoever reads that of the
//! other; sleeping and waking is the business of the queue. A record is published by one store, its
//! place and its count together, so that who dies at any instruction has either written it or not:
//!
//! ```text
//! position = count of records (24 bits) | place in words (40 bits)
//! record   = descriptors (8 bits) | their number (24 bits) | length in bytes (32 bits),
//!            then the bytes, filled up to a word
//! ```
//!
//! Descriptors themselves go another way. Each lot has a number, one more than the last, whether
//! its record was published or not.
//!
//! What is read from here may be anything: the other side may be hostile. Places are checked, and
//! loops are bounded.

use crate::channel::cells::{AtomicU64, Ordering, copy_in, copy_out};

/// The cells of one segment: what producers write is in the first half, what consumers write in the
/// second.
pub(crate) type RingSegment = [AtomicU64; 32];

/// Of a segment: where the next record goes.
const TAIL: usize = 0;
/// Of a segment: 0, or the segment where producers went on, plus 1.
const NEXT: usize = 1;
/// Of a segment: so many words of it have memory.
const RESERVED: usize = 2;
/// Of a segment: where consumers were when producers last looked.
const SEEN_HEAD: usize = 3;
/// Of a segment: where the next record comes from.
const HEAD: usize = 16;
/// Of a segment: where producers were when consumers last looked.
const SEEN_TAIL: usize = 17;

/// The cells for all: the segment of the producers, that of the consumers.
pub(crate) type Control = [AtomicU64; 32];
const PUT: usize = 0;
/// The number of the last descriptors that were to be sent. (The cell between is the queue's.)
const SENT: usize = 2;
const GET: usize = 16;

const PLACE: u64 = (1 << 40) - 1;
const COUNT: u64 = (1 << 24) - 1;
const LENGTH: u64 = (1 << 32) - 1;
const NUMBER: u64 = (1 << 24) - 1;

/// The most that one record may have, in bytes: what a reader is willing to take on somebody's
/// word.
pub(crate) const LONGEST: usize = 1 << 30;

/// Memory is taken in steps of so many words.
const STEP: u64 = 8 * 1024;

/// A segment of so many words or more gives its memory back when it is left.
const COLD: u64 = 512 * 1024;

/// The memory of the segments.
pub(crate) trait Store {
    type Error;

    /// The words of a segment, as many as it has.
    fn words(&self, segment: usize) -> Result<&[AtomicU64], Self::Error>;

    /// Takes memory for the words of a segment from `from` to `to`.
    fn reserve(&self, segment: usize, from: u64, to: u64) -> Result<(), Self::Error>;

    /// Gives the memory of a segment back.
    fn release(&self, segment: usize);
}

/// Why the growable did not do it.
#[derive(Debug)]
pub(crate) enum RingError<E> {
    /// Even the highest segment is full.
    Full,
    /// More than one record can have.
    TooLong,
    /// The shared state is corrupted.
    Corrupt,
    /// The memory is not to be had.
    Store(E),
}

#[derive(Debug)]
pub(crate) struct GrowableRing<'a, S> {
    pub(crate) control: &'a Control,
    pub(crate) segments: &'a [RingSegment],
    pub(crate) store: &'a S,
    /// The words of the lowest segment, a power of two; each further one has double.
    pub(crate) base: u64,
}

/// A place for a record, not published yet.
#[derive(Debug)]
pub(crate) struct Place {
    segment: usize,
    tail: u64,
    need: u64,
}

/// A record that waits to be taken.
#[derive(Debug)]
pub(crate) struct Record {
    segment: usize,
    head: u64,
    pub(crate) length: usize,
    pub(crate) descriptors: u8,
    /// That of its descriptors, or of its offer.
    pub(crate) number: u32,
}

/// Returns how far the number `later` is from `earlier`; a large one if it is the other way round.
pub(crate) fn numbers_between(earlier: u32, later: u32) -> u32 {
    later.wrapping_sub(earlier) & NUMBER as u32
}

/// A distance of numbers from which on it is the other way round.
pub(crate) const REVERSED: u32 = 1 << 23;

fn words_for(bytes: usize) -> u64 {
    1 + (bytes as u64).div_ceil(8)
}

fn advance(position: u64, words: u64) -> u64 {
    let count = ((position >> 40) + 1) & COUNT;
    (count << 40) | (((position & PLACE) + words) & PLACE)
}

/// The words between two positions.
fn words_between(head: u64, tail: u64) -> u64 {
    (tail & PLACE).wrapping_sub(head & PLACE) & PLACE
}

/// The records between two positions.
fn records_between(head: u64, tail: u64) -> u64 {
    (tail >> 40).wrapping_sub(head >> 40) & COUNT
}

impl<S: Store> GrowableRing<'_, S> {
    fn words_of(&self, segment: usize) -> u64 {
        self.base << segment
    }

    fn cell(&self, segment: usize, cell: usize) -> &AtomicU64 {
        &self.segments[segment][cell]
    }

    fn current(&self, end: usize) -> Result<usize, RingError<S::Error>> {
        let segment =
            usize::try_from(self.control[end].load(Ordering::Acquire)).unwrap_or(usize::MAX);
        if segment < self.segments.len() { Ok(segment) } else { Err(RingError::Corrupt) }
    }

    /// Where producers went on from a segment.
    fn next_of(&self, segment: usize) -> Result<Option<usize>, RingError<S::Error>> {
        let next =
            usize::try_from(self.cell(segment, NEXT).load(Ordering::Acquire)).unwrap_or(usize::MAX);
        if next > self.segments.len() { Err(RingError::Corrupt) } else { Ok(next.checked_sub(1)) }
    }

    /// The segments in use, from the consumers' to the producers'.
    fn chain(&self) -> Result<impl Iterator<Item = usize> + use<S>, RingError<S::Error>> {
        let mut segment = self.current(GET)?;
        let mut chain = vec![segment];
        while let Some(next) = self.next_of(segment)? {
            // A cycle of links is corruption.
            if chain.len() > self.segments.len() {
                return Err(RingError::Corrupt);
            }
            chain.push(next);
            segment = next;
        }
        Ok(chain.into_iter())
    }

    /// Returns how many records there are at this moment.
    pub(crate) fn count(&self) -> Result<u64, RingError<S::Error>> {
        /// After so many times of bad luck, it may be off.
        const TRIES: u32 = 8;
        let head_of = |segment| self.cell(segment, HEAD).load(Ordering::Acquire);
        let count_of = |segment| {
            records_between(head_of(segment), self.cell(segment, TAIL).load(Ordering::Acquire))
        };
        let mut count = 0;
        for _ in 0..TRIES {
            // Read without a lock, while both ends change: what is not consistent is read again.
            let first = self.current(GET)?;
            let head = head_of(first);
            count = match self.next_of(first)? {
                // Nearly always, there is one segment.
                None => count_of(first),
                Some(_) => self.chain()?.map(count_of).sum(),
            };
            // As long as consumers are there, none of the segments begins anew; and as they took
            // nothing, it is exact.
            // The consumers' place is looked at before and after. If it is the same, no segment was
            // left in between, and what was added up belongs together.
            if self.current(GET)? == first && head_of(first) == head {
                break;
            }
        }
        Ok(count)
    }

    /// Finds a place for a record of `length` bytes. (By who holds the producers' lock.)
    pub(crate) fn prepare(&self, length: usize) -> Result<Place, RingError<S::Error>> {
        if length > LONGEST {
            return Err(RingError::TooLong);
        }
        let need = words_for(length);
        let mut segment = self.current(PUT)?;
        for _ in 0..=2 * self.segments.len() {
            // One who died may have left the note, but not gone there.
            // The steps of going to another segment are: begin it anew, leave the note, go there.
            // One who died behind the note has left the way; the next one follows it.
            if let Some(next) = self.next_of(segment)? {
                self.control[PUT].store(next as u64, Ordering::Release);
                segment = next;
                continue;
            }
            let tail = self.cell(segment, TAIL).load(Ordering::Relaxed);
            let mut head = self.cell(segment, SEEN_HEAD).load(Ordering::Relaxed);
            let size = self.words_of(segment);
            // The count has 24 bits. More records than it can count would make a full segment look
            // empty.
            let has_room = |head| {
                words_between(head, tail) + need <= size && records_between(head, tail) < COUNT
            };
            // The consumers' line is looked at only when what was seen before does not do. In a
            // higher segment, it always is, as that decides if one can go down.
            if segment > 0 || !has_room(head) {
                head = self.cell(segment, HEAD).load(Ordering::Acquire);
                self.cell(segment, SEEN_HEAD).store(head, Ordering::Relaxed);
            }
            // Consumers cannot be ahead of the tail, nor so far behind it.
            if words_between(head, tail) > size {
                return Err(RingError::Corrupt);
            }
            // Down only when this segment is empty and the consumers are in it too: the lowest is
            // then empty and not in use, since they left it.
            let may_go_down =
                segment > 0 && head == tail && need <= self.base && self.current(GET)? == segment;
            if may_go_down {
                segment = self.go(segment, 0);
            } else if has_room(head) {
                self.reserve(segment, tail, need)?;
                return Ok(Place { segment, tail, need });
            } else {
                // A segment that consumers have not left yet must not begin anew under their hands.
                let in_use: Vec<usize> = self.chain()?.collect();
                let free = (segment + 1..self.segments.len())
                    .find(|next| !in_use.contains(next) && self.words_of(*next) >= need)
                    .ok_or(RingError::Full)?;
                segment = self.go(segment, free);
            }
        }
        Err(RingError::Corrupt)
    }

    /// Makes `next`, which is not in use, the producers' segment.
    fn go(&self, segment: usize, next: usize) -> usize {
        // 1. Nobody looks at a segment that is not in the chain, so it can be written to at
        //    leisure, the consumers' cells included.
        for cell in [TAIL, NEXT, SEEN_HEAD, HEAD, SEEN_TAIL] {
            self.cell(next, cell).store(0, Ordering::Relaxed);
        }
        // From here on, consumers may come.
        // 2. The note. Release: whoever follows it finds the segment begun anew.
        self.cell(segment, NEXT).store(next as u64 + 1, Ordering::Release);
        self.control[PUT].store(next as u64, Ordering::Release);
        next
    }

    /// Sees to it that the words of a record have memory.
    fn reserve(&self, segment: usize, tail: u64, need: u64) -> Result<(), RingError<S::Error>> {
        let size = self.words_of(segment);
        let end = (tail & PLACE & (size - 1)) + need;
        let end = if end > size { size } else { end };
        let reserved = self.cell(segment, RESERVED).load(Ordering::Relaxed);
        if end > reserved {
            let target = end.next_multiple_of(STEP).min(size);
            // Memory first, then the cell: who dies between takes it once more, which does nothing.
            self.store.reserve(segment, reserved, target).map_err(RingError::Store)?;
            self.cell(segment, RESERVED).store(target, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes a record at its place; nobody sees it yet. `number` is one of `next_number`, or 0 if
    /// the record needs none. Its bytes lie in two places; the first part is whole words.
    pub(crate) fn fill(
        &self,
        place: &Place,
        descriptors: u8,
        number: u32,
        parts: [&[u8]; 2],
    ) -> Result<(), RingError<S::Error>> {
        let words = self.store.words(place.segment).map_err(RingError::Store)?;
        let at = self.index(place.segment, place.tail);
        let length = parts[0].len() + parts[1].len();
        let header = (u64::from(descriptors) << 56) | (u64::from(number) << 32) | length as u64;
        // Relaxed, as the store of the tail is the release that makes all of it visible.
        words[at].store(header, Ordering::Relaxed);
        // The bytes may go on at the beginning of the segment; the header never is divided, as all
        // is in words.
        let mut position = place.tail.wrapping_add(1);
        for part in parts {
            let start = self.index(place.segment, position);
            let first = part.len().min((words.len() - start) * 8);
            copy_in(&words[start..], &part[..first]);
            copy_in(words, &part[first..]);
            position = position.wrapping_add(part.len() as u64 / 8);
        }
        Ok(())
    }

    /// Returns a number of 24 bits that was not given before, not even by somebody who died then
    /// (until they go round).
    pub(crate) fn next_number(&self) -> u32 {
        // Relaxed: only who holds the producers' lock reads or writes it, and the lock orders them.
        let number = self.control[SENT].load(Ordering::Relaxed).wrapping_add(1) & NUMBER;
        self.control[SENT].store(number, Ordering::Relaxed);
        number as u32
    }

    /// Publishes a record that was filled in.
    pub(crate) fn publish(&self, place: &Place) {
        self.cell(place.segment, TAIL).store(advance(place.tail, place.need), Ordering::Release);
    }

    fn index(&self, segment: usize, position: u64) -> usize {
        // Less than the words of the segment, which are in memory.
        usize::try_from(position & PLACE & (self.words_of(segment) - 1)).unwrap_or(0)
    }

    /// The next record, if there is one. (By who holds the consumers' lock.)
    pub(crate) fn peek(&self) -> Result<Option<Record>, RingError<S::Error>> {
        let mut segment = self.current(GET)?;
        for _ in 0..=2 * self.segments.len() {
            let head = self.cell(segment, HEAD).load(Ordering::Relaxed);
            let mut tail = self.cell(segment, SEEN_TAIL).load(Ordering::Relaxed);
            // What was seen of the producers before may do; their line is left to them.
            if head == tail {
                tail = self.cell(segment, TAIL).load(Ordering::Acquire);
                self.cell(segment, SEEN_TAIL).store(tail, Ordering::Relaxed);
            }
            if head != tail {
                return self.record(segment, head, tail).map(Some);
            }
            // In this order: the note, then the tail. Producers publish, then leave the note, so
            // with the note seen, the tail that is loaded now is the last one that this segment
            // will have.
            let Some(next) = self.next_of(segment)? else { return Ok(None) };
            // Nothing is put here any more; but something may have been, before the note.
            if self.cell(segment, TAIL).load(Ordering::Acquire) != head {
                continue;
            }
            // 1. The memory goes back while nobody uses it. Who dies here leaves a segment whose
            //    memory is taken again when it is needed.
            if self.words_of(segment) >= COLD {
                self.cell(segment, RESERVED).store(0, Ordering::Relaxed);
                self.store.release(segment);
            }
            // From here on, producers may use it again.
            // 2. From the store on, the segment is free: the chain begins at the next one.
            self.control[GET].store(next as u64, Ordering::Release);
            segment = next;
        }
        Err(RingError::Corrupt)
    }

    /// Reads the header of the record at `head`.
    fn record(&self, segment: usize, head: u64, tail: u64) -> Result<Record, RingError<S::Error>> {
        let words = self.store.words(segment).map_err(RingError::Store)?;
        let header = words[self.index(segment, head)].load(Ordering::Relaxed);
        let length = usize::try_from(header & LENGTH).unwrap_or(usize::MAX);
        let published = words_between(head, tail);
        // A header can be anything, and can change under our eyes: it is loaded once, checked, and
        // the copy is used from here on.
        if published > self.words_of(segment) || length > LONGEST || words_for(length) > published {
            return Err(RingError::Corrupt);
        }
        let number = ((header >> 32) & NUMBER) as u32;
        Ok(Record { segment, head, length, descriptors: (header >> 56) as u8, number })
    }

    /// Copies a record's bytes behind what `onto` holds.
    pub(crate) fn read(
        &self,
        record: &Record,
        onto: &mut Vec<u8>,
    ) -> Result<(), RingError<S::Error>> {
        let words = self.store.words(record.segment).map_err(RingError::Store)?;
        let start = self.index(record.segment, record.head.wrapping_add(1));
        // The length was checked against what was published, and that against the segment; so
        // neither part goes beyond the words.
        let first = record.length.min((words.len() - start) * 8);
        copy_out(&words[start..], first, onto);
        copy_out(words, record.length - first, onto);
        Ok(())
    }

    /// Takes a record out.
    pub(crate) fn take(&self, record: &Record) {
        let head = advance(record.head, words_for(record.length));
        // Release: whoever overwrites the record has seen that we have read it. Place and count are
        // in one word, so that a death leaves both or neither.
        self.cell(record.segment, HEAD).store(head, Ordering::Release);
    }

    /// Takes out all that is there: nobody can tell where a record begins.
    pub(crate) fn clear(&self) {
        // Up to what is published now, by one store. Records in further segments stay, and are
        // taken or found corrupt when consumers come there.
        if let Ok(segment) = self.current(GET) {
            let tail = self.cell(segment, TAIL).load(Ordering::Acquire);
            self.cell(segment, SEEN_TAIL).store(tail, Ordering::Relaxed);
            self.cell(segment, HEAD).store(tail, Ordering::Release);
        }
    }
}

#[cfg(test)]
#[path = "growable_tests.rs"]
mod tests;
