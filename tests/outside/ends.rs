//! The ends of processes: nothing that a child started is left, and how it ended is told.
#![expect(unsafe_code, reason = "the program is a forked copy, which is killed")]

use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use multiproc::{
    Descriptor, Failure, LimitReached, Limits, Pool, Process, Signal, StartMethod,
    set_forkserver_preload,
};

use crate::support::{METHODS, Test, is_running, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    what_children_with_sessions_started_ends_with_the_program,
    a_child_that_closes_all_descriptors_writes_to_no_other_socket,
    a_panic_that_cannot_be_caught_is_told,
    a_preload_function_that_aborts_is_told,
    signals_that_the_starter_blocks_reach_its_children,
];

/// Starts another program, says its number and waits for it.
fn starts_a_program(mut to: Descriptor<PipeWriter>) {
    let mut sleeper = Command::new("sleep").arg("1000").spawn().expect("start a program");
    writeln!(to.0, "{}", sleeper.id()).expect("say its number");
    let _ = sleeper.wait();
}

/// Children that get a session of their own.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Deadline,
    Limits,
    Worker,
}

/// The program: starts a child of that kind, and waits until it is killed.
fn program(kind: Kind, method: StartMethod, to: PipeWriter) -> ! {
    let process = |to| Process::new(starts_a_program, (Descriptor(to),)).start_method(method);
    match kind {
        Kind::Deadline => {
            drop(process(to).deadline(Duration::from_secs(1000)).start().expect("start"))
        }
        Kind::Limits => {
            drop(process(to).limits(Limits::new().open_files(100)).start().expect("start"))
        }
        Kind::Worker => {
            let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
            drop(pool.submit(starts_a_program, (Descriptor(to),)));
            std::mem::forget(pool);
        }
    }
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

fn what_children_with_sessions_started_ends_with_the_program() {
    for method in METHODS {
        for kind in [Kind::Deadline, Kind::Limits, Kind::Worker] {
            for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
                let (from, to) = std::io::pipe().expect("pipe");
                // SAFETY: this process has one thread.
                let copy = unsafe { libc::fork() };
                if copy == 0 {
                    drop(from);
                    program(kind, method, to);
                }
                drop(to);
                let mut line = String::new();
                BufReader::new(from).read_line(&mut line).expect("a number");
                let sleeper: u32 = line.trim().parse().expect("a number");
                // SAFETY: a child of ours that is not waited for yet.
                unsafe {
                    libc::kill(copy, signal);
                    libc::waitpid(copy, std::ptr::null_mut(), 0);
                }
                until(
                    &format!(
                        "what a child with a {kind:?} started ({method}) ends after signal {signal}"
                    ),
                    || !is_running(sleeper),
                );
            }
        }
    }
}

/// Closes all that is not its own, as daemons do, and connects to a server.
fn closes_all(server: PathBuf) -> u32 {
    for fd in 3..1024 {
        // SAFETY: whoever does this must not use what it closed; the library has to live with it.
        unsafe { libc::close(fd) };
    }
    std::mem::forget(
        (0..60).map(|_| UnixStream::connect(&server).expect("connect")).collect::<Vec<_>>(),
    );
    7
}

fn a_child_that_closes_all_descriptors_writes_to_no_other_socket() {
    let path = std::env::temp_dir().join(format!("multiproc-server-{}", std::process::id()));
    let server = UnixListener::bind(&path).expect("bind");
    server.set_nonblocking(true).expect("non-blocking");
    for method in METHODS {
        let child =
            Process::new(closes_all, (path.clone(),)).start_method(method).start().expect("start");
        assert!(
            child.join_timeout(Duration::from_secs(60)).is_err(),
            "{method}: its result cannot come"
        );
        let mut heard = Vec::new();
        for _ in 0..60 {
            let (mut client, _) = server.accept().expect("all are connected");
            client.read_to_end(&mut heard).expect("read");
        }
        assert!(heard.is_empty(), "{method}: the server was sent {heard:?}");
    }
    std::fs::remove_file(path).expect("remove");
}

extern "C" fn must_not_unwind(n: u32) {
    assert!(n < 3, "{n} is too much");
}

/// Panics, and has a panic on the way.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("once more");
    }
}

fn panics_while_it_panics(n: u32) {
    let _once_more = PanicsInDrop;
    assert!(n < 3, "{n} is too much");
}

fn panics_in_a_thread(n: u32) {
    let _ = std::thread::spawn(move || must_not_unwind(n)).join();
}

fn calls_c(n: u32) {
    must_not_unwind(n);
}

/// A panic that aborts: the process ends by SIGABRT, and its text and place are known all the same.
fn a_panic_that_cannot_be_caught_is_told() {
    let check = |failure: &Failure, text: &str, method| {
        let Failure::Panicked(panic) = failure else { panic!("{method}: {failure}") };
        assert_eq!(panic.message(), text, "{method}");
        assert!(
            panic.location().is_some_and(|place| place.file().ends_with("ends.rs")),
            "{method}: {failure}"
        );
    };
    for method in METHODS {
        let cases = [
            (Process::new(calls_c, (3,)), "3 is too much"),
            (Process::new(panics_in_a_thread, (3,)), "3 is too much"),
            (Process::new(panics_while_it_panics, (3,)), "once more"),
        ];
        for (process, text) in cases {
            // A limit that did not end it is not named.
            let process = process.start_method(method).deadline(Duration::from_secs(600));
            let child = process.start().expect("start");
            check(child.join().expect_err("it aborts").failure(), text, method);
            assert_eq!(child.exitcode(), Some(-libc::SIGABRT), "{method}");
        }
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        let error = pool.apply(calls_c, (3,)).expect_err("it aborts");
        check(error.failure(), "3 is too much", method);
        pool.apply(calls_c, (1,)).expect("the pool goes on");
    }
}

fn a_preload_function_that_aborts_is_told() {
    set_forkserver_preload(|| must_not_unwind(3)).expect("set a preload function");
    let process = Process::new(calls_c, (1,)).start_method(StartMethod::Forkserver);
    let error = process.start().expect_err("the fork server cannot be").to_string();
    assert!(error.contains("3 is too much"), "{error}");
}

fn sleeps() {
    std::thread::sleep(Duration::from_secs(1000));
}

/// Threads that leave signals to another one block them all; `terminate` ends what they start
/// nevertheless.
fn signals_that_the_starter_blocks_reach_its_children() {
    // SAFETY: sigfillset initialises the set that pthread_sigmask reads.
    unsafe {
        let mut all = std::mem::MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
    for method in METHODS {
        let child = Process::new(sleeps, ()).start_method(method).start().expect("start");
        child.terminate().expect("terminate");
        let error = child.join_timeout(Duration::from_secs(60)).expect_err("it ends by the signal");
        assert!(
            matches!(error.failure(), Failure::Signalled { signal: Signal::TERM, .. }),
            "{method}: {error}"
        );
        let late =
            Process::new(sleeps, ()).start_method(method).deadline(Duration::from_millis(50));
        let late = late.grace(Duration::from_secs(600)).start().expect("start");
        let error =
            late.join_timeout(Duration::from_secs(60)).expect_err("it ends by its deadline");
        assert!(matches!(error.limit(), Some(LimitReached::Deadline(_))), "{method}: {error}");
    }
}
