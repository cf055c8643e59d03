//! Runs the targets of `multiproc::fuzz` and `multiproc_cluster::fuzz` without any help of a
//! compiler's: honest bytes, changed by chance.
//!
//! Each target is in a process of its own, with a bound on its memory. One that crashes, panics,
//! hangs or grows is reported, and its input kept. See README.md for the commands and the
//! environment variables.

mod job;
mod mutation;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use multiproc::fuzz::Target;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--job", name, seed, seconds, file] => job(name, seed, seconds, file),
        ["--replay", name, ref files @ ..] => replay(name, files),
        ["--seeds", folder] => write_seeds(folder),
        ref names if names.iter().all(|name| find(name).is_ok()) => all(names),
        _ => Err("usage: fuzz [TARGET..] | --replay TARGET FILE.. | --seeds FOLDER".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// All targets: the library's, and those of clusters.
fn targets() -> impl Iterator<Item = Target> {
    multiproc::fuzz::TARGETS.iter().chain(multiproc_cluster::fuzz::TARGETS).copied()
}

fn find(name: &str) -> Result<Target, String> {
    let names = || targets().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let found = targets().find(|target| target.name == name);
    found.ok_or_else(|| format!("there is no target {name}, but {}", names()))
}

/// The value of an environment variable, if there is one.
fn setting<T: FromStr>(name: &str) -> Result<Option<T>, String> {
    let Some(text) = std::env::var_os(name).and_then(|text: OsString| text.into_string().ok())
    else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| format!("{name} is {text:?}"))
}

/// Runs targets, as many at a time as there are cores.
fn all(names: &[&str]) -> Result<(), String> {
    let seconds = setting("MULTIPROC_FUZZ_SECONDS")?.unwrap_or(2.0);
    let by_time =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let seed = setting("MULTIPROC_FUZZ_SEED")?.unwrap_or(by_time);
    let kept =
        std::env::var_os("MULTIPROC_FUZZ_KEPT").map_or_else(std::env::temp_dir, PathBuf::from);
    let targets: Vec<Target> =
        targets().filter(|target| names.is_empty() || names.contains(&target.name)).collect();
    println!(
        "{seconds} s for each of {} targets; again with MULTIPROC_FUZZ_SEED={seed}",
        targets.len()
    );
    watch::all(&targets, seed, seconds, &kept)
}

/// What a process of a single target does.
fn job(name: &str, seed: &str, seconds: &str, file: &str) -> Result<(), String> {
    let target = find(name)?;
    let seconds: f64 = seconds.parse().map_err(|_| "no number of seconds".to_owned())?;
    let seed: u64 = seed.parse().map_err(|_| "no seed".to_owned())?;
    job::run(target, seed, Duration::from_secs_f64(seconds), file)
}

/// Runs a target on what was kept.
fn replay(name: &str, files: &[&str]) -> Result<(), String> {
    let target = find(name)?;
    for file in files {
        let bytes = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        println!("{name}: {file}, {} bytes", bytes.len());
        (target.run)(&bytes);
    }
    Ok(())
}

/// Writes the seeds of all targets, for a fuzzer that wants a corpus.
fn write_seeds(folder: &str) -> Result<(), String> {
    for target in targets() {
        let folder = PathBuf::from(folder).join(target.name);
        let written = fs::create_dir_all(&folder).and_then(|()| {
            let mut seeds = (target.seeds)().into_iter().enumerate();
            seeds.try_for_each(|(number, seed)| {
                fs::write(folder.join(format!("seed-{number:02}")), seed)
            })
        });
        written.map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(())
}
