//! Copies of a test that act as an ordinary user.
#![expect(unsafe_code, reason = "forks and users are set as a C program would")]

use std::io::{PipeWriter, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::{send_signal, state_of, until, wait_at_most};

/// Nobody in particular.
pub(crate) const USER: u32 = 65_534;

/// Whether this process is root's; says so if not, since the test then proves nothing.
pub(crate) fn is_root(test: &str) -> bool {
    // SAFETY: no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: {test} needs root");
    }
    root
}

/// Runs `body` in a copy of this process that acts as an ordinary user: as `USER` if this is root.
/// A panic there is one here.
#[track_caller]
pub(crate) fn as_user(body: impl FnOnce()) {
    as_user_number(USER, body);
}

/// `as_user`, as one that the kernel counts apart from others.
#[track_caller]
pub(crate) fn as_user_alone(body: impl FnOnce()) {
    as_user_number(1_000_000_000 + std::process::id(), body);
}

#[track_caller]
fn as_user_number(user: u32, body: impl FnOnce()) {
    let copy = fork(|| {
        turn_into(user);
        body();
    });
    assert_eq!(status_of(copy), 0, "how the copy ended");
}

/// Gives up root for good, as far as this process has it; it can be looked into as any process of
/// the user.
pub(crate) fn become_user() {
    turn_into(USER);
}

fn turn_into(user: u32) {
    // SAFETY: system calls on integers; one thread.
    let done = unsafe {
        libc::geteuid() != 0
            || (libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(user, user, user) == 0
                && libc::setresuid(user, user, user) == 0)
    };
    assert!(done, "act as an ordinary user: {}", std::io::Error::last_os_error());
    set_dumpable(true);
}

/// Whether other processes of the user may look into this one.
pub(crate) fn set_dumpable(dumpable: bool) {
    // SAFETY: a system call on integers.
    let done = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_int::from(dumpable), 0, 0, 0) };
    assert_eq!(done, 0, "prctl");
}

/// Forks; the copy runs `body` and leaves by `exit` with 0, or 1 after a panic.
pub(crate) fn fork(body: impl FnOnce()) -> u32 {
    // SAFETY: a test has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
        std::process::exit(code);
    }
    pid.cast_unsigned()
}

/// The wait status of a child of this process, when it has ended: 0 is a success. One that hangs is
/// killed.
pub(crate) fn status_of(pid: u32) -> i32 {
    let mut status = 0;
    let mut ended = || {
        // SAFETY: the status is ours.
        let got = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, libc::WNOHANG) };
        assert!(got >= 0, "no child {pid}");
        (got > 0).then_some(())
    };
    if wait_at_most(Duration::from_secs(60), &mut ended).is_none() {
        send_signal(pid, libc::SIGKILL);
        wait_at_most(Duration::from_secs(60), ended);
        return -1;
    }
    status
}

/// A copy that has run something, and stays until this is dropped or it is killed.
pub(crate) struct Standing {
    pub(crate) pid: u32,
    stay: Option<PipeWriter>,
    reaped: bool,
}

impl Standing {
    /// Returns when the copy has run `body`, which gives what the copy keeps to its end.
    pub(crate) fn start<T>(body: impl FnOnce() -> T) -> Standing {
        let (mut stayed, stay) = pipe().expect("a pipe");
        let (mut heard, mut ready) = pipe().expect("a pipe");
        let mut stay = Some(stay);
        let pid = fork(|| {
            // Held open here, it would never be at its end.
            drop(stay.take());
            let kept = body();
            ready.write_all(b"r").expect("say that it is ready");
            let _ = stayed.read(&mut [0]);
            drop(kept);
        });
        drop(ready);
        assert_eq!(heard.read(&mut [0]).expect("hear"), 1, "the copy ended before it was ready");
        Standing { pid, stay, reaped: false }
    }

    /// Kills it and leaves its status where it is.
    pub(crate) fn kill(&self) {
        send_signal(self.pid, libc::SIGKILL);
        until("it has ended", || matches!(state_of(self.pid), None | Some('Z')));
    }

    /// Takes the status of one that was killed.
    pub(crate) fn reap(&mut self) {
        self.reaped = true;
        status_of(self.pid);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(self.stay.take());
        if !self.reaped {
            status_of(self.pid);
        }
    }
}
