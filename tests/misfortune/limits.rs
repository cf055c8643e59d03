//! No descriptors left, no processes left.
#![expect(unsafe_code, reason = "closes a standard stream and becomes another user")]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use multiproc::{Error, Failure, JoinError, Process, StartMethod, active_children};

use crate::common::{Hoard, in_copy, is_root, is_zombie, limit, part, program, scratch};
use crate::support::{METHODS, children_of, is_running, open_fds, until, wait_at_most, zombies};

const BIG: usize = 1 << 20;

/// Leaves a trace of its run, and returns more than a socket takes.
fn traced(trace: String) -> String {
    if let Ok(mut file) = std::fs::File::options().append(true).open(trace) {
        let _ = file.write_all(b"x");
    }
    big()
}

fn big() -> String {
    "7".repeat(BIG)
}

fn is_emfile(error: &JoinError) -> bool {
    error.os_error().is_some_and(|error| error.raw_os_error() == Some(libc::EMFILE))
}

/// Starts a child under the hoard; whether that worked. What comes of it must be the result or a
/// clear error.
fn start_under(hoard: Hoard, method: StartMethod, trace: &str) -> bool {
    let started = Process::new(traced, (trace.to_owned(),)).start_method(method).start();
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            drop(hoard);
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{method}: {error}");
            return false;
        }
    };
    let early = child.join();
    drop(hoard);
    let joined = match early {
        Err(error) if is_emfile(&error) => child.join(),
        joined => joined,
    };
    match joined {
        Ok(value) => assert!(value == big(), "{method}: another result"),
        // A fork has no more room than its original.
        Err(error) if method == StartMethod::Fork => match error.failure() {
            Failure::NotRun(why) | Failure::BadResult(why) => {
                assert!(why.contains("Too many open files"), "{error}")
            }
            _ => panic!("{method}: no clear error: {error}"),
        },
        Err(error) => panic!("{method}: {error}"),
    }
    true
}

fn start_with_spared(method: StartMethod, spared: usize, without_stdin: bool, trace: &Path) {
    let path = trace.to_str().expect("a path");
    std::fs::write(trace, "").expect("write");
    let hoard = || {
        if without_stdin {
            // SAFETY: nothing in this process uses standard input.
            unsafe { libc::close(0) };
        }
        let mut hoard = Hoard::all_but(spared);
        if without_stdin {
            hoard.spare_lowest();
        }
        hoard
    };
    let healthy = || {
        let child =
            Process::new(traced, (path.to_owned(),)).start_method(method).start().expect("start");
        assert!(child.join().expect("join") == big(), "another result");
    };
    // The first start of all, and later ones.
    let mut starts = usize::from(start_under(hoard(), method, path)) + 1;
    healthy();
    let before = open_fds().len();
    for _ in 0..6 {
        starts += usize::from(start_under(hoard(), method, path));
    }
    healthy();
    starts += 1;
    // (The one in reserve may have another number.)
    assert_eq!(open_fds().len(), before, "descriptors were left open: {:?}", open_fds());
    until("no zombie is left", || zombies().is_empty());
    assert!(active_children().is_empty());
    let runs = std::fs::read(trace).expect("read").len();
    assert!(
        runs <= starts,
        "{runs} runs of {starts} starts: a start that gave an error ran all the same"
    );
}

pub(crate) fn starts_with_few_descriptors_left() {
    let trace = std::env::temp_dir().join(format!("misfortune-trace-{}", std::process::id()));
    for method in METHODS {
        for spared in 0..=9 {
            for without_stdin in [false, true] {
                eprintln!(
                    "{method}, {spared} descriptors left, standard input closed: {without_stdin}"
                );
                in_copy(|| start_with_spared(method, spared, without_stdin, &trace));
            }
        }
    }
    let _ = std::fs::remove_file(&trace);
}

pub(crate) fn joins_without_descriptors() {
    crate::support::for_each_method(|method| {
        let ended: Vec<_> = (0..4)
            .map(|_| Process::new(big, ()).start_method(method).start().expect("start"))
            .collect();
        for child in &ended {
            until("the child has ended", || is_zombie(child.pid()));
        }
        let running =
            Process::new(std::thread::sleep, (Duration::from_secs(600),)).start_method(method);
        let running = running.start().expect("start");
        let hoard = Hoard::all_but(0);
        let asked = ended[0].join();
        let given_up = ended[1].try_join();
        let alive = running.is_alive();
        let unfinished = running.try_join();
        drop(hoard);
        for early in [asked.map(Some), given_up] {
            assert!(
                early.expect("the descriptor in reserve is enough") == Some(big()),
                "another result"
            );
        }
        assert!(alive, "running, whether it can be asked or not");
        match unfinished {
            Ok(value) => assert!(value.is_none()),
            Err(error) => assert!(is_emfile(&error), "{error}"),
        }
        for child in &ended {
            assert!(child.join().expect("join") == big(), "another result");
        }
        running.kill().expect("kill");
        assert_eq!(running.join().expect_err("killed").exitcode(), Some(-9));

        // Dropped when it could not be asked.
        let child = Process::new(big, ()).start_method(method).start().expect("start");
        let pid = child.pid();
        until("the child has ended", || is_zombie(pid));
        let hoard = Hoard::all_but(0);
        drop(child);
        drop(hoard);
        assert!(active_children().is_empty());
        assert!(!is_zombie(pid));
    });
}

/// The program: at its end, it has children and no descriptor.
fn end_without_descriptors(method: StartMethod) {
    let child = Process::new(
        || {
            let mut text = String::new();
            std::io::stdin().read_line(&mut text).expect("read");
            println!("child read {text}");
        },
        (),
    )
    .start_method(method)
    .stdin(multiproc::Stdio::inherit())
    .start()
    .expect("start");
    let daemon = Process::new(std::thread::sleep, (Duration::from_secs(600),))
        .daemon(true)
        .start_method(method)
        .start();
    std::mem::forget((child, daemon.expect("start"), Hoard::all_but(0)));
}

pub(crate) fn program_ends_without_descriptors() {
    if let Some(part) = part() {
        return end_without_descriptors(part.parse().expect("a method"));
    }
    for method in METHODS {
        let said = scratch();
        let copy = || Stdio::from(said.try_clone().expect("duplicate a descriptor"));
        let mut program = program("program_ends_without_descriptors", method.name())
            .stdin(Stdio::piped())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .expect("start a program");
        // If it does not wait for its child, it ends before the child has anything to read.
        let early = wait_at_most(Duration::from_secs(1), || program.try_wait().expect("wait"));
        let mut stdin = program.stdin.take().expect("piped");
        let _ = stdin.write_all(b"this\n");
        drop(stdin);
        let status = wait_at_most(Duration::from_secs(60), || program.try_wait().expect("wait"));
        let text = read_back(said);
        assert_eq!(early, None, "{method}: it did not wait for its child: {text}");
        assert!(status.is_some_and(|status| status.success()), "{method}: {status:?} {text}");
        assert!(text.contains("child read this"), "{method}: {text}");
    }
}

pub(crate) fn read_back(mut file: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().expect("rewind");
    file.read_to_string(&mut text).expect("read");
    text
}

/// A user whom nobody else is, whose processes are few.
const NOBODY: u32 = 54_321;

fn is_eagain(error: &Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

pub(crate) fn no_processes_left() {
    if !is_root("no_processes_left") {
        return;
    }
    let sleeper = |method| {
        Process::new(std::thread::sleep, (Duration::from_secs(600),)).start_method(method).start()
    };
    let quick = |method| Process::new(|| 5, ()).start_method(method).start();
    for method in METHODS {
        in_copy(|| {
            // SAFETY: one thread; what it gives up stays given up.
            let done = unsafe {
                libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
                    && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
            };
            assert!(done, "become another user");
            // Itself and nobody else.
            limit(libc::RLIMIT_NPROC, 1);
            for _ in 0..3 {
                let error = quick(method).expect_err("started one too many");
                assert!(is_eagain(&error), "{method}: {error}");
            }
            limit(libc::RLIMIT_NPROC, 8);
            let mut running = Vec::new();
            let error = loop {
                assert!(running.len() < 8, "{method}: the limit does not limit");
                match sleeper(method) {
                    Ok(child) => running.push(child),
                    Err(error) => break error,
                }
            };
            assert!(is_eagain(&error), "{method}: {error}");
            assert!(running.len() >= 4, "{method}: only {} of 7 could run", running.len());
            for child in &running {
                child.kill().expect("kill");
                assert_eq!(child.join().expect_err("killed").exitcode(), Some(-9));
            }
            for _ in 0..10 {
                assert_eq!(quick(method).expect("start").join().expect("join"), 5);
            }
            until("no zombie is left", || zombies().is_empty());
            assert!(
                children_of(std::process::id()).into_iter().filter(|pid| is_running(*pid)).count()
                    <= 9
            );
        });
    }
}
