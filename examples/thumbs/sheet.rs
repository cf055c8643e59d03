//! All thumbnails on one sheet, with their names; those that failed with the reason.

use std::path::Path;

use image::imageops;
use image::{Rgb, RgbImage};

use crate::picture::Thumbnail;

/// One place on the sheet.
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) content: Result<Thumbnail, String>,
}

const PAPER: Rgb<u8> = Rgb([18, 19, 24]);
const CARD: Rgb<u8> = Rgb([29, 31, 39]);
const INK: Rgb<u8> = Rgb([226, 228, 235]);
const FAINT: Rgb<u8> = Rgb([122, 127, 143]);
const BAD_CARD: Rgb<u8> = Rgb([58, 24, 30]);
const BAD: Rgb<u8> = Rgb([232, 92, 92]);

const COLUMNS: usize = 6;
const MARGIN: u32 = 28;
const GAP: u32 = 14;
const PADDING: u32 = 10;
const TITLE: u32 = 52;

/// The room for the lines below a picture.
const TEXT: u32 = 34;

pub(crate) fn save(cards: &[Card], size: u32, path: &Path) -> image::ImageResult<()> {
    let columns = COLUMNS.min(cards.len().max(1));
    let (wide, high) = (size + 2 * PADDING, size + 2 * PADDING + TEXT);
    let rows = cards.len().div_ceil(columns) as u32;
    let width = 2 * MARGIN + columns as u32 * (wide + GAP) - GAP;
    let height = 2 * MARGIN + TITLE + rows * (high + GAP) - GAP.min(rows * GAP);
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let failed = cards.iter().filter(|card| card.content.is_err()).count();
    write(&mut sheet, MARGIN, MARGIN, 3, INK, "CONTACT SHEET");
    let summary = format!("{} PICTURES  {failed} FAILED", cards.len() - failed);
    write(&mut sheet, width - MARGIN - 12 * summary.len() as u32, MARGIN + 4, 2, FAINT, &summary);
    for (number, card) in cards.iter().enumerate() {
        let x = MARGIN + (number % columns) as u32 * (wide + GAP);
        let y = MARGIN + TITLE + (number / columns) as u32 * (high + GAP);
        draw(&mut sheet, x, y, size, card);
    }
    sheet.save(path)
}

fn draw(sheet: &mut RgbImage, x: u32, y: u32, size: u32, card: &Card) {
    let (wide, high) = (size + 2 * PADDING, size + 2 * PADDING + TEXT);
    let columns = ((size - 2) / 6) as usize;
    let name: String = card.name.chars().take(columns).collect();
    let caption = y + size + 2 * PADDING;
    match &card.content {
        Ok(picture) => {
            fill(sheet, x, y, wide, high, CARD);
            let left = x + PADDING + (size - picture.width.min(size)) / 2;
            let top = y + PADDING + (size - picture.height.min(size)) / 2;
            imageops::replace(sheet, &picture.image(), left.into(), top.into());
            write(sheet, x + PADDING, caption, 1, INK, &name);
            let from = format!("{} X {}", picture.from.0, picture.from.1);
            write(sheet, x + PADDING, caption + 13, 1, FAINT, &from);
        }
        Err(reason) => {
            fill(sheet, x, y, wide, high, BAD_CARD);
            cross(sheet, x + wide / 2, y + PADDING + size / 3, size / 7);
            let mut line = y + PADDING + size / 3 + size / 5;
            for text in wrap(reason, columns).into_iter().take(4) {
                let left = x + (wide - 6 * text.len() as u32) / 2;
                write(sheet, left, line, 1, INK, &text);
                line += 12;
            }
            write(sheet, x + PADDING, caption, 1, INK, &name);
            write(sheet, x + PADDING, caption + 13, 1, BAD, "FAILED");
        }
    }
}

/// A rectangle with its corners taken off.
fn fill(sheet: &mut RgbImage, x: u32, y: u32, width: u32, height: u32, colour: Rgb<u8>) {
    const ROUND: i64 = 6;
    for dy in 0..height {
        for dx in 0..width {
            let out = |at: u32, length: u32| (ROUND - i64::from(at.min(length - 1 - at))).max(0);
            let (a, b) = (out(dx, width), out(dy, height));
            if a * a + b * b <= ROUND * ROUND {
                put(sheet, x + dx, y + dy, colour);
            }
        }
    }
}

fn cross(sheet: &mut RgbImage, x: u32, y: u32, reach: u32) {
    for step in 0..=2 * reach {
        for thick in 0..5 {
            put(sheet, x + step - reach + thick - 2, y + step - reach, BAD);
            put(sheet, x + step - reach + thick - 2, y + reach - step, BAD);
        }
    }
}

/// A text in lines of at most so many letters.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().take(most).collect();
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= most => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

fn write(sheet: &mut RgbImage, x: u32, y: u32, scale: u32, colour: Rgb<u8>, text: &str) {
    for (place, letter) in (0..).zip(text.chars()) {
        for (row, bits) in (0..).zip(glyph(letter)) {
            for column in 0..5 {
                if bits >> (4 - column) & 1 == 1 {
                    for dot in 0..scale * scale {
                        let left = x + (place * 6 + column) * scale;
                        put(sheet, left + dot % scale, y + row * scale + dot / scale, colour);
                    }
                }
            }
        }
    }
}

fn put(sheet: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>) {
    if let Some(pixel) = sheet.get_pixel_mut_checked(x, y) {
        *pixel = colour;
    }
}

/// A letter of five dots by seven, the rows from above.
fn glyph(letter: char) -> [u8; 7] {
    match letter.to_ascii_uppercase() {
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'B' => [0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e],
        'C' => [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
        'D' => [0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e],
        'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        'F' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10],
        'G' => [0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0f],
        'H' => [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'I' => [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
        'J' => [0x07, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c],
        'K' => [0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        'M' => [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
        'N' => [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
        'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'Q' => [0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'V' => [0x11, 0x11, 0x11, 0x11, 0x0a, 0x0a, 0x04],
        'W' => [0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11],
        'X' => [0x11, 0x0a, 0x04, 0x04, 0x04, 0x0a, 0x11],
        'Y' => [0x11, 0x0a, 0x04, 0x04, 0x04, 0x04, 0x04],
        'Z' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1f],
        '0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        '1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        '2' => [0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f],
        '3' => [0x1e, 0x01, 0x01, 0x0e, 0x01, 0x01, 0x1e],
        '4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        '5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        '6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        '7' => [0x1f, 0x01, 0x02, 0x04, 0x04, 0x04, 0x04],
        '8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        '9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        '.' => [0, 0, 0, 0, 0, 0x0c, 0x0c],
        ',' => [0, 0, 0, 0, 0x0c, 0x04, 0x08],
        ':' => [0, 0x0c, 0x0c, 0, 0x0c, 0x0c, 0],
        '-' => [0, 0, 0, 0x1f, 0, 0, 0],
        '_' => [0, 0, 0, 0, 0, 0, 0x1f],
        '/' => [0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10],
        '(' => [0x02, 0x04, 0x08, 0x08, 0x08, 0x04, 0x02],
        ')' => [0x08, 0x04, 0x02, 0x02, 0x02, 0x04, 0x08],
        '\'' | '`' => [0x04, 0x04, 0, 0, 0, 0, 0],
        ' ' => [0; 7],
        _ => [0x0e, 0x11, 0x01, 0x02, 0x04, 0, 0x04],
    }
}
