//! The bytes of the format, as they are written: numbers, texts, heads with names.
//!
//! Each function makes room once for all that it writes: whether the buffer is at its limit or has
//! to grow is asked seldom.

use super::error::{CodecError, Reason};

/// The bytes of the longest number: 64 bits, 7 a byte.
const LONGEST: usize = 10;

/// A buffer that is written at its end. What it held before stays.
pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    /// The length that `bytes` may have at most, all that it held before included.
    pub(super) most: usize,
}

impl Writer<'_> {
    /// Writes one byte.
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) -> Result<(), CodecError> {
        self.make_room(1)?;
        self.bytes.push(byte);
        Ok(())
    }

    /// Writes bytes as they are, without their length.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.make_room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// A number in 7 bits a byte, the lowest first; all but the last have the highest bit set.
    #[inline(always)]
    pub(super) fn number(&mut self, number: u64) -> Result<(), CodecError> {
        if number < 0x80 { self.byte(number as u8) } else { self.long_number(number) }
    }

    /// A number that takes more than one byte.
    fn long_number(&mut self, mut number: u64) -> Result<(), CodecError> {
        self.make_room(LONGEST)?;
        if number < 1 << 28 {
            while number >= 0x80 {
                self.bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            self.bytes.push(number as u8);
            return Ok(());
        }
        // Without a branch, and without looking which of them are used.
        let before = self.bytes.len();
        let length = (64 - number.leading_zeros()).div_ceil(7) as usize;
        let mut all: [u8; LONGEST] =
            std::array::from_fn(|place| (number >> (7 * place)) as u8 | 0x80);
        all[length - 1] &= 0x7f;
        // To copy all of them takes less time than to copy the right number.
        self.bytes.extend_from_slice(&all);
        self.bytes.truncate(before + length);
        Ok(())
    }

    /// A signed number: its sign is the lowest bit, so that small negative ones are short.
    #[inline]
    pub(super) fn signed(&mut self, number: i64) -> Result<(), CodecError> {
        self.number(((number << 1) ^ (number >> 63)) as u64)
    }

    /// Writes a text: its length in bytes, then these.
    #[inline]
    pub(super) fn text(&mut self, text: &str) -> Result<(), CodecError> {
        self.number(text.len() as u64)?;
        self.bytes(text.as_bytes())
    }

    /// Writes a variant of an enum: its head, its form, its position and its name. Mostly position
    /// and length take one byte each, and all is written with one look at the room.
    #[inline]
    pub(super) fn variant(
        &mut self,
        head: u8,
        form: u8,
        index: u32,
        name: &str,
    ) -> Result<(), CodecError> {
        // Position and length take more than a byte each: rare, so one after the other.
        if index >= 0x80 || name.len() >= 0x80 {
            self.bytes(&[head, form])?;
            self.number(index.into())?;
            return self.text(name);
        }
        self.make_room(4 + name.len())?;
        self.bytes.extend_from_slice(&[head, form, index as u8, name.len() as u8]);
        self.bytes.extend_from_slice(name.as_bytes());
        Ok(())
    }

    /// The names of a struct, behind its head.
    #[inline]
    pub(super) fn block(&mut self, head: u8, block: &[u8]) -> Result<(), CodecError> {
        if block.len() >= 0x80 {
            self.byte(head)?;
            self.number(block.len() as u64)?;
            return self.bytes(block);
        }
        self.make_room(2 + block.len())?;
        self.bytes.extend_from_slice(&[head, block.len() as u8]);
        self.bytes.extend_from_slice(block);
        Ok(())
    }

    /// Makes room for `more` bytes. `Reason::Full` beyond `most`, or if the allocator has no
    /// memory: a message must not end the program.
    #[inline]
    fn make_room(&mut self, more: usize) -> Result<(), CodecError> {
        if more > self.most.saturating_sub(self.bytes.len()) {
            return Err(Reason::Full.into());
        }
        if more > self.bytes.capacity() - self.bytes.len() { self.grow(more) } else { Ok(()) }
    }

    /// Grows by the allocator's rule, without aborting where there is no memory.
    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), CodecError> {
        self.bytes.try_reserve(more).map_err(|_| Reason::Full.into())
    }
}
