//! What the kernel charges: processes made with as little as there can be, to measure ours against.
#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the benchmarks that use all of it"
)]
#![expect(unsafe_code, reason = "bare clones, which no safe interface offers")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, WaitId, WaitIdOptions};

/// Names what this very program is to be instead of a benchmark.
const VARIABLE: &str = "START_BENCH_ROLE";

/// The file of this program.
const SELF: &str = "/proc/self/exe";

/// If this process is to be one of the limits, it is that, and never returns. The first thing in
/// `main`.
pub(crate) fn play_role() {
    match std::env::var(VARIABLE).as_deref() {
        Ok("exit") => std::process::exit(0),
        Ok("zygote") => serve(),
        Ok("spares") => serve_ahead(),
        Ok("idle") => serve_idle(),
        _ => {}
    }
}

/// A bare clone that exits at once; gives its number.
fn clone(flags: libc::c_int, child: impl FnOnce()) -> Pid {
    let flags =
        flags as libc::c_ulong | if flags == 0 { libc::SIGCHLD as libc::c_ulong } else { 0 };
    let none: usize = 0;
    // SAFETY: without CLONE_VM this is a fork on the same stack; the copy makes system calls and
    // leaves by `_exit`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if pid == 0 {
        child();
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) };
    }
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("cannot clone")
}

/// fork, without what the C library does around it (and without the handlers that a library
/// registered for it).
pub(crate) fn fork() -> Pid {
    clone(0, || {})
}

/// Sleeps until a child has ended, and takes its status.
pub(crate) fn wait(pid: Pid) {
    rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))
        .expect("wait");
}

/// `std::process::Command` executing this program, which exits in the first line of `main`.
pub(crate) fn command() -> Child {
    Command::new(SELF)
        .env(VARIABLE, "exit")
        .stdin(Stdio::null())
        .spawn()
        .expect("execute this program")
}

/// A process that clones siblings, which are our children, on request.
pub(crate) struct Zygote {
    process: Child,
    control: UnixStream,
    /// Where clones wait to be told that they are needed: two, used in turn, or the next clone
    /// could hear what is meant for the one before.
    work: [UnixStream; 2],
    turn: usize,
    /// The clone that waits, if one is kept ahead.
    ahead: Option<Pid>,
}

impl Zygote {
    fn start(role: &str) -> Zygote {
        let (control, theirs) = UnixStream::pair().expect("socket pair");
        let [even, odd] = [(); 2].map(|()| UnixStream::pair().expect("socket pair"));
        let process = Command::new(SELF)
            .env(VARIABLE, role)
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(even.1))
            .stderr(OwnedFd::from(odd.1))
            .spawn()
            .expect("execute this program");
        Zygote { process, control, work: [even.0, odd.0], turn: 0, ahead: None }
    }

    /// One that clones when asked.
    pub(crate) fn on_request() -> Zygote {
        Zygote::start("zygote")
    }

    /// One that has a clone ready, which waits in a read.
    pub(crate) fn with_spare() -> Zygote {
        let mut zygote = Zygote::start("spares");
        zygote.send();
        zygote.ahead = Some(zygote.receive());
        zygote
    }

    /// One whose clones sleep until it is dropped.
    pub(crate) fn of_idle() -> Zygote {
        Zygote::start("idle")
    }

    fn send(&self) {
        (&self.control).write_all(&[0]).expect("ask the zygote");
    }

    fn receive(&self) -> Pid {
        let mut number = [0; 4];
        (&self.control).read_exact(&mut number).expect("the zygote's answer");
        Pid::from_raw(i32::from_ne_bytes(number)).expect("a process")
    }

    /// Has a clone made, which exits at once.
    pub(crate) fn clone(&self) -> Pid {
        self.send();
        self.receive()
    }

    /// Has the clone that waits exit, while the next is made, and waits for both.
    pub(crate) fn use_spare(&mut self) {
        let spare = self.ahead.take().expect("a zygote with a spare");
        (&self.work[self.turn % 2]).write_all(&[0]).expect("tell the spare");
        self.turn += 1;
        self.send();
        wait(spare);
        self.ahead = Some(self.receive());
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A spare sees the end of its socket, and leaves.
        for work in &self.work {
            let _ = work.shutdown(std::net::Shutdown::Both);
        }
        if let Some(spare) = self.ahead.take() {
            wait(spare);
        }
    }
}

fn standard(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the process that executed us gave us these, and nobody here closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Waits for a byte; false at the end.
fn heard(fd: impl AsFd) -> bool {
    let mut byte = [0_u8];
    matches!(rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut byte)), Ok(1))
}

/// Serves clones whose life is `life`, of which each learns whether it is an even or an odd one.
fn serve_with(life: impl Fn(i32)) -> ! {
    let control = standard(0);
    let mut turn = 0;
    while heard(control) {
        let pid = clone(libc::CLONE_PARENT, || life(turn));
        turn = 1 - turn;
        if rustix::io::write(control, &pid.as_raw_pid().to_ne_bytes()).is_err() {
            break;
        }
    }
    std::process::exit(0)
}

fn serve() -> ! {
    serve_with(|_| {})
}

fn serve_ahead() -> ! {
    serve_with(|turn| {
        heard(standard(1 + turn));
    })
}

fn serve_idle() -> ! {
    serve_with(|_| {
        heard(standard(1));
    })
}

/// Memory that this process has resident, in small pages.
pub(crate) struct Ballast {
    start: *mut libc::c_void,
    length: usize,
}

impl Ballast {
    pub(crate) fn new(length: usize) -> Ballast {
        // SAFETY: a new mapping where the kernel likes; then advice and writes inside of it.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let start = libc::mmap(
                std::ptr::null_mut(),
                length,
                access,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert!(start != libc::MAP_FAILED, "no memory");
            libc::madvise(start, length, libc::MADV_NOHUGEPAGE);
            for offset in (0..length).step_by(4096) {
                start.cast::<u8>().add(offset).write_volatile(1);
            }
            Ballast { start, length }
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody has a reference into it.
        unsafe { libc::munmap(self.start, self.length) };
    }
}
