//! What a worker does: a thumbnail out of a file that may be anything.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{ImageReader, RgbImage};
use serde::{Deserialize, Serialize};

use crate::toy;

/// A small picture: red, green and blue of each pixel.
#[derive(Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// What the picture was.
    pub(crate) from: (u32, u32),
    pixels: Vec<u8>,
}

impl Thumbnail {
    /// The picture. Black, if a decoder that went wrong said something odd of it.
    pub(crate) fn image(&self) -> RgbImage {
        RgbImage::from_raw(self.width, self.height, self.pixels.clone()).unwrap_or_default()
    }

    pub(crate) fn save(&self, path: &Path) -> image::ImageResult<()> {
        self.image().save(path)
    }
}

/// Whether a file calls itself an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg", "toy"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// A thumbnail of a file, of at most so many pixels in each direction; the reason if it is no picture.
pub(crate) fn thumbnail(path: PathBuf, size: u32) -> Result<Thumbnail, String> {
    let picture = if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toy")) {
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        toy::decode(&bytes)?
    } else {
        let file = File::open(&path).map_err(|error| error.to_string())?;
        let mut reader =
            ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|error| error.to_string())?;
        // The worker's limits will do.
        reader.no_limits();
        reader.decode().map_err(|error| shorten(&error.to_string()))?.into_rgb8()
    };
    let from = picture.dimensions();
    let scale = (f64::from(size) / f64::from(from.0.max(from.1).max(1))).min(1.0);
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let small = imageops::resize(&picture, side(from.0), side(from.1), FilterType::Lanczos3);
    Ok(Thumbnail { width: small.width(), height: small.height(), from, pixels: small.into_raw() })
}

/// The beginning of a decoder's complaint.
fn shorten(text: &str) -> String {
    let first = text.split([',', '{', '\n']).next().unwrap_or_default();
    let plain = first.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ');
    plain.take(60).collect::<String>().trim_end().to_lowercase()
}
