//! Pictures, good and bad, and their thumbnails.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// Side of a thumbnail, at the most.
const SIDE: u32 = 64;

/// Makes a picture, the same for the same number. Every 40th is broken, and a few mean harm.
pub(super) fn picture(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let side = 160 + u32::try_from(number % 97).unwrap_or(0);
    let wave = |x: u32, y: u32| (x * y / 7 + x * u32::try_from(number % 13).unwrap_or(1)) as u8;
    let image =
        RgbImage::from_fn(side, side, |x, y| Rgb([wave(x, y), wave(y, x + 40), (x ^ y) as u8]));
    let format = if number.is_multiple_of(2) { ImageFormat::Png } else { ImageFormat::Jpeg };
    if image.write_to(&mut Cursor::new(&mut bytes), format).is_err() {
        bytes.clear();
    }
    match number % 200 {
        // What our decoder below takes for orders, as a hostile file would a decoder with a hole.
        66 => b"HANG".to_vec(),
        133 => b"CRASH".to_vec(),
        199 => b"SWELL".to_vec(),
        _ if number % 40 == 7 => bytes[..bytes.len() / 2].to_vec(),
        _ => bytes,
    }
}

/// Makes the thumbnail of a picture, as PNG; or says why there is none.
pub(super) fn thumbnail(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    match &*bytes {
        b"HANG" => loop {
            std::hint::spin_loop();
        },
        b"CRASH" => std::process::abort(),
        b"SWELL" => {
            let much = vec![1_u8; 2 << 30];
            return Err(format!("{} bytes were not too many", std::hint::black_box(much).len()));
        }
        _ => {}
    }
    let image = image::load_from_memory(&bytes).map_err(|error| error.to_string())?;
    let small: DynamicImage = image.thumbnail(SIDE, SIDE);
    let mut made = Vec::new();
    small
        .write_to(&mut Cursor::new(&mut made), ImageFormat::Png)
        .map_err(|error| error.to_string())?;
    Ok(made)
}
