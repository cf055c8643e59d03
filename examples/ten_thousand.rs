//! Starts ten thousand processes, all alive at the same time, ends them, and shows that nothing is
//! left.
//!
//! `cargo run --release --example ten_thousand -- [--raise-limit] [COUNT]`
//!
//! A running child costs its parent one descriptor, so that the limit of open files (often 1,024)
//! bounds how many there can be. With `--raise-limit`, the program raises its soft limit to the
//! hard one first.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use multiproc::{Child, Error, Process, active_children, current_process};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many starts the figures for the first and the last are taken from.
const EDGE: usize = 100;

/// Every how many children one is weighed.
const WEIGHED: usize = 100;

fn main() -> ExitCode {
    let mut count = 10_000;
    for argument in std::env::args().skip(1) {
        match argument.parse() {
            Ok(number) => count = number,
            Err(_) if argument == "--raise-limit" => raise_limit(),
            Err(_) => {
                eprintln!("usage: ten_thousand [--raise-limit] [COUNT]");
                return ExitCode::from(2);
            }
        }
    }
    // The fork server starts with the first child; what it costs is not theirs.
    if let Err(error) = Process::new(|| (), ()).start().and_then(|child| Ok(child.join()?)) {
        eprintln!("cannot start even one process: {error}");
        return ExitCode::FAILURE;
    }
    let before = open_descriptors();
    let own_before = own_memory();
    // To join a child and to look at one takes a descriptor for a moment: one that is free when
    // there are no others.
    let reserve = fs::File::open("/dev/null");
    let begin = Instant::now();
    let (children, times, refusal) = start(count);
    drop(reserve);
    println!("{} processes started in {}", children.len(), seconds(begin.elapsed()));
    if let Some(error) = &refusal {
        explain(error, children.len(), count);
    }
    report(&children, &times, before, own_before);
    let ended = end(children);
    let zombies = zombies();
    let descriptors = open_descriptors().saturating_sub(before);
    println!(
        "left: {} running, {zombies} zombies, {descriptors} descriptors",
        active_children().len()
    );
    let nothing_left = active_children().is_empty() && zombies == 0 && descriptors == 0;
    if ended && nothing_left && refusal.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What each child does: sleeps until it is asked to end.
fn sleeper() {
    while !current_process().wait_stop(Duration::from_secs(3600)) {}
}

/// Starts as many as asked for or as the system gives: the children, how long each start took, and
/// why there are no more.
fn start(count: usize) -> (Vec<Child<()>>, Vec<Duration>, Option<Error>) {
    let mut children = Vec::with_capacity(count);
    let mut times = Vec::with_capacity(count);
    while children.len() < count {
        let begin = Instant::now();
        match Process::new(sleeper, ()).start() {
            Ok(child) => children.push(child),
            Err(error) => return (children, times, Some(error)),
        }
        times.push(begin.elapsed());
    }
    (children, times, None)
}

/// Says what stands in the way of more, and what to do about it.
fn explain(error: &Error, started: usize, wanted: usize) {
    println!("no more than {started} of {wanted}: {error}");
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit(current), limit(maximum));
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            println!(
                "each running child needs one descriptor here, and this program may have {soft} open"
            );
            println!(
                "the hard limit is {hard}: --raise-limit goes up to it, `ulimit -Hn` shows it"
            );
        }
        Some(Errno::NFILE) => println!("the whole system has no descriptor left: see fs.file-max"),
        Some(Errno::AGAIN) => {
            println!(
                "there may be no more processes: see `ulimit -u`, kernel.pid_max and the control group's pids.max"
            );
        }
        Some(Errno::NOMEM) => println!("the system has no memory left"),
        _ => {}
    }
}

/// Prints what the children cost while all of them live.
fn report(children: &[Child<()>], times: &[Duration], before: usize, own_before: u64) {
    if children.is_empty() {
        return;
    }
    let alive = children.iter().filter(|child| child.is_alive()).count();
    println!("alive at once: {alive}");
    let edge = EDGE.min(times.len());
    let first = mean(&times[..edge]);
    let last = mean(&times[times.len() - edge..]);
    println!(
        "a start took {first:.1} us (the first {edge}), {last:.1} us (the last {edge}): {:.2} x",
        last / first
    );
    let descriptors = open_descriptors().saturating_sub(before);
    println!("descriptors here: {:.2} a child", descriptors as f64 / children.len() as f64);
    let own = own_memory().saturating_sub(own_before);
    println!("memory here: {:.2} KiB a child", own as f64 / children.len() as f64);
    let weights: Vec<u64> = children
        .iter()
        .step_by(WEIGHED)
        .filter_map(|child| proportional_memory(child.pid()))
        .collect();
    if !weights.is_empty() {
        let mean = weights.iter().sum::<u64>() as f64 / weights.len() as f64;
        println!("memory of a child: {mean:.1} KiB (PSS, the mean of {})", weights.len());
    }
}

/// Asks all to end and waits for each; whether all returned.
fn end(children: Vec<Child<()>>) -> bool {
    let begin = Instant::now();
    children.iter().for_each(|child| child.request_stop());
    let mut failures = 0;
    for child in &children {
        if let Err(error) = child.join() {
            failures += 1;
            eprintln!("{error}");
        }
    }
    println!(
        "{} ended and joined in {}, {failures} failed",
        children.len(),
        seconds(begin.elapsed())
    );
    failures == 0
}

/// Raises the soft limit of open files to the hard one.
fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            println!("limit of open files raised from {} to {}", limit(current), limit(maximum))
        }
        Err(error) => println!("the limit of open files stays at {}: {error}", limit(current)),
    }
}

fn limit(number: Option<u64>) -> String {
    number.map_or_else(|| "any number of".to_owned(), |number| number.to_string())
}

/// In microseconds. (Not the median: some starts find a process ready, and the next one waits all
/// the longer.)
fn mean(times: &[Duration]) -> f64 {
    times.iter().sum::<Duration>().as_secs_f64() * 1e6 / times.len() as f64
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// How many descriptors this program has open, without the one that is needed to count.
fn open_descriptors() -> usize {
    match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.count().saturating_sub(1),
        // Not one left: as many as there may be.
        Err(_) => getrlimit(Resource::Nofile)
            .current
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(0),
    }
}

/// Children of this program that have ended and were not waited for.
fn zombies() -> usize {
    let own = std::process::id();
    let Ok(text) = fs::read_to_string(format!("/proc/{own}/task/{own}/children")) else { return 0 };
    let is_zombie = |pid: &&str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
    };
    text.split_whitespace().filter(is_zombie).count()
}

/// The resident memory of this program in KiB.
fn own_memory() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// The proportional set size of a process in KiB: its own pages, and its share of those that it
/// shares.
fn proportional_memory(pid: u32) -> Option<u64> {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn kilobytes(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
