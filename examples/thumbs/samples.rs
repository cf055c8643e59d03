//! Pictures to try it with: handsome ones, and some that no decoder should ever meet.

use std::f64::consts::TAU;
use std::fs;
use std::io;
use std::path::Path;

use image::{Rgb, RgbImage};

/// A colour for each place, both from 0 to 1.
type Paint = Box<dyn Fn(f64, f64) -> [f64; 3]>;

/// Makes the folder anew and fills it; how many files there are.
pub(crate) fn make(folder: &Path) -> io::Result<usize> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let pictures = pictures();
    for (name, width, height, paint) in &pictures {
        let picture = RgbImage::from_fn(*width, *height, |x, y| {
            let colour = paint((f64::from(x) + 0.5) / f64::from(*width), (f64::from(y) + 0.5) / f64::from(*height));
            Rgb(colour.map(|part| (part.clamp(0.0, 1.0) * 255.0) as u8))
        });
        let path = folder.join(name);
        if name.ends_with(".toy") {
            fs::write(path, toy(&picture))?;
        } else {
            picture.save(path).map_err(io::Error::other)?;
        }
    }
    let vicious: [(&str, Vec<u8>); 7] = [
        ("broken-truncated.jpg", truncated(&folder.join("julia-coral.jpg"))?),
        ("broken-noise.png", noise()),
        ("broken-empty.png", Vec::new()),
        ("evil-bomb.png", bomb(16_000)),
        ("evil-abort.toy", [b"TOY1\x10\0\x10\0".as_slice(), &[2, 200, 9]].concat()),
        ("evil-endless.toy", [b"TOY1\x10\0\x10\0".as_slice(), &[1, 8, 0]].concat()),
        ("evil-deep.toy", deep()),
    ];
    for (name, bytes) in &vicious {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(pictures.len() + vicious.len())
}

fn pictures() -> Vec<(String, u32, u32, Paint)> {
    let mut all: Vec<(String, u32, u32, Paint)> = Vec::new();
    let mut add = |name: &str, width, height, paint: Paint| all.push((name.to_owned(), width, height, paint));
    for (name, x, y, zoom, phase) in [
        ("mandelbrot-whole.png", -0.65, 0.0, 3.0, 0.0),
        ("mandelbrot-seahorse.jpg", -0.745, 0.113, 0.02, 0.15),
        ("mandelbrot-spiral.png", -0.7615, -0.0848, 0.008, 0.4),
        ("mandelbrot-island.jpg", -1.7687, -0.0017, 0.03, 0.6),
    ] {
        add(name, 480, 320, Box::new(move |u, v| escape((0.0, 0.0), plane(u, v, x, y, zoom), phase)));
    }
    for (name, x, y, phase) in [
        ("julia-coral.jpg", -0.7269, 0.1889, 0.0),
        ("julia-dragon.png", -0.8, 0.156, 0.3),
        ("julia-rabbit.jpg", -0.123, 0.745, 0.55),
        ("julia-dust.png", 0.285, 0.01, 0.8),
    ] {
        add(name, 360, 360, Box::new(move |u, v| escape(plane(u, v, 0.0, 0.0, 2.8), (x, y), phase)));
    }
    for (name, width, height, a, b) in [
        ("plasma-dawn.jpg", 480, 270, 3.0, 0.05),
        ("plasma-reef.png", 320, 480, 5.0, 0.45),
        ("plasma-ember.jpg", 400, 400, 7.0, 0.9),
        ("plasma-ice.png", 520, 200, 4.0, 0.6),
    ] {
        add(
            name,
            width,
            height,
            Box::new(move |u, v| {
                let wave = (u * a * 2.0).sin()
                    + (v * a * 1.7 + (u * a).cos()).sin()
                    + ((u - 0.5).hypot(v - 0.5) * a * 3.0).sin();
                palette(wave / 6.0 + 0.5, b)
            }),
        );
    }
    for (name, x, y, phase) in [
        ("sphere-jade.png", 0.35, 0.3, 0.35),
        ("sphere-ruby.jpg", 0.65, 0.25, 0.02),
        ("sphere-dusk.png", 0.5, 0.8, 0.7),
    ] {
        add(name, 320, 320, Box::new(move |u, v| sphere(u, v, (x, y), phase)));
    }
    for (name, rings, phase) in [("moire-silk.png", 38.0, 0.2), ("moire-lens.jpg", 22.0, 0.75)] {
        add(
            name,
            480,
            300,
            Box::new(move |u, v| {
                let ring = |x: f64, y: f64| ((u - x).hypot((v - y) * 0.625) * rings * TAU).sin();
                let both = ring(0.38, 0.5) * ring(0.62, 0.5);
                palette(0.5 + 0.35 * both, phase).map(|part| part * (0.55 + 0.45 * both))
            }),
        );
    }
    for (name, count, phase) in [("tiles-arcs.png", 9.0, 0.1), ("tiles-night.jpg", 14.0, 0.62)] {
        add(name, 420, 280, Box::new(move |u, v| tiles(u * count, v * count / 1.5, phase)));
    }
    add("dunes.jpg", 640, 240, Box::new(dunes));
    for (name, phase) in [("toy-sunset.toy", 0.95), ("toy-sea.toy", 0.5)] {
        add(
            name,
            200,
            150,
            Box::new(move |u, v| {
                let sun = if (u - 0.5).hypot((v - 0.45) * 0.75) < 0.16 { 0.35 } else { 0.0 };
                palette((v * 10.0).floor() / 14.0 + sun, phase)
            }),
        );
    }
    all
}

/// A smooth round of colours.
fn palette(t: f64, phase: f64) -> [f64; 3] {
    [0.0, 0.12, 0.27].map(|shift| 0.5 + 0.5 * (TAU * (t + phase + shift)).cos())
}

fn plane(u: f64, v: f64, x: f64, y: f64, zoom: f64) -> (f64, f64) {
    (x + (u - 0.5) * zoom, y + (v - 0.5) * zoom)
}

/// How soon z := z² + c leaves, as a colour.
fn escape(mut z: (f64, f64), c: (f64, f64), phase: f64) -> [f64; 3] {
    const MOST: u32 = 180;
    for step in 0..MOST {
        let (x, y) = (z.0 * z.0, z.1 * z.1);
        if x + y > 256.0 {
            let smooth = f64::from(step) - (x + y).ln().log2();
            return palette((smooth.max(0.0) / 28.0).sqrt(), phase);
        }
        z = (x - y + c.0, 2.0 * z.0 * z.1 + c.1);
    }
    [0.02, 0.02, 0.05]
}

fn sphere(u: f64, v: f64, light: (f64, f64), phase: f64) -> [f64; 3] {
    let (x, y) = ((u - 0.5) * 2.4, (v - 0.5) * 2.4);
    let around = x * x + y * y;
    if around > 1.0 {
        let shade = 0.10 + 0.12 * v - 0.05 * (around - 1.0);
        return palette(phase + 0.5, phase).map(|part| shade + part * 0.06);
    }
    let z = (1.0 - around).sqrt();
    let (lx, ly) = ((light.0 - 0.5) * 2.0, (light.1 - 0.5) * 2.0);
    let length = (lx * lx + ly * ly + 1.0).sqrt();
    let bright = ((x * lx + y * ly + z) / length).max(0.0);
    palette(0.1 * y, phase).map(|part| part * (0.12 + 0.8 * bright) + bright.powi(40) * 0.8)
}

fn tiles(x: f64, y: f64, phase: f64) -> [f64; 3] {
    let (column, row) = (x.floor(), y.floor());
    let turned = ((column * 12.9898 + row * 78.233).sin() * 43758.5453).fract().abs() > 0.5;
    let (u, v) = (if turned { 1.0 - x.fract() } else { x.fract() }, y.fract());
    let near = (u.hypot(v) - 0.5).abs().min(((1.0 - u).hypot(1.0 - v) - 0.5).abs());
    let line = (1.0 - near * 6.0).clamp(0.0, 1.0);
    palette((column + row) / 40.0, phase).map(|part| 0.08 + part * line)
}

fn dunes(u: f64, v: f64) -> [f64; 3] {
    let mut colour = palette(0.62 + 0.25 * v, 0.3).map(|part| 0.35 + 0.5 * part);
    for layer in 0..5 {
        let depth = f64::from(layer);
        let crest = 0.42
            + depth * 0.12
            + 0.06 * (u * (5.0 - depth * 0.6) + depth * 1.9).sin()
            + 0.02 * (u * 17.0 + depth).sin();
        if v > crest {
            let shade = 1.0 - depth * 0.16 - (v - crest) * 0.5;
            colour = [0.93 * shade, 0.62 * shade, 0.38 * shade + depth * 0.03];
        }
    }
    colour
}

/// A picture in the toy format.
fn toy(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = b"TOY1".to_vec();
    for side in [picture.width(), picture.height()] {
        bytes.extend_from_slice(&(side as u16).to_le_bytes());
    }
    let pixels: Vec<_> = picture.pixels().collect();
    for run in pixels.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(255)) {
        bytes.extend_from_slice(&[0, run.len() as u8, run[0][0], run[0][1], run[0][2]]);
    }
    bytes.push(9);
    bytes
}

/// A repetition within a repetition, thirty thousand times.
fn deep() -> Vec<u8> {
    let mut bytes = b"TOY1\x10\0\x10\0".to_vec();
    bytes.extend([3, 1].repeat(200_000));
    bytes.extend([0, 1, 0, 0, 0, 9]);
    bytes
}

fn truncated(path: &Path) -> io::Result<Vec<u8>> {
    // Within its header, as when a download ends early.
    let bytes = fs::read(path)?;
    Ok(bytes[..300.min(bytes.len())].to_vec())
}

fn noise() -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    // It begins as a PNG does.
    b"\x89PNG\r\n\x1a\n".iter().copied().chain((0..4000).map(|_| next())).collect()
}

/// A black square of so many pixels in each direction that takes some 1000 times as much memory as it is long.
fn bomb(side: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let sides = [side.to_be_bytes(), side.to_be_bytes()].concat();
    // 8 bits of each of red, green, blue and opacity.
    chunk(&mut png, b"IHDR", &[sides.as_slice(), &[8, 6, 0, 0, 0]].concat());
    chunk(&mut png, b"IDAT", &zeros(u64::from(side) * (u64::from(side) * 4 + 1)));
    chunk(&mut png, b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend_from_slice(&(data.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend_from_slice(kind);
    png.extend_from_slice(data);
    let mut crc = u32::MAX;
    for byte in &png[start..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    png.extend_from_slice(&(!crc).to_be_bytes());
}

/// So many zeros as zlib packs them at its best: two bits for each 258.
fn zeros(count: u64) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x78, 0xda], last: 0, used: 0 };
    // One block, the last, with codes of its own: for a zero, the end, and 258 times the byte before.
    bits.put(0b101, 3);
    bits.put(29, 5);
    bits.put(0, 5);
    bits.put(14, 4);
    // The lengths of the codes for lengths: 18 (a run of unused ones) has one bit, 2 and 1 have two.
    for length in [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2] {
        bits.put(length, 3);
    }
    let (two, one) = (0b11, 0b01);
    bits.put(two, 2);
    for unused in [138, 117] {
        bits.put(0, 1);
        bits.put(unused - 11, 7);
    }
    bits.put(two, 2);
    bits.put(0, 1);
    bits.put(28 - 11, 7);
    bits.put(one, 2);
    bits.put(one, 2);
    // The zeros.
    let (zero, end) = (0b01, 0b11);
    bits.put(zero, 2);
    for _ in 0..(count - 1) / 258 {
        bits.put(0, 2);
    }
    for _ in 0..(count - 1) % 258 {
        bits.put(zero, 2);
    }
    bits.put(end, 2);
    let mut bytes = bits.finish();
    // Adler-32 of zeros.
    bytes.extend_from_slice(&(((count % 65_521) as u32) << 16 | 1).to_be_bytes());
    bytes
}

struct Bits {
    bytes: Vec<u8>,
    last: u8,
    used: u32,
}

impl Bits {
    /// Appends the low bits of a number, the lowest first.
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            self.last |= ((value >> bit & 1) as u8) << self.used;
            self.used += 1;
            if self.used == 8 {
                self.bytes.push(self.last);
                (self.last, self.used) = (0, 0);
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.used > 0 {
            self.bytes.push(self.last);
        }
        self.bytes
    }
}
