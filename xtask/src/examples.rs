//! Runs the examples and checks what they print, to standard output and standard error together,
//! against `examples/expected/*.txt`.
//!
//! A line there is a line of the output, where `*` stands for any text. Besides:
//!
//! ```text
//! ## a remark
//! # any order
//! lines that come in any order, among them runs of lines with an order of their own:
//! # in order
//! ..
//! # end
//! # end
//! # maybe
//! a line that may be missing
//! one line
//! # or
//! another line in its place
//! ```

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The article's programs.
const ARTICLE: [&str; 12] = [
    "multiprocessing_simple",
    "multiprocessing_simpleargs",
    "multiprocessing_import_main",
    "multiprocessing_names",
    "multiprocessing_daemon",
    "multiprocessing_daemon_join",
    "multiprocessing_daemon_join_timeout",
    "multiprocessing_terminate",
    "multiprocessing_exitcode",
    "multiprocessing_log_to_stderr",
    "multiprocessing_get_logger",
    "multiprocessing_subclass",
];

/// Other programs that print the same each time.
const OTHERS: [&str; 5] = ["log_collector", "parallel_sum", "pipeline", "thumbs", "traced"];

/// Servers, which try themselves when they are told `--check`, and print the same each time.
const SERVERS: [&str; 1] = ["async_pool"];

/// How long a program may take; the longest sleeps for three seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// How long what a program started may take to end after it.
const GRACE: Duration = Duration::from_secs(5);

/// Checks all examples, built for debugging and optimized, and names every one that fails.
pub(crate) fn check() -> Result<(), String> {
    let mut failures = Vec::new();
    for profile in ["dev", "release"] {
        let programs = build(profile)?;
        for name in ARTICLE.iter().chain(&OTHERS) {
            if let Err(why) = fixed(&programs, name, &[]) {
                failures.push(format!("{name} ({profile}): {why}"));
            }
        }
        for name in SERVERS {
            if let Err(why) = fixed(&programs, name, &["--check".into()]) {
                failures.push(format!("{name} ({profile}): {why}"));
            }
        }
        if let Err(why) = wordcount(&programs) {
            failures.push(format!("wordcount ({profile}): {why}"));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Builds the examples; where they are.
fn build(profile: &str) -> Result<Vec<PathBuf>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args([
            "build",
            "--locked",
            "--examples",
            "--features",
            "async,cage,progress,tracing",
            "--profile",
            profile,
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "`cargo build --examples --profile {profile}` ended with {}",
            output.status
        ));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |message: &str| {
        let (_, rest) = message.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split_once('"')?.0))
    };
    Ok(messages.lines().filter_map(executable).collect())
}

fn find<'a>(programs: &'a [PathBuf], name: &str) -> Result<&'a Path, String> {
    let program = programs.iter().find(|program| program.file_name() == Some(OsStr::new(name)));
    program.map(PathBuf::as_path).ok_or_else(|| "cargo did not build it".to_owned())
}

/// Runs a program that has expected lines and compares.
fn fixed(programs: &[PathBuf], name: &str, arguments: &[OsString]) -> Result<(), String> {
    let path = root().join("examples/expected").join(name).with_extension("txt");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let expectation =
        Expectation::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    let output = run(find(programs, name)?, arguments, LIMIT)?;
    expectation.check(&output).map_err(|why| format!("{why}; it printed:\n{output}"))
}

/// Runs `wordcount` on a folder with all kinds of things in it.
fn wordcount(programs: &[PathBuf]) -> Result<(), String> {
    let folder = Scratch::new("tree")?;
    let at = |name: &[u8]| folder.0.join(OsStr::from_bytes(name));
    let make = || -> io::Result<()> {
        fs::write(at(b"one.txt"), "The cat; THE DOG, the-cat\n")?;
        fs::create_dir(at(b"sub"))?;
        fs::write(at(b"sub/two"), "the dog\u{a0}and \u{c9}t\u{e9}2\n")?;
        fs::write(at(b"not \xff UTF-8 \x1b[31m"), "the \u{e9}t\u{e9}")?;
        fs::write(at(b"empty"), "")?;
        fs::write(at(b"binary"), b"the\0the")?;
        fs::write(at(b"latin"), b"caf\xe9 the")?;
        symlink("nowhere", at(b"dangling"))?;
        symlink("one.txt", at(b"link"))?;
        symlink(".", at(b"loop"))?;
        let made = Command::new("mkfifo").arg(at(b"pipe")).status()?;
        if made.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("mkfifo ended with {made}")))
        }
    };
    make().map_err(|error| format!("cannot make a folder to count: {error}"))?;
    let output = run(find(programs, "wordcount")?, &[folder.0.as_os_str().to_owned()], LIMIT)?;
    let mut expected = vec![
        "6 files of *",
        "counter-1: *",
        " 1 the 5 *",
        " 2 cat 2 *",
        " 3 dog 2 *",
        " 4 \u{e9}t\u{e9} 2 *",
        " 5 and 1 *",
        "12 words, 5 different, in 4 files of *",
        "symbolic links not followed: 2",
        "skipped: 4",
        " */binary: binary (a zero at byte 3)",
        " */dangling: No such file or directory *",
        " */latin: not UTF-8 (at byte 3)",
        " */pipe: neither a file nor a folder",
    ];
    // With a single core there is nothing to compare.
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        expected.extend([
            "alone-1: 6 of 6 files, *",
            " 1 process *",
            " the same counts, * times as fast",
        ]);
    }
    for pattern in expected {
        let pattern = squeezed(pattern);
        if !output.lines().any(|line| matches(&pattern, &squeezed(line))) {
            return Err(format!("no line is like `{pattern}`; it printed:\n{output}"));
        }
    }
    Ok(())
}

/// The line with every run of blanks made one blank, and none around it.
fn squeezed(line: &str) -> String {
    line.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Runs a program to its end; what it printed on either stream, in the order in which it did.
fn run(program: &Path, arguments: &[OsString], limit: Duration) -> Result<String, String> {
    let scratch = Scratch::new("output")?;
    let path = scratch.0.join("output");
    let mut command = Command::new(program);
    let group = (|| {
        let file = File::create(&path)?;
        command.args(arguments).current_dir(root()).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file).process_group(0);
        // Or a panic prints more than is expected.
        command
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LIB_BACKTRACE")
            .env_remove("RUST_LOG");
        command.spawn().map(Group)
    })();
    let mut group = group.map_err(|error| format!("cannot run it: {error}"))?;
    let ended = group.wait(limit).map_err(|error| format!("cannot wait for it: {error}"))?;
    let left = if ended.is_some() { group.left(GRACE) } else { Vec::new() };
    let output =
        fs::read(&path).map_err(|error| format!("cannot read what it printed: {error}"))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    match ended {
        None => Err(format!(
            "it did not end within {limit:?}, and was killed; it had printed:\n{output}"
        )),
        Some(_) if !left.is_empty() => {
            Err(format!("it left processes behind: {}", left.join(", ")))
        }
        Some(status) if !status.success() => {
            Err(format!("it ended with {status}; it printed:\n{output}"))
        }
        Some(_) => Ok(output),
    }
}

/// A program in a process group of its own; whatever is left of the group is killed in the end.
struct Group(Child);

impl Group {
    /// Waits for the program; nothing if it takes too long.
    fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let status = self.0.try_wait()?;
            if status.is_some() || start.elapsed() >= limit {
                return Ok(status);
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// What is left of the group after the program and a grace.
    fn left(&self, grace: Duration) -> Vec<String> {
        let start = Instant::now();
        loop {
            let left = members(self.0.id());
            if left.is_empty() || start.elapsed() >= grace {
                return left;
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// The living processes of a group.
fn members(group: u32) -> Vec<String> {
    let group = group.to_string();
    let of_group = |path: PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // PID (NAME) STATE PARENT GROUP
        let (name, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let living = !matches!(fields.next()?, "Z" | "X");
        (fields.nth(1)? == group && living).then(|| format!("{name})"))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| of_group(entry.path())).collect()
}

impl Drop for Group {
    fn drop(&mut self) {
        if !members(self.0.id()).is_empty() {
            let group = format!("-{}", self.0.id());
            let _ =
                Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(what: &str) -> Result<Scratch, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir()
            .join(format!("xtask-examples-{what}-{}-{number}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program is to print: parts that come one after the other.
#[derive(Debug)]
struct Expectation(Vec<Part>);

/// Runs of lines, each in order, that come in any order and may mix.
type Part = Vec<Run>;
type Run = Vec<Line>;

/// One line: any of some patterns, or none at all.
#[derive(Debug, PartialEq)]
struct Line {
    patterns: Vec<String>,
    may_be_missing: bool,
}

/// How far the output has come: a part, and in it a place in each run.
type Place = (usize, Vec<usize>);

/// What a line of an expectation says of the next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Plain,
    Maybe,
    Or,
}

impl Expectation {
    fn parse(text: &str) -> Result<Expectation, String> {
        let mut parts: Vec<Part> = Vec::new();
        let (mut in_any, mut in_run, mut next) = (false, false, Next::Plain);
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |why: &str| Err(format!("line {number}: `{line}` {why}"));
            if line.starts_with("## ") {
                continue;
            }
            if line.starts_with("# ") && next != Next::Plain {
                return wrong("stands where a line of output must");
            }
            match line {
                "# maybe" => next = Next::Maybe,
                "# or" => next = Next::Or,
                "# any order" if !in_any => {
                    in_any = true;
                    parts.push(Vec::new());
                }
                "# in order" if in_any && !in_run => {
                    in_run = true;
                    if let Some(part) = parts.last_mut() {
                        part.push(Vec::new());
                    }
                }
                "# end" if in_run => in_run = false,
                "# end" if in_any => in_any = false,
                _ if line.starts_with("# ") => return wrong("is not known, or out of place"),
                _ => {
                    let pattern = line.to_owned();
                    if next == Next::Or {
                        let before = parts
                            .last_mut()
                            .and_then(|part| part.last_mut())
                            .and_then(|run| run.last_mut());
                        let Some(before) = before else { return wrong("has no line before it") };
                        before.patterns.push(pattern);
                    } else {
                        let line =
                            Line { patterns: vec![pattern], may_be_missing: next == Next::Maybe };
                        if !in_any {
                            parts.push(Vec::new());
                        }
                        if let Some(part) = parts.last_mut() {
                            match part.last_mut() {
                                Some(run) if in_run => run.push(line),
                                _ => part.push(vec![line]),
                            }
                        }
                    }
                    next = Next::Plain;
                }
            }
        }
        if in_any || next != Next::Plain {
            return Err("it ends too early".to_owned());
        }
        Ok(Expectation(parts))
    }

    /// Whether `output` is as expected; if not, the first line that is not.
    fn check(&self, output: &str) -> Result<(), String> {
        let mut places = self.with_missing(BTreeSet::from([self.start_of(0)]));
        for (number, line) in (1..).zip(output.lines()) {
            let after = places.iter().flat_map(|place| self.after(place, line)).collect();
            let after = self.with_missing(after);
            if after.is_empty() {
                return Err(format!("line {number}, `{line}`, should be {}", self.wanted(&places)));
            }
            places = after;
        }
        if places.iter().any(|place| place.0 == self.0.len()) {
            Ok(())
        } else {
            Err(format!("at the end is missing {}", self.wanted(&places)))
        }
    }

    fn start_of(&self, part: usize) -> Place {
        (part, vec![0; self.0.get(part).map_or(0, Vec::len)])
    }

    /// The lines that can come next, each with the place after it.
    fn lines_at<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = (&'a Line, Place)> {
        let runs = self.0.get(place.0).map_or(&[][..], Vec::as_slice);
        runs.iter().enumerate().filter_map(|(index, run)| {
            let mut after = place.clone();
            after.1[index] += 1;
            Some((run.get(place.1[index])?, after))
        })
    }

    /// Where the output can be after `line`.
    fn after(&self, place: &Place, line: &str) -> Vec<Place> {
        let fits = |expected: &Line| expected.patterns.iter().any(|pattern| matches(pattern, line));
        self.lines_at(place)
            .filter(|(expected, _)| fits(expected))
            .map(|(_, after)| after)
            .collect()
    }

    /// Adds the places that are reached without a line: past lines that may be missing, and into
    /// the next part.
    fn with_missing(&self, places: BTreeSet<Place>) -> BTreeSet<Place> {
        let mut left: Vec<Place> = places.into_iter().collect();
        let mut all = BTreeSet::new();
        while let Some(place) = left.pop() {
            left.extend(
                self.lines_at(&place)
                    .filter(|(line, _)| line.may_be_missing)
                    .map(|(_, after)| after),
            );
            if place.0 < self.0.len() && self.lines_at(&place).next().is_none() {
                left.push(self.start_of(place.0 + 1));
            }
            all.insert(place);
        }
        all
    }

    /// The lines that could come next, in words.
    fn wanted(&self, places: &BTreeSet<Place>) -> String {
        let lines = places.iter().flat_map(|place| self.lines_at(place));
        let patterns: BTreeSet<_> =
            lines.flat_map(|(line, _)| &line.patterns).map(|text| format!("`{text}`")).collect();
        if patterns.is_empty() {
            "nothing".to_owned()
        } else {
            Vec::from_iter(patterns).join(" or ")
        }
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return text.ends_with(rest) };
    let Some(mut text) = text.strip_suffix(last) else { return false };
    for part in middle.split('*') {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::{Expectation, matches, run};

    fn check(expectation: &str, output: &str) -> Result<(), String> {
        Expectation::parse(expectation)?.check(output)
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text) in
            [("a*b", "ab"), ("a*b", "axxb"), ("*", ""), ("a*b*c", "a-b-b-c"), ("*x*", "x")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a*b", "a"), ("a*a", "a"), ("a*b*c", "acb"), ("a*b*", "xab"), ("ab", "abc")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn lines_come_in_order() {
        assert_eq!(check("a\nb\n", "a\nb\n"), Ok(()));
        assert_eq!(check("a\nb\n", "b\na\n"), Err("line 1, `b`, should be `a`".to_owned()));
        assert_eq!(check("a\nb\n", "a\n"), Err("at the end is missing `b`".to_owned()));
        assert_eq!(check("a\n", "a\nb\n"), Err("line 2, `b`, should be nothing".to_owned()));
    }

    #[test]
    fn lines_of_a_group_come_in_any_order_and_all_of_them() {
        let group = "# any order\na\nb\nc\n# end\nd\n";
        assert_eq!(check(group, "c\na\nb\nd\n"), Ok(()));
        assert_eq!(check(group, "c\na\nd\n"), Err("line 3, `d`, should be `b`".to_owned()));
        assert!(check(group, "c\na\na\nb\nd\n").is_err());
    }

    #[test]
    fn runs_mix_but_keep_their_order() {
        let runs = "# any order\n# in order\na\nb\n# end\n# in order\na\nc\n# end\n# end\n";
        assert_eq!(check(runs, "a\na\nc\nb\n"), Ok(()));
        assert_eq!(check(runs, "a\nc\na\nb\n"), Ok(()));
        assert!(check(runs, "a\nb\nc\na\n").is_err());
    }

    #[test]
    fn lines_may_be_missing_or_differ_if_the_expectation_says_so() {
        let lines = "# maybe\na\nb\n# or\nB\n# maybe\nc\n";
        for output in ["a\nb\nc\n", "b\n", "B\nc\n", "a\nB\n"] {
            assert_eq!(check(lines, output), Ok(()), "{output}");
        }
        for output in ["", "a\nc\n", "b\nB\n", "a\na\nb\n"] {
            assert!(check(lines, output).is_err(), "{output}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let shell =
            |script: &str, limit| run(Path::new("/bin/sh"), &["-c".into(), script.into()], limit);
        assert_eq!(
            shell("echo a; echo b >&2; echo c", Duration::from_secs(30)),
            Ok("a\nb\nc\n".to_owned())
        );
        let why = shell("sleep 61 & echo $$; sleep 61", Duration::from_millis(500))
            .expect_err("it hangs");
        assert!(why.starts_with("it did not end within 500ms"), "{why}");
        let group: u32 = why.lines().last().and_then(|line| line.parse().ok()).expect("its number");
        let start = std::time::Instant::now();
        while !super::members(group).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", super::members(group));
            std::thread::yield_now();
        }
    }

    #[test]
    fn mistakes_in_an_expectation_are_found() {
        for wrong in [
            "# any order\na\n",
            "# end\n",
            "# in order\na\n# end\n",
            "# sometimes\na\n",
            "# or\na\n",
            "a\n# maybe\n",
        ] {
            assert!(Expectation::parse(wrong).is_err(), "{wrong}");
        }
    }
}
