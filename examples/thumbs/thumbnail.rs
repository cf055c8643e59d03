//! What the workers do: a picture that nobody trusts becomes a small one.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Cursor, ErrorKind};

use image::error::{DecodingError, ImageError};
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use serde::{Deserialize, Serialize};

use crate::toy;

/// A picture to make small. The path is no `PathBuf`, because serde does not encode one that is not
/// UTF-8.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) path: OsString,
    /// The longest side that the thumbnail may have, in pixels.
    pub(crate) side: u32,
}

/// What is left of a picture: pixels, and no format that the program would have to decode.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Thumbnail {
    /// Width and height of the picture.
    pub(crate) original: (u32, u32),
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Red, green, blue and alpha of each pixel.
    pub(crate) pixels: Vec<u8>,
}

/// Why a file gives no thumbnail: in a word or two, and in detail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>, detail: impl ToString) -> Refusal {
        Refusal { reason: reason.into(), detail: detail.to_string() }
    }
}

/// Makes the thumbnail of one file. What the file makes of the decoders is the worker's end, not
/// ours.
pub(crate) fn thumbnail(job: Job) -> Result<Thumbnail, Refusal> {
    let file = fs::read(&job.path)?;
    let picture = if file.is_empty() {
        return Err(Refusal::new("empty", "no bytes at all"));
    } else if file.starts_with(toy::MAGIC) {
        let picture = toy::decode(&file)?;
        let pixels =
            RgbImage::from_raw(picture.width.into(), picture.height.into(), picture.pixels);
        pixels.map(DynamicImage::from).ok_or_else(|| Refusal::new("damaged", "too few pixels"))?
    } else {
        decode(&file)?
    };
    let original = (picture.width(), picture.height());
    let small = shrink(picture, job.side).into_rgba8();
    Ok(Thumbnail {
        original,
        width: small.width(),
        height: small.height(),
        pixels: small.into_raw(),
    })
}

fn decode(file: &[u8]) -> Result<DynamicImage, Refusal> {
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    let Some(format) = reader.format() else {
        return Err(Refusal::new("no picture", "begins like no format that is known here"));
    };
    // The decoder of JPEG fills up with grey what is missing.
    if format == ImageFormat::Jpeg && !file.windows(2).any(|end| end == [0xff, 0xd9]) {
        return Err(Refusal::new("truncated", "ends before the end of the picture"));
    }
    // The worker has a limit. This does not need one.
    reader.no_limits();
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The picture so small that it fits, or as it is if it does. Most of a big one is averaged, the
/// rest filtered well.
fn shrink(picture: DynamicImage, side: u32) -> DynamicImage {
    if picture.width().max(picture.height()) <= side {
        return picture;
    }
    let rough = if picture.width().max(picture.height()) > 4 * side {
        picture.thumbnail(4 * side, 4 * side)
    } else {
        picture
    };
    rough.resize(side, side, FilterType::Lanczos3)
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        let reason = match error.kind() {
            ErrorKind::UnexpectedEof => "truncated",
            ErrorKind::PermissionDenied => "not allowed",
            ErrorKind::NotFound => "gone",
            ErrorKind::OutOfMemory => "memory",
            ErrorKind::InvalidData | ErrorKind::InvalidInput => "damaged",
            _ => "not readable",
        };
        Refusal::new(reason, error)
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Refusal {
        let reason = match &error {
            ImageError::IoError(inner) if inner.kind() == ErrorKind::UnexpectedEof => "truncated",
            ImageError::Decoding(inner) if is_end(inner) => "truncated",
            ImageError::Decoding(_) | ImageError::IoError(_) => "damaged",
            ImageError::Unsupported(_) => "unsupported",
            ImageError::Limits(_) => "too big",
            _ => "not decoded",
        };
        Refusal::new(reason, innermost(&error))
    }
}

/// What the error that all began with says, without the state that some decoders print.
fn innermost(error: &ImageError) -> String {
    let mut error: &dyn Error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    let text = error.to_string();
    text.split(" while ").next().unwrap_or_default().to_owned()
}

/// Whether a decoder wanted more bytes than there are.
fn is_end(error: &DecodingError) -> bool {
    let text = error.to_string();
    text.contains("unexpected EOF")
        || text.contains("unexpected end of file")
        || text.contains("UnexpectedEof")
}
