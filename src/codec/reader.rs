//! The bytes of the format, as they are read.

use std::slice;

use super::error::CodecError;

/// Describes what is left of a message. (An iterator, as only its beginning moves.)
pub(super) struct Reader<'de>(slice::Iter<'de, u8>);

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn of(bytes: &'de [u8]) -> Reader<'de> {
        Reader(bytes.iter())
    }

    #[inline]
    pub(super) fn left(&self) -> &'de [u8] {
        self.0.as_slice()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        self.0.next().copied().ok_or_else(too_short)
    }

    #[inline]
    pub(super) fn bytes(&mut self, length: u64) -> Result<&'de [u8], CodecError> {
        let cut =
            usize::try_from(length).ok().and_then(|length| self.left().split_at_checked(length));
        let Some((bytes, left)) = cut else { return Err(too_short()) };
        self.0 = left.iter();
        Ok(bytes)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let Some((bytes, left)) = self.left().split_first_chunk() else { return Err(too_short()) };
        self.0 = left.iter();
        Ok(*bytes)
    }

    /// See `Writer::number`.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, CodecError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(first.into()) } else { self.long_number(first) }
    }

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

    /// A number that fits into `T`.
    #[inline]
    pub(super) fn fitting<T: TryFrom<u64>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.number()?).map_err(|_| too_big())
    }

    /// See `Writer::signed`.
    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, CodecError> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    pub(super) fn fitting_signed<T: TryFrom<i64>>(&mut self) -> Result<T, CodecError> {
        T::try_from(self.signed()?).map_err(|_| too_big())
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, CodecError> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?)
            .map_err(|error| CodecError::text(format!("a text is not UTF-8: {error}")))
    }
}

#[cold]
fn too_short() -> CodecError {
    CodecError::text("the message ends too early")
}

#[cold]
fn too_big() -> CodecError {
    CodecError::text("a number is too big for its type")
}
