//! A toy picture format, and a decoder with the faults that old decoders in C have: it believes what a file says.
//!
//! A file is `TOY1`, width and height (two bytes each, the low one first), then commands:
//! `0 n r g b`, a run of n pixels; `1 lo hi`, go on at that place of the file; `2 n`, a run of n pixels of the last colour, which
//! there must be; `3 n`, the next command n times, nested; `9`, the end.

use image::{Rgb, RgbImage};

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    pixels: Vec<[u8; 3]>,
    is_done: bool,
}

/// Decodes a picture, if all goes well.
pub(crate) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let header = bytes.get(..8).filter(|header| header.starts_with(b"TOY1")).ok_or("not a toy picture")?;
    let side = |at: usize| u32::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let (width, height) = (side(4), side(6));
    let mut decoder = Decoder { bytes, at: 8, pixels: Vec::new(), is_done: false };
    // Fault: a file that always sends us back never ends.
    while !decoder.is_done {
        decoder.command(0)?;
    }
    let pixels = decoder.pixels;
    if pixels.len() < (width * height) as usize {
        return Err("unexpected end of toy picture".to_owned());
    }
    Ok(RgbImage::from_fn(width, height, |x, y| Rgb(pixels[(y * width + x) as usize])))
}

impl Decoder<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied().ok_or_else(|| "unexpected end of toy picture".to_owned())
    }

    fn command(&mut self, depth: u64) -> Result<u64, String> {
        match self.byte()? {
            0 => {
                let count = self.byte()?.into();
                let colour = [self.byte()?, self.byte()?, self.byte()?];
                self.pixels.extend(std::iter::repeat_n(colour, count));
            }
            1 => self.at = usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])),
            2 => {
                let count = self.byte()?.into();
                // Fault: `assert(last != NULL)`, as C would say it.
                let Some(last) = self.pixels.last().copied() else { std::process::abort() };
                self.pixels.extend(std::iter::repeat_n(last, count));
            }
            3 => {
                let (count, place) = (self.byte()?, self.at);
                let mut deepest = 0;
                for _ in 0..count {
                    self.at = place;
                    // Fault: nothing says how deep this may go.
                    deepest = deepest.max(std::hint::black_box(self.command(depth + 1)?));
                }
                return Ok(deepest);
            }
            9 => self.is_done = true,
            other => return Err(format!("toy command {other} is not known")),
        }
        Ok(depth)
    }
}
