//! What these tests have in common: meetings between processes, programs in processes of their own,
//! signals.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use multiproc::{StartMethod, wait};

/// A place where children, and theirs, report that they run, and wait until they are let go. It
/// crosses by its name.
pub(crate) struct Gate {
    listener: UnixListener,
    name: String,
}

/// A process that waits at a gate.
pub(crate) struct Visitor {
    pub(crate) pid: u32,
    pub(crate) stream: UnixStream,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("multiproc-conformance-{}-{number}", std::process::id());
        let listener = UnixListener::bind_addr(&address(&name)).expect("bind");
        Gate { listener, name }
    }

    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Waits for the next process to come.
    #[track_caller]
    pub(crate) fn admit(&self) -> Visitor {
        let came = wait(&[&self.listener], Some(Duration::from_secs(60))).expect("wait");
        assert_eq!(came, [0], "waited in vain for a process to report");
        let (mut stream, _) = self.listener.accept().expect("accept");
        let mut pid = [0; 4];
        stream.read_exact(&mut pid).expect("the number of a visitor");
        Visitor { pid: u32::from_le_bytes(pid), stream }
    }
}

impl Visitor {
    /// Lets it go on. (Its end of file would not do: a forked sibling may hold a copy of our end.)
    pub(crate) fn release(mut self) {
        self.stream.write_all(&[1]).expect("let a visitor go");
    }
}

fn address(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name).expect("address")
}

/// Connects to a gate and says who it is.
pub(crate) fn call(gate: &str) -> UnixStream {
    let mut stream = UnixStream::connect_addr(&address(gate)).expect("connect");
    stream.write_all(&std::process::id().to_le_bytes()).expect("say who this is");
    stream
}

/// In a child: reports at a gate and waits until it is let go, or nobody is there any more.
pub(crate) fn pass(gate: String) {
    let _ = call(&gate).read(&mut [0]);
}

/// In a child: stays until something ends it.
pub(crate) fn stay() {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// In a child: reports at a gate and stays.
pub(crate) fn report_and_stay(gate: String) {
    let _stream = call(&gate);
    stay();
}

/// Tells a test that it is to be the program, and with which argument.
const PROGRAM: &str = "CONFORMANCE_PROGRAM";

/// In a process that `program` made: its argument.
pub(crate) fn program_argument() -> Option<String> {
    std::env::var(PROGRAM).ok()
}

/// In a process that `program` made for a start method.
pub(crate) fn program_method() -> Option<StartMethod> {
    program_argument().map(|name| name.parse().expect("a start method"))
}

/// This test's own process once more, as a program with a main process of its own.
pub(crate) fn program(test: &str, argument: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env("SUITE_TEST", test).env(PROGRAM, argument).stdin(std::process::Stdio::null());
    command
}

/// Runs a program to its end.
pub(crate) fn run_program(test: &str, argument: &str) -> Output {
    program(test, argument).output().expect("run a program")
}

/// Runs a program with both its streams going to one pipe, as on a terminal; gives its lines in
/// their order.
pub(crate) fn terminal_of(mut program: Command) -> (std::process::ExitStatus, Vec<String>) {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    program.stdout(writer.try_clone().expect("duplicate")).stderr(writer);
    let mut child = program.spawn().expect("run a program");
    // It holds copies of the write end.
    drop(program);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    (child.wait().expect("wait"), text.lines().map(str::to_owned).collect())
}

/// The text of bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How often `count_signal` was called in this process.
pub(crate) static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Has a signal counted in `SIGNALS`; system calls that it interrupts fail with EINTR.
#[expect(unsafe_code, reason = "installs a signal handler")]
pub(crate) fn count(signal: i32) {
    let handler: extern "C" fn(i32) = count_signal;
    // SAFETY: the handler touches an atomic only; all other fields may be zero (no SA_RESTART).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// Gives a signal its default action: a test may have been started with it ignored.
#[expect(unsafe_code, reason = "sets the action of a signal")]
pub(crate) fn default_action(signal: i32) {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
#[expect(unsafe_code, reason = "sets the action of a signal")]
pub(crate) fn ignore(signal: i32) {
    // SAFETY: no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// While it lives, this process gets a signal every 500 microseconds, which interrupts whatever it
/// waits in.
pub(crate) struct Rain(());

impl Rain {
    pub(crate) fn start() -> Rain {
        count(libc::SIGALRM);
        set_timer(500);
        Rain(())
    }
}

impl Drop for Rain {
    fn drop(&mut self) {
        set_timer(0);
    }
}

#[expect(unsafe_code, reason = "sets a timer")]
fn set_timer(microseconds: libc::suseconds_t) {
    let time = libc::timeval { tv_sec: 0, tv_usec: microseconds };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: reads an initialised structure.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// Closes a descriptor by its number: one of the standard streams, as some programs do.
#[expect(unsafe_code, reason = "closes a descriptor that nobody owns")]
pub(crate) fn close(number: i32) {
    assert!((0..3).contains(&number), "not a standard stream");
    // SAFETY: nobody owns the standard streams.
    unsafe { libc::close(number) };
}
