//! The bytes of the format, as they are read. Every function fails if the message ends too early.

use std::slice;

use super::error::CodecError;

/// The rest of a message. An iterator over the slice, since only its beginning moves.
pub(super) struct Reader<'de>(slice::Iter<'de, u8>);

impl<'de> Reader<'de> {
    /// Begins at the front of `bytes`.
    #[inline]
    pub(super) fn of(bytes: &'de [u8]) -> Reader<'de> {
        Reader(bytes.iter())
    }

    /// The bytes that were not read yet.
    #[inline]
    pub(super) fn left(&self) -> &'de [u8] {
        self.0.as_slice()
    }

    /// Reads one byte.
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        self.0.next().copied().ok_or_else(too_short)
    }

    /// Reads `length` bytes, without copying them. A length of more than there is fails before
    /// anything is allocated for it.
    #[inline]
    pub(super) fn bytes(&mut self, length: u64) -> Result<&'de [u8], CodecError> {
        let cut =
            usize::try_from(length).ok().and_then(|length| self.left().split_at_checked(length));
        let Some((bytes, left)) = cut else { return Err(too_short()) };
        self.0 = left.iter();
        Ok(bytes)
    }

    /// Reads `N` bytes: a number of fixed size.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let Some((bytes, left)) = self.left().split_first_chunk() else { return Err(too_short()) };
        self.0 = left.iter();
        Ok(*bytes)
    }

    /// Reads a number as `Writer::number` writes it. A longer form of the same number is taken,
    /// too; one of more than 64 bits is refused.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, CodecError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(first.into()) } else { self.long_number(first) }
    }

    /// A number whose first byte has the highest bit set. The tenth byte has one bit left.
    #[inline]
    fn long_number(&mut self, first: u8) -> Result<u64, CodecError> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        match self.byte()? {
            last @ 0..=1 => Ok(number | u64::from(last) << 63),
            _ => Err(too_big()),
        }
    }

    /// Reads a number that has to fit into `T`.
    #[inline]
    pub(super) fn fitting<T: TryFrom<u64>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.number()?).map_err(|_| too_big())
    }

    /// Reads a signed number as `Writer::signed` writes it.
    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, CodecError> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Reads a signed number that has to fit into `T`.
    #[inline]
    pub(super) fn fitting_signed<T: TryFrom<i64>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.signed()?).map_err(|_| too_big())
    }

    /// Reads a text, without copying it.
    ///
    /// # Errors
    /// It is not UTF-8.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, CodecError> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?)
            .map_err(|error| CodecError::text(format!("a text is not UTF-8: {error}")))
    }
}

/// The message ends in the middle of something.
#[cold]
fn too_short() -> CodecError {
    CodecError::text("the message ends too early")
}

/// A number that no value of the type is.
#[cold]
fn too_big() -> CodecError {
    CodecError::text("a number is too big for its type")
}
