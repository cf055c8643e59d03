//! What the tests of several kinds of misfortune need, and those of tests/outside.rs that change
//! what the kernel gives.
#![expect(unsafe_code, reason = "forks, limits and signals are set as a C program would")]
#![allow(dead_code, unused_imports, reason = "tests/outside.rs uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the program that uses all of it"
)]

pub(crate) use crate::support::{become_subreaper, is_childless, tempfile as scratch};
use std::fs::File;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::support::{send_signal, state_of, wait_at_most};

/// Tells a process that this program executes which part of a test it is.
const PART: &str = "MISFORTUNE_PART";

/// The test `test` in a process of its own, in which `part()` gives `part`: a whole program, whose
/// `main` returns.
pub(crate) fn program(test: &str, part: &str) -> Command {
    program_at("/proc/self/exe", test, part)
}

/// `program`, from another copy of the file.
pub(crate) fn program_at(file: &str, test: &str, part: &str) -> Command {
    let mut command = Command::new(file);
    command.env("SUITE_TEST", test).env(PART, part);
    command
}

/// The part of the test that this process is; `None` in the test itself.
pub(crate) fn part() -> Option<String> {
    let part = std::env::var(PART).ok()?;
    // SAFETY: called first in a test, before any other thread.
    unsafe { std::env::remove_var(PART) };
    Some(part)
}

/// How a program ended and what it said (on both streams); a failure if it does not end.
#[track_caller]
pub(crate) fn outcome(command: &mut Command) -> (ExitStatus, String) {
    let mut said = scratch();
    let copy = || Stdio::from(said.try_clone().expect("duplicate a descriptor"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .expect("start a program");
    let ended =
        wait_at_most(Duration::from_secs(60), || child.try_wait().expect("wait for a program"));
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut text = Vec::new();
    said.rewind().expect("rewind");
    said.read_to_end(&mut text).expect("read what a program said");
    let text = String::from_utf8_lossy(&text).into_owned();
    match ended {
        Some(status) => (status, text),
        None => panic!("{command:?} hung; it said:\n{text}"),
    }
}

/// Runs a program that has to succeed; gives what it said.
#[track_caller]
pub(crate) fn success(command: &mut Command) -> String {
    let (status, text) = outcome(command);
    assert!(status.success(), "{command:?} ended with {status}:\n{text}");
    text
}

/// Runs `body` in a copy of this process, as a program that forks by itself would, which leaves by
/// `exit` at its end. A panic in it is one here. Nothing that the copy started may be left when it
/// has ended: the caller's own check sees to that.
#[track_caller]
pub(crate) fn in_copy(body: impl FnOnce()) {
    let copy = fork(body);
    let ended = wait_at_most(Duration::from_secs(60), || ended(copy));
    if ended.is_none() {
        send_signal(copy, libc::SIGKILL);
        let _ = wait_for(copy);
    }
    assert_eq!(ended, Some(0), "how the copy ended (None: it hung)");
}

/// Forks; the copy runs `body` and leaves by `exit` with 0, or 1 after a panic.
pub(crate) fn fork(body: impl FnOnce()) -> u32 {
    // SAFETY: a test has one thread, or says why this is fine.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
        std::process::exit(code);
    }
    pid.cast_unsigned()
}

/// The wait status of a child of this process, if it has ended: 0 is a success.
pub(crate) fn ended(pid: u32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status is ours.
    let got = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, libc::WNOHANG) };
    assert!(got >= 0, "no child {pid}");
    (got > 0).then_some(status)
}

/// Waits for a child of this process.
pub(crate) fn wait_for(pid: u32) -> i32 {
    wait_at_most(Duration::from_secs(60), || ended(pid)).expect("a child that ends")
}

/// Whether a child of this process has ended and still has its status.
pub(crate) fn is_zombie(pid: u32) -> bool {
    state_of(pid) == Some('Z')
}

/// Sets the soft limit on something; the hard one stays.
pub(crate) fn limit(what: libc::__rlimit_resource_t, most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours.
    let done = unsafe {
        libc::getrlimit(what, &raw mut limit) == 0 && {
            limit.rlim_cur = most.min(limit.rlim_max);
            libc::setrlimit(what, &raw const limit) == 0
        }
    };
    assert!(done, "set a limit: {}", std::io::Error::last_os_error());
}

/// All descriptors below the limit, in use.
pub(crate) struct Hoard(Vec<File>);

impl Hoard {
    /// Uses up all descriptors but `spared`, under a low limit.
    pub(crate) fn all_but(spared: usize) -> Hoard {
        limit(libc::RLIMIT_NOFILE, 96);
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        // The lowest numbers stay taken, also that of a closed standard stream.
        files.truncate(files.len().saturating_sub(spared));
        Hoard(files)
    }

    /// Gives back the lowest number: that of a closed standard stream.
    pub(crate) fn spare_lowest(&mut self) {
        self.0.remove(0);
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        self.0.clear();
        limit(libc::RLIMIT_NOFILE, 4096);
    }
}

/// Whether this process is root's; says so if not, since the test then proves nothing.
pub(crate) fn is_root(test: &str) -> bool {
    // SAFETY: no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: {test} needs root");
    }
    root
}

/// Major and minor version of the running kernel.
pub(crate) fn kernel() -> (u32, u32) {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's version");
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether the kernel keeps the status of a process that somebody else waited for.
pub(crate) fn keeps_statuses() -> bool {
    kernel() >= (6, 16)
}

/// What a signal does to this process.
pub(crate) fn react(signal: i32, reaction: libc::sighandler_t) {
    // SAFETY: the tests' handlers are async-signal-safe. No SA_RESTART: interrupted calls fail.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = reaction;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(done, 0, "set a reaction");
}

/// Has the kernel answer a system call with an error from now on, in this process and all that come
/// of it, if its arguments have the given low halves.
pub(crate) fn deny(call: libc::c_long, arguments: &[(u32, u32)], errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("a code"),
        jt: 0,
        jf: 0,
        k,
    };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |action: u32| statement(libc::BPF_RET | libc::BPF_K, action);
    // The number of the call is at 0, the arguments from 16 on, 8 bytes each.
    let call = u32::try_from(call).expect("the number of a call");
    let tests: Vec<(u32, u32)> = [(0, call)]
        .into_iter()
        .chain(arguments.iter().map(|(place, value)| (16 + 8 * place, *value)))
        .collect();
    let mut program = Vec::new();
    for (place, (offset, value)) in tests.iter().enumerate() {
        program.push(load(*offset));
        // On to the next test, or over the rest of them and the denial.
        let rest = u8::try_from(2 * (tests.len() - place - 1) + 1).expect("a short program");
        let equal = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *value);
        program.push(libc::sock_filter { jf: rest, ..equal });
    }
    program.push(answer(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let length = u16::try_from(program.len()).expect("a short program");
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the filter.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(done, "set a filter: {}", std::io::Error::last_os_error());
}
