//! Counts the words of all text files below some folders, in one process per core, and again in one
//! process, and prints the most frequent words and what the processes were worth.
//!
//! `cargo run --release --example wordcount -- [--skipped] [FOLDER OR FILE]...`
//!
//! A word is a sequence of letters, in lower case. A text is a file in UTF-8 without zero bytes.
//! Whatever cannot be counted is named with the reason, a process that dies included, and the
//! others go on. Symbolic links in the folders are not followed, and a file that is found twice is
//! counted once.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write as _};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use multiproc::{Process, cpu_count, current_process};
use serde::{Deserialize, Serialize};

/// How many words are printed.
const TOP: usize = 20;

/// How many skipped files are named unless all are asked for.
const SKIPPED: usize = 10;

/// How many rows of a terminal are used for progress; more processes than that write lines.
const ROWS: usize = 16;

/// What opening a file costs, in bytes that could be counted meanwhile.
const OPENING: u64 = 4096;

/// What a process counted.
#[derive(Default, Serialize, Deserialize)]
struct Counts {
    words: HashMap<String, u64>,
    files: u64,
    bytes: u64,
    skipped: Vec<Skipped>,
}

/// A file that was not counted, and why.
#[derive(Clone, Serialize, Deserialize)]
struct Skipped {
    path: OsString,
    reason: String,
}

/// A file's path and size. The path is no `PathBuf`, because serde does not encode one that is not
/// UTF-8.
type Text = (OsString, u64);

/// Some of the files: what one process counts.
#[derive(Default)]
struct Share {
    files: Vec<Text>,
    bytes: u64,
    cost: u64,
}

/// All files there are to count.
#[derive(Default)]
struct Found {
    files: Vec<Text>,
    skipped: Vec<Skipped>,
    links: u64,
}

/// What came of a count in some processes.
struct Outcome {
    counts: Counts,
    failures: Vec<String>,
    processes: usize,
    time: Duration,
}

fn main() -> ExitCode {
    let (options, mut roots): (Vec<_>, Vec<_>) = std::env::args_os()
        .skip(1)
        .partition(|argument| argument.as_encoded_bytes().starts_with(b"--"));
    if options.iter().any(|option| option != "--skipped") {
        eprintln!("usage: wordcount [--skipped] [FOLDER OR FILE]...");
        return ExitCode::from(2);
    }
    let found = if roots.is_empty() {
        let (root, found) = something_to_count();
        roots.push(root.into());
        found
    } else {
        find(&roots)
    };
    let roots: Vec<_> = roots.iter().map(|root| shown(root)).collect();
    say(&format!(
        "{} below {}\n",
        amount(found.files.len(), bytes(&found.files)),
        roots.join(", ")
    ));

    // Read once before, so that neither count has to wait for the disk.
    for (path, _) in &found.files {
        let _ = File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    }
    let many = count(&found.files, cpu_count(), "counter");
    let one = (many.processes > 1).then(|| count(&found.files, 1, "alone"));

    let mut skipped = found.skipped;
    skipped.extend_from_slice(&many.counts.skipped);
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let limit = if options.is_empty() { SKIPPED } else { usize::MAX };

    let mut report = String::new();
    report_words(&mut report, &many.counts);
    report_skipped(&mut report, &skipped, limit, found.links);
    report_times(&mut report, &many, one.as_ref());
    // A reader that has seen enough is no reason to fail.
    let _ = io::stdout().write_all(report.as_bytes());
    if many.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first folder that is on this machine and has some megabytes in it.
fn something_to_count() -> (PathBuf, Found) {
    let repository = env!("CARGO_MANIFEST_DIR");
    for root in ["/usr/share/doc", "/usr/share"] {
        let found = find(&[root.into()]);
        if bytes(&found.files) >= 2_000_000 {
            return (root.into(), found);
        }
    }
    (repository.into(), find(&[repository.into()]))
}

/// All files below `roots`, and what cannot be read or is no file.
fn find(roots: &[OsString]) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    // A link that is given is followed; one that is found is not.
    let mut left: Vec<(PathBuf, bool)> =
        roots.iter().rev().map(|root| (root.into(), true)).collect();
    while let Some((path, given)) = left.pop() {
        let looked = fs::symlink_metadata(&path).and_then(|metadata| {
            let is_link = metadata.is_symlink();
            Ok((if is_link { fs::metadata(&path)? } else { metadata }, is_link))
        });
        let (metadata, is_link) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                found.skip(path, error);
                continue;
            }
        };
        if is_link && !given {
            found.links += 1;
        } else if !seen.insert((metadata.dev(), metadata.ino())) {
            // Counted already.
        } else if metadata.is_dir() {
            match fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => left.extend(entries.into_iter().map(|entry| (entry.path(), false))),
                Err(error) => found.skip(path, error),
            }
        } else if metadata.is_file() {
            found.files.push((path.into(), metadata.len()));
        } else {
            // To open a named pipe could take for ever.
            found.skip(path, "neither a file nor a folder");
        }
    }
    found
}

impl Found {
    fn skip(&mut self, path: PathBuf, reason: impl ToString) {
        self.skipped.push(Skipped { path: path.into(), reason: reason.to_string() });
    }
}

/// Counts the words of `files` in so many processes.
fn count(files: &[Text], processes: usize, name: &str) -> Outcome {
    let shares = split(files, processes);
    let processes = shares.len();
    let in_rows = io::stderr().is_terminal() && processes <= ROWS;
    if in_rows {
        say(&"\n".repeat(processes));
    }
    let start = Instant::now();
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    let mut children = Vec::new();
    for (index, share) in shares.into_iter().enumerate() {
        let what = amount(share.files.len(), share.bytes);
        let row = in_rows.then_some(processes - index);
        let process = Process::new(count_share, (share.files, share.bytes, row))
            .name(format!("{name}-{}", index + 1));
        match process.start() {
            Ok(child) => children.push((child, what)),
            Err(error) => failures.push(format!("{what}: {error}")),
        }
    }
    for (child, what) in children {
        match child.join() {
            Ok(more) => counts.add(more),
            Err(error) => failures.push(format!("{what}: {error}")),
        }
    }
    Outcome { counts, failures, processes, time: start.elapsed() }
}

impl Counts {
    fn add(&mut self, more: Counts) {
        if self.words.is_empty() {
            self.words = more.words;
        } else {
            for (word, count) in more.words {
                *self.words.entry(word).or_default() += count;
            }
        }
        self.files += more.files;
        self.bytes += more.bytes;
        self.skipped.extend(more.skipped);
    }
}

/// Splits the files into shares that cost about the same: the big ones first, each to the smallest
/// share.
fn split(files: &[Text], count: usize) -> Vec<Share> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by(|(a, a_size), (b, b_size)| b_size.cmp(a_size).then_with(|| a.cmp(b)));
    let mut shares: Vec<_> = (0..count).map(|_| Share::default()).collect();
    for file in files {
        if let Some(share) = shares.iter_mut().min_by_key(|share| share.cost) {
            share.files.push(file.clone());
            share.bytes += file.1;
            share.cost += file.1 + OPENING;
        }
    }
    shares.retain(|share| !share.files.is_empty());
    shares
}

/// What each process runs: counts the words of `files` and shows how far it is.
fn count_share(files: Vec<Text>, total: u64, row: Option<usize>) -> Counts {
    let mut counts = Counts::default();
    let mut progress = Progress {
        files: 0,
        all_files: files.len(),
        bytes: 0,
        all_bytes: total,
        row,
        shown: Instant::now(),
    };
    for (path, size) in files {
        match read(Path::new(&path)) {
            Ok(text) => {
                count_words(&text, &mut counts.words);
                counts.files += 1;
                counts.bytes += text.len() as u64;
            }
            Err(reason) => counts.skipped.push(Skipped { path, reason }),
        }
        progress.step(size);
    }
    progress.show();
    counts
}

/// The text of a file, or why it has none.
fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if let Some(place) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("binary (a zero at byte {place})"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 (at byte {})", error.utf8_error().valid_up_to()))
}

fn count_words(text: &str, words: &mut HashMap<String, u64>) {
    let mut lower = String::new();
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        lower.clear();
        lower.extend(word.chars().flat_map(char::to_lowercase));
        match words.get_mut(&lower) {
            Some(count) => *count += 1,
            None => _ = words.insert(mem::take(&mut lower), 1),
        }
    }
}

/// How far this process is.
struct Progress {
    files: usize,
    all_files: usize,
    bytes: u64,
    all_bytes: u64,
    /// How many rows above the cursor this process has its own, if it has one.
    row: Option<usize>,
    shown: Instant,
}

impl Progress {
    fn step(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        let pause =
            if self.row.is_some() { Duration::from_millis(50) } else { Duration::from_secs(5) };
        if self.shown.elapsed() >= pause {
            self.show();
        }
    }

    fn show(&mut self) {
        self.shown = Instant::now();
        let name = current_process().name();
        let done = format!(
            "{} of {} files, {:.1} of {:.1} MB",
            number(self.files as u64),
            number(self.all_files as u64),
            self.bytes as f64 / 1e6,
            self.all_bytes as f64 / 1e6
        );
        match self.row {
            Some(row) => {
                let bar = bar(self.bytes.max(1), self.all_bytes.max(1), 24, '\u{2591}');
                say(&format!("\x1b7\x1b[{row}A\r\x1b[K  {name:<12} {bar}  {done}\x1b8"));
            }
            None => say(&format!("{name}: {done}\n")),
        }
    }
}

fn report_words(report: &mut String, counts: &Counts) {
    let mut words: Vec<_> = counts.words.iter().collect();
    words.sort_unstable_by_key(|&(word, count)| (Reverse(*count), word));
    let most = words.first().map_or(1, |(_, count)| **count);
    _ = writeln!(report);
    for (rank, (word, count)) in words.iter().take(TOP).enumerate() {
        let word: String = word.chars().take(20).collect();
        _ = writeln!(
            report,
            "{:>4}  {word:<20} {:>13}  {}",
            rank + 1,
            number(**count),
            bar(**count, most, 30, ' ').trim_end()
        );
    }
    _ = writeln!(
        report,
        "\n{} words, {} different, in {}",
        number(counts.words.values().sum()),
        number(words.len() as u64),
        amount(counts.files as usize, counts.bytes)
    );
}

fn report_skipped(report: &mut String, skipped: &[Skipped], limit: usize, links: u64) {
    if links > 0 {
        _ = writeln!(report, "symbolic links not followed: {}", number(links));
    }
    if !skipped.is_empty() {
        _ = writeln!(report, "skipped: {}", number(skipped.len() as u64));
    }
    for Skipped { path, reason } in skipped.iter().take(limit) {
        _ = writeln!(report, "  {}: {reason}", shown(path));
    }
    if skipped.len() > limit {
        _ = writeln!(
            report,
            "  and {} more, which --skipped names",
            number((skipped.len() - limit) as u64)
        );
    }
}

fn report_times(report: &mut String, many: &Outcome, one: Option<&Outcome>) {
    if many.processes == 0 {
        return;
    }
    _ = writeln!(report);
    for outcome in [many].into_iter().chain(one) {
        let unit = if outcome.processes == 1 { "process" } else { "processes" };
        _ = writeln!(
            report,
            "{:>4} {unit:<9} {:>9.3} s",
            outcome.processes,
            outcome.time.as_secs_f64()
        );
        for failure in &outcome.failures {
            _ = writeln!(report, "     FAILED: {failure}");
        }
    }
    let Some(one) = one else { return };
    if !many.failures.is_empty() || !one.failures.is_empty() {
        _ = writeln!(report, "     not compared, because not all was counted");
    } else if many.counts.words == one.counts.words {
        let ratio = one.time.as_secs_f64() / many.time.as_secs_f64();
        _ = writeln!(report, "     the same counts, {ratio:.2} times as fast");
    } else {
        _ = writeln!(report, "     the counts differ: files have changed meanwhile");
    }
}

/// `value` of `most` as a bar.
fn bar(value: u64, most: u64, width: usize, rest: char) -> String {
    let full = (value as f64 / most as f64 * width as f64).round() as usize;
    (0..width).map(|place| if place < full { '\u{2588}' } else { rest }).collect()
}

fn bytes(files: &[Text]) -> u64 {
    files.iter().map(|(_, size)| size).sum()
}

/// `1,234 files of 5.7 MB`
fn amount(files: usize, bytes: u64) -> String {
    let unit = if files == 1 { "file" } else { "files" };
    format!("{} {unit} of {:.1} MB", number(files as u64), bytes as f64 / 1e6)
}

/// `1,234,567`
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A path as it is, unless a terminal should not see it like that.
fn shown(path: &OsStr) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

/// To standard error in one piece, so that what several processes say does not mix.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
