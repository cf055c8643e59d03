//! What the workers do: a picture that nobody trusts becomes a small one.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, RgbImage};
use serde::{Deserialize, Serialize};

use crate::toy;

/// The longest side of a thumbnail, in pixels.
pub(crate) const SIDE: u32 = 128;

/// Why a picture has no thumbnail, by a decoder that survived it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refusal(pub(crate) String);

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>, detail: impl ToString) -> Refusal {
        Refusal(format!("{}: {}", reason.into(), detail.to_string()))
    }
}

/// Makes a thumbnail, as a PNG. It trusts the picture with everything that the worker has, which is
/// not much: memory and time within limits, and no file.
pub(crate) fn thumbnail(picture: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let picture = if picture.starts_with(toy::MAGIC) {
        let picture = toy::decode(&picture)?;
        RgbImage::from_raw(picture.width.into(), picture.height.into(), picture.pixels)
            .map(DynamicImage::from)
            .ok_or_else(|| Refusal::new("damaged", "too few pixels"))?
    } else {
        let mut reader = ImageReader::new(Cursor::new(picture)).with_guessed_format()?;
        // The worker has a limit. This does not need one.
        reader.no_limits();
        reader.decode()?
    };
    let mut png = Cursor::new(Vec::new());
    picture.thumbnail(SIDE, SIDE).write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::new("not readable", error)
    }
}

impl From<image::ImageError> for Refusal {
    fn from(error: image::ImageError) -> Refusal {
        Refusal::new("not decoded", error)
    }
}
