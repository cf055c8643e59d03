//! A test harness that gives every test a process of its own.
//!
//! The standard harness runs tests in threads of one process: there, fork is refused, signal
//! handlers and limits are shared, and a crash takes all along. Here the runner executes itself for
//! each test, which then has a main thread and nothing else; bounds its time, so that a hang is a
//! failure with a name; and, as the one to whom orphans fall (a subreaper), sees whether the test
//! left any process behind.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the programs that use all of it"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use multiproc::StartMethod;

/// A test: its name and its body.
pub(crate) type Test = (&'static str, fn());

/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Names the test that a process is to run.
const VARIABLE: &str = "SUITE_TEST";

/// Tells a process that it is a lane: the numbers of the descriptors by which it gets tests and
/// names those that failed.
const LANE: &str = "SUITE_LANE";

/// How many tests run at a time. Most of them wait most of the time.
const LANES: usize = 2;

/// Names test functions for the harness: a test's name is its function's.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        &[$((stringify!($test), $test as fn())),*]
    };
}

/// Makes `main` from the names of test functions.
#[macro_export]
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        fn main() {
            support::run($crate::tests![$($test),*]);
        }
    };
}

/// Runs the tests whose names contain one of the arguments, all if there is none, and leaves with
/// the outcome.
pub(crate) fn run(tests: &[Test]) {
    // A child that runs main would run the tests, whose children would run main, and so on.
    assert!(
        std::env::var_os("MULTIPROC_BOOT").is_none(),
        "a child of the library has reached main"
    );
    if let Ok(name) = std::env::var(VARIABLE) {
        // SAFETY: the first thing in main, before any other thread.
        #[allow(unsafe_code, reason = "tests may")]
        unsafe {
            std::env::remove_var(VARIABLE);
        }
        let (_, body) =
            tests.iter().find(|(test, _)| *test == name).expect("a test of this program");
        return body();
    }
    if let Ok(descriptors) = std::env::var(LANE) {
        run_lane(&descriptors);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|(name, _)| {
            filters.is_empty()
                || filters.iter().any(|f| if exact { name == f } else { name.contains(f.as_str()) })
        })
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return;
    }
    if arguments.iter().any(|argument| argument == "--ignored") {
        println!(
            "\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; {} filtered out",
            tests.len()
        );
        return;
    }
    println!("\nrunning {} tests", chosen.len());
    let started = Instant::now();
    let failed = run_in_lanes(&chosen);
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        chosen.len() - failed.len(),
        failed.len(),
        tests.len() - chosen.len(),
        started.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        println!("failures: {}", failed.join(" "));
        std::process::exit(101);
    }
}

/// Runs tests a few at a time, each in a lane: a process to which the orphans of its tests fall, so
/// that it is known whose they are. Returns the names of those that failed.
fn run_in_lanes(chosen: &[&Test]) -> Vec<String> {
    let (work, mut to_do) = std::io::pipe().expect("pipe");
    let (failed, failures) = std::io::pipe().expect("pipe");
    let names: String = chosen.iter().map(|(name, _)| format!("{name:<WORD$}")).collect();
    let mut lanes: Vec<_> = (0..LANES.min(chosen.len()))
        .map(|_| {
            let (work, failures) = (work.as_raw_fd(), failures.as_raw_fd());
            let mut command = Command::new("/proc/self/exe");
            command.env(LANE, format!("{work} {failures}"));
            die_with_runner(&mut command);
            // SAFETY: a system call between fork and exec, on descriptors that stay open in this
            // function.
            #[allow(unsafe_code, reason = "tests may")]
            unsafe {
                command.pre_exec(move || {
                    libc::fcntl(work, libc::F_SETFD, 0);
                    libc::fcntl(failures, libc::F_SETFD, 0);
                    Ok(())
                });
            }
            command.spawn().expect("start a lane")
        })
        .collect();
    drop((work, failures));
    to_do.write_all(names.as_bytes()).expect("say what is to be done");
    drop(to_do);
    let mut names = String::new();
    BufReader::new(failed).read_to_string(&mut names).expect("hear what failed");
    let mut all: Vec<String> = names.lines().map(str::to_owned).collect();
    for lane in &mut lanes {
        let status = lane.wait().expect("wait for a lane");
        if !status.success() {
            all.push(format!("a lane ended with {}", describe(status)));
        }
    }
    all
}

/// How long the name of a test is in the pipe to the lanes, which read one at a time.
const WORD: usize = 128;

/// The life of a lane: it takes one test after the other.
fn run_lane(descriptors: &str) -> ! {
    become_subreaper();
    let mut files = descriptors.split(' ').map(|number| {
        let number: RawFd = number.parse().expect("a number");
        // SAFETY: the runner has passed it on, and nothing else here knows of it.
        #[allow(unsafe_code, reason = "tests may")]
        unsafe {
            libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
            File::from_raw_fd(number)
        }
    });
    let (mut work, mut failures) = (files.next().expect("two"), files.next().expect("two"));
    let mut word = [0; WORD];
    // A name is read at once: there is nothing but whole names in the pipe.
    while work.read(&mut word).expect("read what is to be done") == WORD {
        let name = std::str::from_utf8(&word).expect("a name").trim();
        match run_one(name) {
            Ok(()) => println!("test {name} ... ok"),
            Err(why) => {
                println!("test {name} ... FAILED\n---- {name} ----\n{why}");
                writeln!(failures, "{name}").expect("say what failed");
            }
        }
    }
    std::process::exit(0)
}

/// Has a runner that is killed take a process along.
fn die_with_runner(command: &mut Command) {
    // SAFETY: one system call, between fork and exec.
    #[allow(unsafe_code, reason = "tests may")]
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            Ok(())
        });
    }
}

/// Runs one test in a process of its own; the reason if it failed.
fn run_one(name: &str) -> Result<(), String> {
    let mut output = tempfile();
    let mut command = Command::new("/proc/self/exe");
    die_with_runner(&mut command);
    let mut child = command
        .env(VARIABLE, name)
        .env_remove(LANE)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("duplicate a descriptor"))
        .stderr(output.try_clone().expect("duplicate a descriptor"))
        .process_group(0)
        .spawn()
        .expect("start a test");
    let pid = child.id();
    let ended = wait_at_most(LIMIT, || child.try_wait().expect("wait for a test"));
    let mut why = match ended {
        Some(status) if status.success() => String::new(),
        Some(status) => format!("it ended with {}\n", describe(status)),
        None => format!("it hung: not done after {LIMIT:?}\n{}", backtraces(pid)),
    };
    let left = leftovers(Duration::from_secs(10));
    if !left.is_empty() {
        why += &format!("it left processes behind: {left:?}\n");
    }
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    kill_leftovers();
    if why.is_empty() {
        return Ok(());
    }
    let mut text = Vec::new();
    output.rewind().expect("rewind");
    output.read_to_end(&mut text).expect("read what a test said");
    Err(why + &String::from_utf8_lossy(&text))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "no status".to_owned(),
    }
}

/// An unnamed temporary file.
pub(crate) fn tempfile() -> File {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(std::env::temp_dir())
        .expect("open a temporary file")
}

/// What a hanging test's processes sleep in.
fn backtraces(pid: u32) -> String {
    let mut text = String::new();
    for process in [vec![pid], descendants_of(pid)].concat() {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default()
        };
        let (name, waits_in, call) = (read("comm"), read("wchan"), read("syscall"));
        text +=
            &format!("  {process} {} in {waits_in}, system call {}\n", name.trim(), call.trim());
    }
    text
}

/// Makes the orphans of this process's children its own, so that it sees and takes them.
pub(crate) fn become_subreaper() {
    // SAFETY: a system call on integers.
    #[allow(unsafe_code, reason = "tests may")]
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// The runner's children, orphans of a test, that do not go by themselves; waits for those that are
/// about to.
fn leftovers(patience: Duration) -> Vec<String> {
    let own = std::process::id();
    let left = || {
        is_childless();
        let left: Vec<String> = children_of(own).into_iter().map(command_of).collect();
        left.is_empty().then_some(())
    };
    match wait_at_most(patience, left) {
        Some(()) => Vec::new(),
        None => children_of(own).into_iter().map(command_of).collect(),
    }
}

fn kill_leftovers() {
    for _ in 0..100 {
        let left = children_of(std::process::id());
        if left.is_empty() {
            return;
        }
        for pid in left {
            send_signal(pid, libc::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
        is_childless();
    }
}

/// Takes the statuses of all children that have ended; whether none is left, running or not.
pub(crate) fn is_childless() -> bool {
    loop {
        // SAFETY: no status is asked for.
        #[allow(unsafe_code, reason = "tests may")]
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            -1 => return true,
            0 => return false,
            _ => {}
        }
    }
}

fn command_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let state = state_of(pid).map_or_else(|| "gone".to_owned(), |state| state.to_string());
    format!("{pid} ({state}) {}", String::from_utf8_lossy(&line).replace('\0', " ").trim())
}

/// Sends a signal by number.
pub(crate) fn send_signal(pid: u32, signal: i32) {
    // SAFETY: a system call on integers.
    #[allow(unsafe_code, reason = "tests may")]
    unsafe {
        libc::kill(pid.cast_signed(), signal);
    }
}

/// Asks again and again until there is an answer, at most for `limit`. Tests wait for states with
/// it, never for times.
pub(crate) fn wait_at_most<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until something is so; a failure with a name if it does not come.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let came = wait_at_most(Duration::from_secs(60), || is_so().then_some(()));
    assert!(came.is_some(), "waited in vain until {what}");
}

/// The state letter of a process (`R`, `S`, `T`, `Z`), if it exists.
pub(crate) fn state_of(pid: u32) -> Option<char> {
    stat_of(pid).map(|(state, _)| state)
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    stat_of(pid).map(|(_, parent)| parent)
}

fn stat_of(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    !matches!(state_of(pid), None | Some('Z' | 'X'))
}

/// The children of a process, zombies and the library's own helpers (the fork server, idle clones)
/// included.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("read /proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|child| parent_of(*child) == Some(pid))
        .collect()
}

/// All descendants of a process.
pub(crate) fn descendants_of(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut next = children_of(pid);
    while let Some(child) = next.pop() {
        next.extend(children_of(child));
        all.push(child);
    }
    all
}

/// The numbers of this process's open descriptors.
pub(crate) fn open_fds() -> BTreeSet<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("read /proc/self/fd");
    // The one that reads the folder is closed by now.
    let numbers: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    numbers
        .into_iter()
        .filter(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok())
        .collect()
}

/// Zombies among this process's children.
pub(crate) fn zombies() -> Vec<u32> {
    children_of(std::process::id())
        .into_iter()
        .filter(|child| state_of(*child) == Some('Z'))
        .collect()
}

/// The start methods, all of which work in a test of this harness.
pub(crate) const METHODS: [StartMethod; 3] =
    [StartMethod::Forkserver, StartMethod::Spawn, StartMethod::Fork];

/// A mark whose address tells how a process came to be: see `route_of`.
static MARK: u8 = 0;

/// Where the mark is in this process.
pub(crate) fn mark() -> usize {
    (&raw const MARK) as usize
}

/// How the process that reported its `mark` was made: a fork has the mark where we have it; two
/// clones of one fork server have it in one place, two executed processes (nearly always) in two.
pub(crate) fn assert_route(method: StartMethod, start: impl Fn() -> usize) {
    let (first, second, third) = (start(), start(), start());
    match method {
        StartMethod::Fork => {
            assert_eq!([first, second], [mark(), mark()], "not a copy of this process")
        }
        StartMethod::Forkserver => {
            assert_eq!([first, first], [second, third], "not clones of one process");
            assert_ne!(first, mark(), "a copy of this process");
        }
        _ => assert!(first != second || second != third, "not executed one by one"),
    }
}

/// Runs `body` under each start method and asserts that it left no child, no zombie and no
/// descriptor in this process.
///
/// The fork server itself, which stays for the next start, is started before the count.
pub(crate) fn for_each_method(body: impl Fn(StartMethod)) {
    for method in METHODS {
        for warm in METHODS {
            multiproc::Process::new(|| (), ())
                .start_method(warm)
                .start()
                .expect("start")
                .join()
                .expect("join");
        }
        let before = open_fds();
        body(method);
        // A thread may have one for a moment more: it sees to a child that takes long to die.
        wait_at_most(Duration::from_secs(10), || (open_fds() == before).then_some(()));
        assert_eq!(open_fds(), before, "{method}: descriptors were left open (or closed)");
        assert!(multiproc::active_children().is_empty(), "{method}: children were left running");
        until("no zombie is left", || zombies().is_empty());
    }
}
