//! Pictures to send: good ones, and ones that mean harm.

use std::io::{self, Cursor, Read, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use image::{ImageFormat, Rgb, RgbImage};

use super::Outcome;
use crate::server::LONGEST;
use crate::toy;

/// A small picture, another one for each number.
pub(super) fn good(number: u32) -> Outcome<Vec<u8>> {
    let picture = RgbImage::from_fn(320, 200, |x, y| Rgb([x, y, number].map(|part| part as u8)));
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

/// The others, with what they are.
pub(super) fn harmful() -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    let half = {
        let mut png = good(0)?;
        png.truncate(png.len() / 2);
        png
    };
    Ok(vec![
        ("nothing at all", Vec::new()),
        ("half a picture", half),
        // By one byte: a server that closed with more of it unread would reset the connection, and
        // its answer might be lost.
        ("a picture that is too long to be taken", vec![0; LONGEST + 1]),
        ("a bomb of 24,000 by 24,000 pixels", bomb(24_000)?),
        ("a picture that hangs its worker", endless()),
        // A group that is in itself: the decoder runs out of stack.
        ("a picture that crashes its worker", toy(64, b"G\0\0\0\0\x0c\0\0\0")),
        // A picture without width, by which the decoder divides.
        ("a picture that makes its worker panic", toy(0, b"R\0\0\0\0\0\0")),
        // A picture of the names of all users.
        ("a picture that reads a file", toy(64, b"F\0\0\0\0\x0b/etc/passwd")),
    ])
}

/// A block that is its own next one: the decoder never ends.
pub(super) fn endless() -> Vec<u8> {
    toy(64, b"R\x0c\0\0\0\0\0")
}

/// A file for the decoder `toy`, of one block.
fn toy(width: u16, block: &[u8]) -> Vec<u8> {
    let first = 12_u32;
    let (height, width) = (64_u16.to_le_bytes(), width.to_le_bytes());
    [toy::MAGIC, &width, &height, &first.to_le_bytes(), block].concat()
}

/// A valid PNG, all black: some kilobytes that become half a gigabyte and more.
fn bomb(side: u32) -> io::Result<Vec<u8>> {
    // One bit for each pixel, and one byte before each row.
    let length = (u64::from(side).div_ceil(8) + 1) * u64::from(side);
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    io::copy(&mut io::repeat(0).take(length), &mut rows)?;
    let head = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &head)?;
    chunk(&mut file, b"IDAT", &rows.finish()?)?;
    chunk(&mut file, b"IEND", &[])?;
    Ok(file)
}

fn chunk(file: &mut impl Write, kind: &[u8; 4], data: &[u8]) -> io::Result<()> {
    let mut sum = Crc::new();
    sum.update(kind);
    sum.update(data);
    file.write_all(&(data.len() as u32).to_be_bytes())?;
    file.write_all(kind)?;
    file.write_all(data)?;
    file.write_all(&sum.sum().to_be_bytes())
}
