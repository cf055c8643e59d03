//! Thumbnails of all pictures below some folders, made by workers that are caged and limited: a
//! file that is broken, hostile or hangs its decoder costs a worker at most, and is listed with the
//! reason.
//!
//! ```console
//! $ cargo run --release --features cage,progress --example thumbs                  # samples, some of which mean harm
//! $ cargo run --release --features cage,progress --example thumbs -- ~/Pictures
//! ```
//!
//! It writes the thumbnails, one contact sheet to look at, and a summary. It fails if no folder can
//! be read or if it cannot write, and not because of any picture.

mod arguments;
mod canvas;
mod files;
mod font;
mod report;
mod samples;
mod sheet;
mod thumbnail;
mod toy;

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use image::{ImageFormat, RgbaImage};
use multiproc::{Cage, Failure, LimitReached, Limits, Pool, TaskError, cpu_count};

use arguments::Arguments;
use files::File;
use report::{Look, Outcome, printable, shown};
use sheet::Sheet;
use thumbnail::{Job, Refusal, Thumbnail, thumbnail};

/// What one picture may take of a worker.
const DEADLINE: Duration = Duration::from_secs(2);
const MEMORY: u64 = 512 << 20;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("thumbs: {} (--help says what there is)", printable(&why));
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        report::say(arguments::USAGE);
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("thumbs: {}", printable(&why));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let Arguments { mut folders, out, side, jobs, .. } = arguments;
    let (small, sheet_path, summary) =
        (out.join("thumbnails"), out.join("contact-sheet.png"), out.join("summary.txt"));
    make_folder(&small)?;
    if folders.is_empty() {
        folders.push(out.join("samples"));
        samples::make(&folders[0]).map_err(at(&folders[0]))?;
    }
    let found = files::find(&folders, &[small.clone(), sheet_path.clone()]);
    for (path, error) in &found.unread {
        eprintln!("thumbs: {}: {error}", shown(path));
    }
    if found.folders.is_empty() {
        return Err("no folder could be read".to_owned());
    }

    let look = Look::of_stdout();
    let place = folders.iter().map(|folder| shown(folder)).collect::<Vec<_>>().join(", ");
    let workers = jobs.unwrap_or_else(cpu_count);
    let pool = pool(workers, &found.folders)?;
    report::say(&report::opening(look, found.files.len(), &place, promise(workers)));

    let begun = Instant::now();
    let mut outcome =
        Outcome { thumbnails: 0, failures: Vec::new(), time: Duration::ZERO, replaced: 0 };
    let mut sheet = Sheet::new(side);
    let work = found.files.iter().map(|file| Job { path: file.path.clone().into(), side });
    let outcomes =
        pool.tasks().deadline(DEADLINE).chunk_size(1).progress_bar().imap(thumbnail, work);
    for (made, file) in outcomes.zip(&found.files) {
        let (made, is_lost) = match made {
            Ok(made) => (made.and_then(|made| checked(made, side)), false),
            Err(error) => (Err(lost(&error)), true),
        };
        let name = shown(&file.name);
        let short = shown(file.name.file_name().unwrap_or_default().as_ref());
        match made {
            Ok((picture, (width, height))) => {
                keep(&small, file, &picture)?;
                outcome.thumbnails += 1;
                sheet.add_picture(
                    &short,
                    format!("{width}\u{d7}{height} \u{b7} {}", sheet::bytes(file.bytes)),
                    picture,
                );
            }
            Err(Refusal { reason, detail }) => {
                let (reason, detail) = (printable(&reason), printable(&detail));
                sheet.add_failure(&short, sheet::bytes(file.bytes), &reason, &detail, is_lost);
                outcome.failures.push(report::Failure { name, reason, detail, is_lost });
            }
        }
    }
    if io::stderr().is_terminal() {
        // The bar stands on a line that nobody has ended.
        report::say("\n");
    }
    outcome.time = begun.elapsed();
    outcome.replaced = pool.stats().restarts();

    sheet
        .save(&sheet_path, &format!("{place} \u{b7} {:.1} s", outcome.time.as_secs_f64()))
        .map_err(at(&sheet_path))?;
    let places = [("contact sheet", &*sheet_path), ("thumbnails", &*small), ("summary", &*summary)];
    fs::write(&summary, report::closing(Look::PLAIN, &outcome, &places).trim_start())
        .map_err(at(&summary))?;
    report::say(&report::closing(look, &outcome, &places));
    Ok(())
}

/// Workers that may read the folders and compute, within limits: nothing else.
fn pool(workers: usize, folders: &[PathBuf]) -> Result<Pool, String> {
    let pool = Pool::builder().name("thumbs").processes(workers).initializer(silence, ());
    let pool = pool.limits(Limits::new().address_space(MEMORY));
    let pool = match Cage::check_support() {
        Ok(()) => pool.cage(folders.iter().fold(Cage::new(), |cage, folder| cage.read(folder))),
        Err(_) => pool,
    };
    pool.build().map_err(|error| error.to_string())
}

/// What is promised of the workers, and whether all of it.
fn promise(workers: usize) -> (String, bool) {
    let unit = if workers == 1 { "worker" } else { "workers" };
    let each = format!("{} MiB and {} s for a picture", MEMORY >> 20, DEADLINE.as_secs());
    match Cage::check_support() {
        Ok(()) => {
            (format!("{workers} caged {unit}: {each}, these folders, and nothing else"), true)
        }
        Err(error) => (format!("{workers} {unit}, NOT caged ({error}): {each}"), false),
    }
}

/// Decoders say on standard error what they die of; the list says it better. (What a worker has for
/// standard input cannot be written to.)
fn silence() {
    _ = rustix::stdio::dup2_stderr(io::stdin());
}

/// The pixels and the original size, if the worker, which has read what it has read, says something
/// possible.
fn checked(made: Thumbnail, side: u32) -> Result<(RgbaImage, (u32, u32)), Refusal> {
    let Thumbnail { original, width, height, pixels } = made;
    let fits = (1..=side).contains(&width) && (1..=side).contains(&height);
    let picture = if fits { RgbaImage::from_raw(width, height, pixels) } else { None };
    let whole = picture.filter(|picture| picture.as_raw().len() == (width * height * 4) as usize);
    whole
        .map(|picture| (picture, original))
        .ok_or_else(|| Refusal::new("nonsense", "what came back is no thumbnail"))
}

/// What became of a worker, in few words and in more.
fn lost(error: &TaskError) -> Refusal {
    match error.failure() {
        Failure::Limit(LimitReached::Deadline(time)) => Refusal::new(
            format!("deadline {} s", time.as_secs_f64()),
            "the decoder was still at it",
        ),
        Failure::Limit(LimitReached::AddressSpace(bytes) | LimitReached::Resident(bytes)) => {
            Refusal::new(format!("memory limit {} MiB", bytes >> 20), "the decoder wanted more")
        }
        Failure::Limit(limit) => Refusal::new("limit", limit),
        Failure::Panicked(panic) => {
            let file = |location: &multiproc::Location| {
                let name = Path::new(location.file())
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                format!(" ({name}:{})", location.line())
            };
            Refusal::new(
                "panicked",
                format!("{}{}", panic.message(), panic.location().map(file).unwrap_or_default()),
            )
        }
        Failure::Signalled { signal, .. } => {
            Refusal::new(format!("killed: {signal}"), "the decoder died of it")
        }
        Failure::Exited(code) => Refusal::new(format!("exited: {code}"), "the decoder left"),
        other => Refusal::new("failed", other),
    }
}

/// Writes a thumbnail where its file's name says.
fn keep(folder: &Path, file: &File, picture: &RgbaImage) -> Result<(), String> {
    let mut name = folder.join(&file.name).into_os_string();
    name.push(".png");
    let path = PathBuf::from(name);
    make_folder(path.parent().unwrap_or(folder))?;
    picture
        .save_with_format(&path, ImageFormat::Png)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn make_folder(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(at(path))
}

/// For `map_err`: says which file it was.
fn at(path: &Path) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
