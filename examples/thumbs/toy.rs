//! A decoder like a C library of old: it reads a format that somebody made up one afternoon, does
//! well what its author tried, and believes whatever a file says.
//!
//! ```text
//! file:   "TOY1"  width: u16  height: u16  first: u32          little endian; offsets are from the start of the file
//! block:  kind: u8  next: u32, the offset of the next block or 0
//!   'R'   count: u16, then so many runs:  length: u8  red  green  blue
//!   'G'   first: u32                                           a chain of blocks within this one
//!   'F'   length: u8  path                                     three bytes of that file for each pixel
//! ```

use std::fs;
use std::io;

pub(crate) const MAGIC: &[u8] = b"TOY1";

/// A decoded picture: three bytes for each pixel.
pub(crate) struct Picture {
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) pixels: Vec<u8>,
}

struct Decoder<'a> {
    file: &'a [u8],
    pixels: Vec<u8>,
    filled: usize,
}

/// Decodes a file that begins with `MAGIC`.
pub(crate) fn decode(file: &[u8]) -> io::Result<Picture> {
    let mut decoder = Decoder { file, pixels: Vec::new(), filled: 0 };
    let width = decoder.u16(4)?;
    let height = decoder.u16(6)?;
    let first = decoder.u32(8)?;
    decoder.pixels = vec![0; usize::from(width) * usize::from(height) * 3];
    decoder.chain(first)?;
    let rows = decoder.filled / 3 / usize::from(width); // what if the width is 0?
    if rows < height.into() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{rows} of {height} rows"),
        ));
    }
    Ok(Picture { width, height, pixels: decoder.pixels })
}

impl Decoder<'_> {
    fn bytes(&self, at: usize, count: usize) -> io::Result<&[u8]> {
        self.file
            .get(at..)
            .and_then(|rest| rest.get(..count))
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn u16(&self, at: usize) -> io::Result<u16> {
        Ok(self.bytes(at, 2)?.iter().rev().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    fn u32(&self, at: usize) -> io::Result<usize> {
        Ok(self.bytes(at, 4)?.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    /// A chain of blocks. What if it leads back to itself?
    fn chain(&mut self, mut at: usize) -> io::Result<()> {
        while at != 0 {
            let next = self.u32(at + 1)?;
            match self.bytes(at, 1)?[0] {
                b'R' => self.runs(at + 5)?,
                b'G' => self.chain(self.u32(at + 5)?)?, // what if it is its own group?
                b'F' => self.file(at + 5)?,             // what if the path is none of our business?
                kind => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a block of kind {kind}"),
                    ));
                }
            }
            at = next;
        }
        Ok(())
    }

    fn runs(&mut self, at: usize) -> io::Result<()> {
        for run in 0..self.u16(at)?.into() {
            let [length, colour @ ..] = self.bytes(at + 2 + 4 * run, 4)? else { return Ok(()) };
            let (length, colour) = (usize::from(*length), colour.to_vec());
            self.check(self.filled + 3 * length <= self.pixels.len());
            for pixel in self.pixels[self.filled..][..3 * length].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
            self.filled += 3 * length;
        }
        Ok(())
    }

    fn file(&mut self, at: usize) -> io::Result<()> {
        let length = self.bytes(at, 1)?[0];
        let path = String::from_utf8_lossy(self.bytes(at + 1, length.into())?);
        let colours = fs::read(&*path)
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        for (pixel, colour) in self.pixels[self.filled..].iter_mut().zip(colours.iter().cycle()) {
            *pixel = *colour;
        }
        self.filled = self.pixels.len();
        Ok(())
    }

    /// The library's `assert`.
    fn check(&self, holds: bool) {
        if !holds {
            std::process::abort();
        }
    }
}
