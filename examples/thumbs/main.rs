//! Thumbnails of all images below some folders, made by workers that are caged and limited: whatever is wrong with a file,
//! the worst that happens is a line that says so.
//!
//! ```console
//! $ cargo run --release --features cage,progress --example thumbs                # a folder of samples, some of them vicious
//! $ cargo run --release --features cage,progress --example thumbs -- ~/Pictures
//! ```
//!
//! It writes the thumbnails and one contact sheet.

mod picture;
mod samples;
mod sheet;
mod toy;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use multiproc::{Cage, Failure, LimitReached, Limits, Pool, TaskError};

use picture::Thumbnail;
use sheet::Card;

/// What the decoding of one file may take.
const DEADLINE: Duration = Duration::from_secs(2);
const ADDRESS_SPACE: u64 = 512 << 20;

const USAGE: &str = "usage: thumbs [--out FOLDER] [--size PIXELS] [--jobs N] [FOLDER ...]

Makes thumbnails of all images (png, jpg, toy) below the folders. Without a folder, it makes one of
samples, some of which do their worst.";

/// What the command line says.
struct Arguments {
    folders: Vec<PathBuf>,
    out: PathBuf,
    size: u32,
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = match parse(env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("thumbs: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("thumbs: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments { folders: Vec::new(), out: PathBuf::from("target/thumbs"), size: 160, jobs: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u32>().map_err(|_| format!("`{text}` is no number"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--out" => arguments.out = value()?.into(),
            "--size" => arguments.size = number(value()?)?.clamp(16, 1024),
            "--jobs" => arguments.jobs = Some(number(value()?)? as usize),
            _ if word.starts_with('-') => return Err(format!("there is no option {word}")),
            _ => arguments.folders.push(word.into()),
        }
    }
    Ok(Some(arguments))
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let colour = Colour(io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none());
    let mut folders = arguments.folders;
    fs::create_dir_all(&arguments.out).map_err(|error| format!("{}: {error}", arguments.out.display()))?;
    if folders.is_empty() {
        let folder = arguments.out.join("samples");
        let count = samples::make(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        println!("made {count} sample images in {}, some of them vicious", folder.display());
        folders.push(folder);
    }
    let mut files = Vec::new();
    for folder in &mut folders {
        *folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
        find(folder, &mut files).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    files.sort();

    // A worker may read the folders and compute, for a while: nothing else.
    let cage = folders.iter().fold(Cage::new(), |cage, folder| cage.read(folder));
    let limits = Limits::new().address_space(ADDRESS_SPACE).open_files(64);
    let pool = Pool::builder().name("decoder").cage(cage).limits(limits);
    let pool = arguments.jobs.into_iter().fold(pool, |pool, jobs| pool.processes(jobs)).build()?;

    let started = Instant::now();
    let outcomes: Vec<Result<Result<Thumbnail, String>, TaskError>> = pool
        .tasks()
        .deadline(DEADLINE)
        .chunk_size(1)
        .progress_bar()
        .istarmap(picture::thumbnail, files.iter().map(|file| (file.clone(), arguments.size)))
        .collect();
    let took = started.elapsed();

    let mut cards = Vec::new();
    let mut failures = Vec::new();
    for (file, outcome) in files.iter().zip(outcomes) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outcome = match outcome {
            Ok(Ok(picture)) => Ok(picture),
            Ok(Err(reason)) => Err(reason),
            Err(error) => Err(reason(&error)),
        };
        match outcome {
            Ok(picture) => {
                // The path as a name, so that files of one name in two folders stay two.
                let short = folders.iter().find_map(|folder| file.strip_prefix(folder).ok()).unwrap_or(file);
                let short = short.to_string_lossy().replace('/', "-");
                picture.save(&arguments.out.join(format!("{short}.thumb.png")))?;
                cards.push(Card { name, content: Ok(picture) });
            }
            Err(reason) => {
                failures.push((name.clone(), reason.clone()));
                cards.push(Card { name, content: Err(reason) });
            }
        }
    }
    let sheet = arguments.out.join("contact-sheet.png");
    sheet::save(&cards, arguments.size, &sheet)?;

    for (name, reason) in &failures {
        println!("{} {name:<26} {}", colour.red("✗"), colour.dim(reason));
    }
    let stats = pool.stats();
    let rate = files.len() as f64 / took.as_secs_f64().max(1e-9);
    println!(
        "{} {} of {} files in {:.2} s, {rate:.0} a second; {} failed, {} workers replaced",
        colour.green("✓"),
        files.len() - failures.len(),
        files.len(),
        took.as_secs_f64(),
        failures.len(),
        stats.restarts(),
    );
    println!("  thumbnails in {}, all on {}", arguments.out.display(), sheet.display());
    Ok(())
}

/// All images below a folder. What cannot be read is passed over; links are not followed.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => drop(find(&path, files)),
            Ok(kind) if kind.is_file() && picture::is_image(&path) => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Why a worker gave no answer, in few words.
fn reason(error: &TaskError) -> String {
    match error.failure() {
        Failure::Limit(LimitReached::Deadline(time)) => format!("took longer than {} s", time.as_secs_f64()),
        Failure::Limit(LimitReached::AddressSpace(bytes)) => format!("wanted more than {} MiB", bytes >> 20),
        Failure::Panicked(panic) => format!("decoder panicked: {}", panic.message()),
        other => format!("decoder {other}"),
    }
}

/// Colours, if there is somebody to see them.
struct Colour(bool);

impl Colour {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
}
