//! A picture to draw on.

use image::{Rgb, RgbImage, RgbaImage};

use crate::font;

/// Red, green, blue.
pub(crate) type Colour = [u8; 3];

pub(crate) struct Canvas(pub(crate) RgbImage);

/// A place and a size, in pixels.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Area {
    /// The area without a margin all around.
    pub(crate) fn inside(self, margin: u32) -> Area {
        let Area { left, top, width, height } = self;
        Area {
            left: left + margin,
            top: top + margin,
            width: width.saturating_sub(2 * margin),
            height: height.saturating_sub(2 * margin),
        }
    }
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32, colour: Colour) -> Canvas {
        Canvas(RgbImage::from_pixel(width, height, Rgb(colour)))
    }

    /// Mixes a colour into a pixel: none of it for 0, all for 1. Nothing outside of the picture.
    fn blend(&mut self, x: u32, y: u32, colour: Colour, part: f32) {
        if let Some(Rgb(pixel)) = self.0.get_pixel_mut_checked(x, y) {
            for (old, new) in pixel.iter_mut().zip(colour) {
                *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * part).round() as u8;
            }
        }
    }

    /// A filled area with round corners.
    pub(crate) fn fill(&mut self, area: Area, radius: f32, colour: Colour) {
        let (half_width, half_height) = (area.width as f32 / 2.0, area.height as f32 / 2.0);
        let radius = radius.min(half_width).min(half_height);
        for (row, column) in
            (0..area.height).flat_map(|row| (0..area.width).map(move |column| (row, column)))
        {
            // How far the pixel is outside of the rectangle in which the corners have their
            // centres.
            let x = ((column as f32 + 0.5 - half_width).abs() - half_width + radius).max(0.0);
            let y = ((row as f32 + 0.5 - half_height).abs() - half_height + radius).max(0.0);
            let part = (radius - x.hypot(y) + 0.5).clamp(0.0, 1.0);
            self.blend(
                area.left + column,
                area.top + row,
                colour,
                if radius > 0.0 { part } else { 1.0 },
            );
        }
    }

    /// A thick line.
    pub(crate) fn line(&mut self, from: (f32, f32), to: (f32, f32), width: f32, colour: Colour) {
        let (run, rise) = (to.0 - from.0, to.1 - from.1);
        let square = (run * run + rise * rise).max(f32::EPSILON);
        let range = |a: f32, b: f32| (a.min(b) - width).max(0.0) as u32..=(a.max(b) + width) as u32;
        for (y, x) in range(from.1, to.1).flat_map(|y| range(from.0, to.0).map(move |x| (y, x))) {
            let (a, b) = (x as f32 + 0.5 - from.0, y as f32 + 0.5 - from.1);
            let along = ((a * run + b * rise) / square).clamp(0.0, 1.0);
            let far = (a - along * run).hypot(b - along * rise);
            self.blend(x, y, colour, (width / 2.0 - far + 0.5).clamp(0.0, 1.0));
        }
    }

    /// Text from its upper left corner; each dot is a square of `scale` pixels.
    pub(crate) fn text(&mut self, left: u32, top: u32, scale: u32, colour: Colour, text: &str) {
        let mut left = left;
        for character in text.chars() {
            let glyph = font::glyph(character);
            for (row, column) in (0..).zip(&glyph.rows).flat_map(|(row, dots)| {
                (0..).zip(dots).filter(|(_, dot)| **dot).map(move |(column, _)| (row, column))
            }) {
                let area = Area {
                    left: left + column * scale,
                    top: top + row * scale,
                    width: scale,
                    height: scale,
                };
                self.fill(area, 0.0, colour);
            }
            left += (glyph.width as u32 + 1) * scale;
        }
    }

    /// A picture in the middle of an area that it fits into.
    pub(crate) fn picture(&mut self, area: Area, picture: &RgbaImage) {
        let left = area.left + area.width.saturating_sub(picture.width()) / 2;
        let top = area.top + area.height.saturating_sub(picture.height()) / 2;
        for (x, y, pixel) in picture.enumerate_pixels() {
            let [red, green, blue, alpha] = pixel.0;
            self.blend(left + x, top + y, [red, green, blue], f32::from(alpha) / 255.0);
        }
    }
}
