//! A folder of pictures to try: good ones, and ones that mean harm.

#[path = "shapes.rs"]
mod shapes;

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::path::Path;

use flate2::{Compress, Compression, Crc, FlushCompress};
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};

use crate::toy;

/// A picture: its name, how wide and how high it is, what it shows, and whether only within a
/// circle.
type Sample = (&'static str, u32, u32, fn(f32, f32) -> [f32; 3], bool);

const SAMPLES: [Sample; 30] = [
    ("fractals/burning-ship.png", 640, 400, shapes::ship, false),
    ("fractals/carpet.bmp", 243, 243, shapes::carpet, false),
    ("fractals/dragon.jpg", 640, 360, shapes::dragon, false),
    ("fractals/julia.png", 640, 400, shapes::julia, false),
    ("fractals/mandelbrot.png", 600, 480, shapes::mandelbrot, false),
    ("fractals/newton.gif", 360, 360, shapes::newton, false),
    ("fractals/seahorses.jpg", 600, 400, shapes::seahorses, false),
    ("patterns/dots.gif", 320, 240, shapes::dots, false),
    ("patterns/hexagons.png", 480, 360, shapes::hexagons, false),
    ("patterns/marble.jpg", 360, 540, shapes::marble, false),
    ("patterns/moire.gif", 480, 320, shapes::moire, false),
    ("patterns/mosaic.png", 480, 480, shapes::mosaic, false),
    ("patterns/plasma.jpg", 640, 360, shapes::plasma, false),
    ("patterns/rainbow.toy", 320, 200, shapes::rainbow, false),
    ("patterns/ripples.jpg", 640, 400, shapes::ripples, false),
    ("patterns/target.toy", 200, 200, shapes::target, false),
    ("patterns/truchet.png", 540, 360, shapes::truchet, false),
    ("patterns/tunnel.bmp", 360, 360, shapes::tunnel, false),
    ("patterns/weave.bmp", 300, 400, shapes::weave, false),
    ("patterns/wheel.png", 400, 400, shapes::wheel, true),
    ("views/aurora.jpg", 640, 400, shapes::aurora, false),
    ("views/bokeh.jpg", 640, 420, shapes::bokeh, false),
    ("views/eclipse.jpg", 480, 480, shapes::eclipse, false),
    ("views/galaxy.png", 560, 400, shapes::galaxy, false),
    ("views/moon.png", 400, 400, shapes::moon, true),
    ("views/nebula.jpg", 420, 560, shapes::nebula, false),
    ("views/panorama.jpg", 800, 200, shapes::ridges, false),
    ("views/planet.png", 400, 400, shapes::planet, true),
    ("views/ridges.jpg", 320, 480, shapes::ridges, false),
    ("views/sunset.jpg", 640, 420, shapes::sunset, false),
];

/// Makes all of them below `folder`, the same ones each time.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    for (name, width, height, shape, is_round) in SAMPLES {
        let picture = draw(width, height, shape, is_round);
        write(&folder.join(name), &encode(name, picture)?)?;
    }
    broken(&folder.join("broken"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

fn draw(width: u32, height: u32, shape: fn(f32, f32) -> [f32; 3], is_round: bool) -> RgbaImage {
    let unit = height as f32 / 2.0;
    RgbaImage::from_fn(width, height, |column, row| {
        let (x, y) =
            ((column as f32 + 0.5 - width as f32 / 2.0) / unit, (row as f32 + 0.5) / unit - 1.0);
        let [red, green, blue] =
            shape(x, y).map(|part| (part.clamp(0.0, 1.0) * 255.0).round() as u8);
        let inside = if is_round { ((0.97 - x.hypot(y)) * unit).clamp(0.0, 1.0) } else { 1.0 };
        Rgba([red, green, blue, (inside * 255.0) as u8])
    })
}

fn encode(name: &str, picture: RgbaImage) -> io::Result<Vec<u8>> {
    if name.ends_with(".toy") {
        return Ok(toy_file(&picture));
    }
    let format = ImageFormat::from_path(name).map_err(io::Error::other)?;
    let picture = DynamicImage::from(picture);
    let is_solid = matches!(format, ImageFormat::Jpeg | ImageFormat::Bmp);
    let picture = if is_solid { picture.into_rgb8().into() } else { picture };
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).map_err(io::Error::other)?;
    Ok(bytes.into_inner())
}

/// A file of the format that `toy` decodes: one block of runs.
fn toy_file(picture: &RgbaImage) -> Vec<u8> {
    let colours: Vec<[u8; 3]> =
        picture.pixels().map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    let runs: Vec<u8> = colours
        .chunk_by(|a, b| a == b)
        .flat_map(|same| same.chunks(255))
        .flat_map(|run| [run.len() as u8, run[0][0], run[0][1], run[0][2]])
        .collect();
    let mut file = toy_head(picture.width() as u16, picture.height() as u16);
    for (index, block) in runs.chunks(4 * 1000).enumerate() {
        let is_last = (index + 1) * 4 * 1000 >= runs.len();
        let next = if is_last { 0 } else { file.len() as u32 + 7 + block.len() as u32 };
        file.push(b'R');
        file.extend(next.to_le_bytes());
        file.extend((block.len() as u16 / 4).to_le_bytes());
        file.extend(block);
    }
    file
}

/// The head of such a file, whose first block follows.
fn toy_head(width: u16, height: u16) -> Vec<u8> {
    let first = 12_u32;
    [toy::MAGIC, &width.to_le_bytes(), &height.to_le_bytes(), &first.to_le_bytes()].concat()
}

/// Files that no decoder should have to meet.
fn broken(folder: &Path) -> io::Result<()> {
    let picture = draw(640, 420, shapes::sunset, false);
    let jpeg = encode("sunset.jpg", picture.clone())?;
    write(&folder.join("cut-short.jpg"), &jpeg[..jpeg.len() * 2 / 5])?;

    let mut png = encode("sunset.png", picture)?;
    let middle = png.len() / 2;
    png[middle] ^= 0x10;
    write(&folder.join("one-bit-off.png"), &png)?;

    let noise = (0..20_000_u32).scan(1_u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    });
    write(&folder.join("noise.png"), &noise.collect::<Vec<_>>())?;
    write(&folder.join("nothing.gif"), &[])?;
    bomb(&folder.join("bomb.png"), 50_000)?;

    // A block without runs that is its own next one.
    write(&folder.join("endless.toy"), &[&toy_head(64, 64)[..], b"R\x0c\0\0\0\0\0"].concat())?;
    // A run of 255 pixels in a picture of 64.
    write(
        &folder.join("overrun.toy"),
        &[&toy_head(8, 8)[..], b"R\0\0\0\0\x01\0\xff\x20\x80\xc0"].concat(),
    )?;
    // A group that is in itself.
    write(&folder.join("nested.toy"), &[&toy_head(64, 64)[..], b"G\0\0\0\0\x0c\0\0\0"].concat())?;
    // A picture without width.
    write(&folder.join("no-width.toy"), &[&toy_head(0, 64)[..], b"R\0\0\0\0\0\0"].concat())?;
    // A picture of the names of all users.
    write(&folder.join("spy.toy"), &[&toy_head(64, 64)[..], b"F\0\0\0\0\x0b/etc/passwd"].concat())
}

/// A valid PNG of `side` by `side` pixels, all black: a few hundred kilobytes that become
/// gigabytes.
fn bomb(path: &Path, side: u32) -> io::Result<()> {
    // One bit for each pixel, as the number of a colour; one byte before each row.
    let length = (u64::from(side).div_ceil(8) + 1) * u64::from(side);
    let mut head = [side.to_be_bytes(), side.to_be_bytes()].concat();
    head.extend([1, 3, 0, 0, 0]);
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x89PNG\r\n\x1a\n")?;
    chunk(&mut file, b"IHDR", &head)?;
    chunk(&mut file, b"PLTE", &[0, 0, 0, 255, 255, 255])?;
    chunk(&mut file, b"IDAT", &zeros(length)?)?;
    chunk(&mut file, b"IEND", &[])?;
    file.flush()
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

/// So many zeros, as zlib has them: what it makes of a mebibyte, again and again.
fn zeros(length: u64) -> io::Result<Vec<u8>> {
    const PART: usize = 1 << 20;
    let compressed = |count: usize, flush| {
        let mut bytes = Vec::with_capacity(1 << 14);
        let status = Compress::new(Compression::best(), false).compress_vec(
            &vec![0; count],
            &mut bytes,
            flush,
        );
        status.map(|_| bytes).map_err(io::Error::other)
    };
    let mut stream = vec![0x78, 0xda];
    // A flush in full ends a part at a whole byte, and the next does not look back.
    stream.extend(compressed(PART, FlushCompress::Full)?.repeat((length / PART as u64) as usize));
    stream.extend(compressed((length % PART as u64) as usize, FlushCompress::Finish)?);
    // The sum of Adler: 1, and as often 1 as there are bytes.
    stream.extend(((length % 65_521) as u32).to_be_bytes()[2..].iter().chain(&[0, 1]));
    Ok(stream)
}
