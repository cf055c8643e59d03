//! The contact sheet: all pictures on one, and what became of the others.

use std::io;
use std::path::Path;

use image::{ImageFormat, RgbaImage};

use crate::canvas::{Area, Canvas, Colour};
use crate::font;

/// How many cards of each kind there may be; the rest is counted.
const MOST: usize = 200;

const MARGIN: u32 = 40;
const GAP: u32 = 16;
const PADDING: u32 = 12;
/// The lines below a picture.
const CAPTION: u32 = 52;

const GROUND: Colour = [0x0e, 0x10, 0x14];
const CARD: Colour = [0x1a, 0x1d, 0x24];
const WELL: Colour = [0x12, 0x14, 0x19];
const BRIGHT: Colour = [0xec, 0xee, 0xf2];
const DIM: Colour = [0x82, 0x8a, 0x9a];
const ACCENT: Colour = [0x3d, 0xd6, 0x8c];
const BAD_CARD: Colour = [0x24, 0x17, 0x1b];
const BAD_WELL: Colour = [0x1b, 0x11, 0x14];
const BAD_LINE: Colour = [0x5e, 0x25, 0x2d];
const BAD_DIM: Colour = [0xb0, 0x80, 0x86];
/// The worker was lost.
const RED: Colour = [0xe5, 0x3e, 0x4a];
/// The decoder said no.
const AMBER: Colour = [0xc8, 0x6a, 0x1e];

/// What is shown of one file.
struct Card {
    name: String,
    size: String,
    content: Content,
}

enum Content {
    Picture(RgbaImage),
    Failure { reason: String, detail: String, is_lost: bool },
}

pub(crate) struct Sheet {
    side: u32,
    cards: [Vec<Card>; 2],
    left_out: [usize; 2],
}

impl Sheet {
    /// An empty one, for pictures that are at most `side` pixels wide and high.
    pub(crate) fn new(side: u32) -> Sheet {
        Sheet { side, cards: Default::default(), left_out: [0; 2] }
    }

    pub(crate) fn add_picture(&mut self, name: &str, size: String, picture: RgbaImage) {
        self.add(0, Card { name: name.to_owned(), size, content: Content::Picture(picture) });
    }

    pub(crate) fn add_failure(
        &mut self,
        name: &str,
        size: String,
        reason: &str,
        detail: &str,
        is_lost: bool,
    ) {
        let content =
            Content::Failure { reason: reason.to_owned(), detail: detail.to_owned(), is_lost };
        self.add(1, Card { name: name.to_owned(), size, content });
    }

    fn add(&mut self, kind: usize, card: Card) {
        if self.cards[kind].len() < MOST {
            self.cards[kind].push(card);
        } else {
            self.left_out[kind] += 1;
        }
    }

    /// Draws and writes it; its width and height. `note` stands in the upper right corner.
    pub(crate) fn save(&self, path: &Path, note: &str) -> io::Result<(u32, u32)> {
        let canvas = self.draw(note);
        canvas.0.save_with_format(path, ImageFormat::Png).map_err(io::Error::other)?;
        Ok(canvas.0.dimensions())
    }

    fn draw(&self, note: &str) -> Canvas {
        const TITLE: u32 = 70;
        const HEADING: u32 = 54;
        const SPACE: u32 = 20;
        let count = self.cards.iter().map(Vec::len).sum::<usize>();
        let columns = ((count as f32 * 2.5).sqrt().ceil() as u32).clamp(4, 10);
        let (width, height) = (self.side + 2 * PADDING, self.side + 2 * PADDING + CAPTION);
        let rows = |kind: usize| (self.cards[kind].len() as u32).div_ceil(columns);
        let shown: Vec<usize> = (0..2).filter(|kind| rows(*kind) > 0).collect();
        let body: u32 =
            shown.iter().map(|kind| HEADING + rows(*kind) * (height + GAP) + SPACE).sum();
        let full = columns * (width + GAP) - GAP;
        let mut canvas =
            Canvas::new(full + 2 * MARGIN, TITLE + body + 2 * MARGIN - GAP - SPACE, GROUND);

        canvas.text(MARGIN, MARGIN, 5, BRIGHT, "thumbs");
        let left = MARGIN + full.saturating_sub(2 * font::width(note) as u32);
        canvas.text(left, MARGIN + 20, 2, DIM, note);
        let mut top = MARGIN + TITLE;
        for kind in shown {
            let (heading, colour) = self.heading(kind);
            canvas.fill(Area { left: MARGIN, top: top + 2, width: 6, height: 24 }, 3.0, colour);
            canvas.text(MARGIN + 18, top + 4, 3, BRIGHT, &heading);
            top += HEADING;
            for (index, card) in (0..).zip(&self.cards[kind]) {
                let left = MARGIN + index % columns * (width + GAP);
                let area =
                    Area { left, top: top + index / columns * (height + GAP), width, height };
                self.card(&mut canvas, area, card);
            }
            top += rows(kind) * (height + GAP) + SPACE;
        }
        canvas
    }

    fn heading(&self, kind: usize) -> (String, Colour) {
        let (count, more) = (self.cards[kind].len() + self.left_out[kind], self.left_out[kind]);
        let more = if more > 0 { format!(", {more} of them not shown") } else { String::new() };
        let what = match (kind, count) {
            (0, 1) => "thumbnail",
            (0, _) => "thumbnails",
            (_, 1) => "file that harmed only itself",
            _ => "files that harmed only themselves",
        };
        (format!("{count} {what}{more}"), if kind == 0 { ACCENT } else { RED })
    }

    fn card(&self, canvas: &mut Canvas, area: Area, card: &Card) {
        let well = Area { height: self.side, ..area.inside(PADDING) };
        let (text, dim) = match &card.content {
            Content::Picture(picture) => {
                canvas.fill(area, 10.0, CARD);
                canvas.fill(well, 5.0, WELL);
                canvas.picture(well, picture);
                (BRIGHT, DIM)
            }
            Content::Failure { reason, detail, is_lost } => {
                canvas.fill(area, 10.0, BAD_LINE);
                canvas.fill(area.inside(2), 8.5, BAD_CARD);
                canvas.fill(well, 5.0, BAD_WELL);
                failure(canvas, well, reason, detail, if *is_lost { RED } else { AMBER });
                (BRIGHT, BAD_DIM)
            }
        };
        let room = (well.width / 2) as usize;
        let top = well.top + well.height + 12;
        canvas.text(well.left, top, 2, text, &font::fitted(&card.name, room));
        canvas.text(well.left, top + 23, 2, dim, &font::fitted(&card.size, room));
    }
}

/// A torn picture, the reason on a badge, and below it the details in small.
fn failure(canvas: &mut Canvas, well: Area, reason: &str, detail: &str, colour: Colour) {
    let (centre, icon) = (well.left + well.width / 2, well.height / 4);
    torn(
        canvas,
        Area {
            left: centre - icon * 5 / 8,
            top: well.top + well.height / 8,
            width: icon * 5 / 4,
            height: icon,
        },
    );

    // It may stand out a little at both sides.
    let reason = font::fitted(reason, (well.width.saturating_sub(4) / 2) as usize);
    let wide = 2 * font::width(&reason) as u32;
    let badge = Area {
        left: centre - wide / 2 - 10,
        top: well.top + well.height * 15 / 32,
        width: wide + 20,
        height: 28,
    };
    canvas.fill(badge, 14.0, colour);
    canvas.text(badge.left + 10, badge.top + 7, 2, [255; 3], &reason);

    let top = badge.top + badge.height + 12;
    let line = font::HEIGHT as u32 + 4;
    let most = (well.top + well.height).saturating_sub(top + 4) / line;
    for (row, text) in
        (0..).zip(wrapped(detail, well.width.saturating_sub(20) as usize, most as usize))
    {
        let left = centre - font::width(&text) as u32 / 2;
        canvas.text(left, top + row * line, 1, BAD_DIM, &text);
    }
}

/// A frame with a landscape in it and a crack through both.
fn torn(canvas: &mut Canvas, area: Area) {
    let at = |x: f32, y: f32| {
        (area.left as f32 + area.width as f32 * x, area.top as f32 + area.height as f32 * y)
    };
    canvas.fill(area, 5.0, BAD_LINE);
    canvas.fill(area.inside(3), 3.0, BAD_WELL);
    for (from, to) in [
        ((0.12, 0.78), (0.36, 0.42)),
        ((0.36, 0.42), (0.58, 0.78)),
        ((0.58, 0.66), (0.72, 0.50)),
        ((0.72, 0.50), (0.88, 0.78)),
    ] {
        canvas.line(at(from.0, from.1), at(to.0, to.1), 3.0, BAD_LINE);
    }
    let crack = [(0.62, -0.06), (0.47, 0.30), (0.60, 0.48), (0.42, 1.06)];
    for pair in crack.windows(2) {
        canvas.line(at(pair[0].0, pair[0].1), at(pair[1].0, pair[1].1), 6.0, BAD_WELL);
    }
}

/// The words of a text in at most so many lines of at most so many dots.
fn wrapped(text: &str, room: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && lines.len() < most {
        if lines.len() + 1 == most {
            lines.push(font::fitted(rest, room));
            break;
        }
        // After the last blank or slash that fits, or in the middle of a word.
        let fits = rest
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| font::width(&rest[..*end]) <= room);
        let end = fits.last().unwrap_or(rest.len());
        let end = if end == rest.len() {
            end
        } else {
            rest[..end].rfind([' ', '/', ';']).map_or(end, |at| at + 1)
        };
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    lines
}

/// The number of bytes for people: `0 B`, `31 KB`, `4.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1000 => format!("{count} B"),
        1000..1_000_000 => format!("{:.0} KB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
