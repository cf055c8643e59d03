//! One value in shared memory: written by one process while another reads it, or after one that was
//! killed while it wrote.
//!
//! A count goes up by one before a value is written and by one after it, so it is odd in between;
//! and the value has a sum with the count in it. So a reader knows what it may not believe, whoever
//! wrote it: it tries again for a while, and then says so. A writer waits for another for a while;
//! one that does not come to its end is taken for dead, and its value is overwritten. If it lives
//! after all, the sum does not fit what the two have written together, until either writes again.
//!
//! ```text
//!  word 0   count: odd while somebody writes
//!  word 1   kind (lowest byte) and length
//!  word 2   sum of count, kind, length and value
//!  words    the value
//! ```
//!
//! # Order of a write
//! 1. Make the count odd, by an exchange that only one writer wins.
//! 2. Kind, length, sum, value.
//! 3. Make the count even, by an exchange: it fails if somebody has taken this writer for dead
//!    meanwhile.
//!
//! Killed in 1, nothing has changed. Killed in 2, the count stays odd: readers say `Unfinished`,
//! and the next writer waits a quarter of a second, adds 2 to the count and overwrites the value.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::sys::memory::copy;
use crate::sys::wait::poll::Deadline;

/// Words before the value: the count, its kind and length, the sum.
pub(super) const HEADER: usize = 3;

/// Time after which a writer that has not finished is taken for dead.
const WRITER_TIMEOUT: Duration =
    Duration::from_micros(if cfg!(multiproc_fuzz) { 50 } else { 250_000 });

/// Number of looks at something that nobody is writing, but that is not right.
const LOOKS: u32 = 8;

/// Why a value could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody is writing it, or was killed while doing so.
    Unfinished,
    /// There is no value.
    Broken,
}

/// The record in `words`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    count: &'a AtomicU64,
    tag: &'a AtomicU64,
    sum: &'a AtomicU64,
    value: &'a [AtomicU64],
}

impl<'a> Record<'a> {
    /// Nothing if there are too few words.
    pub(super) fn new(words: &'a [AtomicU64]) -> Option<Record<'a>> {
        let [count, tag, sum, value @ ..] = words else { return None };
        Some(Record { count, tag, sum, value })
    }

    /// Returns how many bytes a value can have.
    fn room(&self) -> usize {
        size_of_val(self.value)
    }

    /// Copies the kind and the bytes of the value, and checks them.
    ///
    /// # Errors
    /// `Unfinished` if somebody writes all the time; `Broken` if the sum is wrong again and again.
    pub(super) fn read(&self) -> Result<(u8, Vec<u8>), Trouble> {
        let mut wait = Wait::new();
        let mut looks = 0;
        loop {
            let trouble = match self.look() {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            looks += u32::from(trouble == Trouble::Broken);
            if looks == LOOKS || wait.is_over() {
                return Err(trouble);
            }
        }
    }

    /// One try: read the count, copy, read the count again, compare the sum.
    fn look(&self) -> Result<(u8, Vec<u8>), Trouble> {
        // Even: whoever wrote the value has finished, and all of it is visible.
        let before = self.count.load(Ordering::Acquire);
        if before % 2 == 1 {
            return Err(Trouble::Unfinished);
        }
        let tag = self.tag.load(Ordering::Relaxed);
        let sum = self.sum.load(Ordering::Relaxed);
        let [kind, ..] = tag.to_le_bytes();
        let length = usize::try_from(tag >> 8).ok().filter(|length| *length <= self.room());
        let mut bytes = Vec::new();
        if let Some(length) = length {
            copy::load_onto(self.value, length, &mut bytes);
        }
        // What was read above was read before the count is read again.
        fence(Ordering::Acquire);
        if self.count.load(Ordering::Relaxed) != before {
            return Err(Trouble::Unfinished);
        }
        if length.is_none() || sum != sum_of(before, tag, &bytes) {
            return Err(Trouble::Broken);
        }
        Ok((kind, bytes))
    }

    /// Puts a value in the place of what is there. It fits.
    ///
    /// # Errors
    /// `Unfinished` if others are always quicker.
    pub(super) fn write(&self, kind: u8, bytes: &[u8]) -> Result<(), Trouble> {
        let mut wait = Wait::new();
        let tag = (bytes.len() as u64) << 8 | u64::from(kind);
        loop {
            // 1. This writer's alone, or so it seems: it may be taken for dead.
            let own = self.begin(&mut wait)?;
            // The count is odd before anything else changes.
            fence(Ordering::Release);
            // 2. In any order, as the count is odd.
            let done = own.wrapping_add(1);
            self.tag.store(tag, Ordering::Relaxed);
            self.sum.store(sum_of(done, tag, bytes), Ordering::Relaxed);
            copy::store(self.value, bytes);
            // All of it is there before the count is even. If that is not ours any more, somebody
            // took us for dead.
            if self.count.compare_exchange(own, done, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                return Ok(());
            }
            if wait.is_over() {
                return Err(Trouble::Unfinished);
            }
        }
    }

    /// Makes the count odd, for this writer alone; returns what it is then.
    fn begin(&self, wait: &mut Wait) -> Result<u64, Trouble> {
        let mut patience = Wait::new();
        loop {
            let count = self.count.load(Ordering::Relaxed);
            let next = match count % 2 {
                0 => Some(count.wrapping_add(1)),
                // Dead, or as good as that.
                _ if patience.is_over() => Some(count.wrapping_add(2)),
                _ => None,
            };
            if let Some(next) = next {
                if self
                    .count
                    .compare_exchange(count, next, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return Ok(next);
                }
                // Somebody is always quicker: not for ever.
                if patience.is_over() && wait.is_over() {
                    return Err(Trouble::Unfinished);
                }
            }
        }
    }
}

/// A sum that tells apart what does not belong together. It is no guard against malice, of which
/// every value can be.
fn sum_of(count: u64, tag: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let step = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(step(step(FACTOR, count), tag), step)
}

/// Patience that grows slower and ends.
struct Wait {
    turns: u32,
    deadline: Option<Deadline>,
}

impl Wait {
    /// Patience that has not been used.
    fn new() -> Wait {
        Wait { turns: 0, deadline: None }
    }

    /// Waits a little; returns whether it has been long enough.
    fn is_over(&mut self) -> bool {
        self.turns = self.turns.saturating_add(1);
        match self.turns {
            0..50 => std::hint::spin_loop(),
            50..100 => std::thread::yield_now(),
            _ => {
                let deadline =
                    *self.deadline.get_or_insert_with(|| Deadline::after(WRITER_TIMEOUT));
                if deadline.is_over() {
                    return true;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..HEADER + 4).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let words = words();
        let record = Record::new(&words).expect("room");
        for bytes in [&b""[..], b"a", b"12345678", b"as long as the room there is for"] {
            record.write(5, bytes).expect("write");
            assert_eq!(record.read(), Ok((5, bytes.to_vec())));
        }
    }

    #[test]
    fn a_killed_writer_is_noticed_and_replaced() {
        let words = words();
        let record = Record::new(&words).expect("room");
        record.write(5, b"before").expect("write");
        let own = record.begin(&mut Wait::new()).expect("begin");
        record.value[0].store(7, Ordering::Relaxed);
        assert_eq!(record.read(), Err(Trouble::Unfinished));
        record.write(5, b"after").expect("write");
        assert_eq!(record.read(), Ok((5, b"after".to_vec())));
        // It was only slow: what it goes on to write makes the value wrong, but not another one.
        record.value[0].store(8, Ordering::Relaxed);
        assert!(
            record
                .count
                .compare_exchange(own, own + 1, Ordering::Release, Ordering::Relaxed)
                .is_err()
        );
        assert_eq!(record.read(), Err(Trouble::Broken));
    }

    #[test]
    fn a_reader_beside_a_writer_sees_whole_values() {
        let words = words();
        let record = Record::new(&words).expect("room");
        record.write(5, &[0; 32]).expect("write");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for byte in (0..=255).cycle().take(20_000) {
                    record.write(5, &[byte; 32]).expect("write");
                }
            });
            for _ in 0..20_000 {
                if let Ok((_, bytes)) = record.read() {
                    assert_eq!(bytes, [bytes[0]; 32]);
                }
            }
        });
    }
}
