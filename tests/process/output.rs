//! What processes write, gathered beside their results.
#![expect(unsafe_code, reason = "children close their streams and ignore signals")]

use std::io::{Read, Write};
use std::process::{Command, id};
use std::time::{Duration, Instant};

use multiproc::{Event, LimitReached, Process, Signal, Stdio};

use crate::common::{Hoard, react};
use crate::debugger::{self, Debugger};
use crate::support::{Test, for_each_method, is_running, send_signal, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    both_streams_are_read_at_once,
    a_process_that_writes_for_ever_is_ended_at_its_limit,
    who_holds_a_pipe_open_keeps_nobody_waiting,
    a_process_that_closes_its_streams_is_waited_for,
    input_that_was_forgotten_is_closed,
    input_that_was_forgotten_does_not_keep_the_program,
    what_came_before_a_time_out_is_kept,
    a_deadline_is_kept_while_output_is_read,
    output_of_who_was_killed_is_kept,
    pipes_that_were_taken_are_left_alone,
    output_is_read_without_descriptors,
    output_is_read_whatever_signals_come,
    a_debugger_that_has_not_looked_keeps_nobody_busy,
];

const LONG: Duration = Duration::from_secs(60);

fn piped<T: serde::Serialize + serde::de::DeserializeOwned>(process: Process<T>) -> Process<T> {
    process.stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// Writes much more than pipes hold, to one stream and the other by turns.
fn writes(turns: usize) -> usize {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    for turn in 0..turns {
        let size = 1 + turn * 977 % 100_000;
        out.write_all(&vec![b'o'; size]).expect("write");
        err.write_all(&vec![b'e'; size * 2]).expect("write");
    }
    out.flush().expect("flush");
    turns
}

fn both_streams_are_read_at_once() {
    let size: usize = (0..60).map(|turn| 1 + turn * 977 % 100_000).sum();
    for_each_method(|method| {
        let output = Process::new(writes, (60,)).start_method(method).output().expect("output");
        assert_eq!(output.result.expect("its value"), 60, "{method}");
        assert_eq!(output.stdout, vec![b'o'; size]);
        assert_eq!(output.stderr, vec![b'e'; size * 2]);
        assert!(!output.is_truncated);
        // One only, and none.
        let process = Process::new(writes, (60,)).start_method(method).stderr(Stdio::null());
        let output = process.output().expect("output");
        assert_eq!((output.stdout.len(), output.stderr.len()), (size, 0));
        let process = Process::new(|| 7, ()).start_method(method);
        let mut child = process.start().expect("start");
        let output = child.wait_with_output().expect("output");
        assert_eq!((output.result.expect("value"), output.stdout.len()), (7, 0));
        // Again: the result, and no output.
        assert_eq!(child.wait_with_output().expect("output").result.expect("value"), 7);
    });
}

fn a_process_that_writes_for_ever_is_ended_at_its_limit() {
    fn endless(is_error: bool) {
        eprint!("begun");
        loop {
            if is_error { eprintln!("again") } else { println!("again") }
        }
    }
    for_each_method(|method| {
        for is_error in [false, true] {
            let process = Process::new(endless, (is_error,)).start_method(method);
            let output = process.max_output(100_000).output().expect("output");
            let (full, other) = match is_error {
                true => (output.stderr, output.stdout),
                false => (output.stdout, output.stderr),
            };
            assert_eq!(full.len(), 100_000, "{method}");
            assert_eq!(other, if is_error { &b""[..] } else { b"begun" });
            assert!(output.is_truncated);
            let error = output.result.expect_err("it was killed");
            assert_eq!(error.limit(), Some(&LimitReached::Output(100_000)));
            assert!(error.to_string().ends_with("reached its output of 100000 bytes"), "{error}");
        }
        // To the last byte is no byte too many.
        let process = Process::new(|| print!("{}", "x".repeat(5000)), ()).start_method(method);
        let output = process.max_output(5000).output().expect("output");
        output.result.expect("it has kept to its limit");
        assert_eq!((output.stdout.len(), output.is_truncated), (5000, false));
    });
}

/// Leaves a program behind that has its standard output, and says its number.
fn leaves_behind(program: String, argument: String) -> u32 {
    print!("own words");
    std::io::stdout().flush().expect("flush");
    Command::new(program).arg(argument).spawn().expect("start a program").id()
}

fn who_holds_a_pipe_open_keeps_nobody_waiting() {
    for_each_method(|method| {
        for (program, argument) in [("sleep", "1000"), ("yes", "nonsense")] {
            let arguments = (program.to_owned(), argument.to_owned());
            let process = Process::new(leaves_behind, arguments).start_method(method);
            let before = Instant::now();
            let output = process.output().expect("output");
            assert!(before.elapsed() < LONG / 2, "{method}: it waited for {program}");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.starts_with("own words"), "{method}: {text:.40}");
            let left = output.result.expect("its number");
            // SAFETY: no preconditions. It is a child of ours by now, as orphans are.
            unsafe { libc::kill(left.cast_signed(), libc::SIGKILL) };
            until("it has ended", || !is_running(left));
        }
    });
}

fn a_process_that_closes_its_streams_is_waited_for() {
    fn closes(closed: Event, go: Event) -> u32 {
        println!("last words");
        // SAFETY: nobody in this child writes any more.
        unsafe {
            libc::close(1);
            libc::close(2);
        }
        closed.set();
        go.wait();
        7
    }
    for_each_method(|method| {
        let (closed, go) = (Event::new().expect("event"), Event::new().expect("event"));
        let process = Process::new(closes, (closed.clone(), go.clone())).start_method(method);
        let mut child = piped(process).start().expect("start");
        closed.wait();
        let early = child.wait_with_output_timeout(Duration::from_millis(20)).expect("asked");
        assert!(early.is_none(), "{method}: it runs on");
        go.set();
        let output = child.wait_with_output_timeout(LONG).expect("asked").expect("it has ended");
        assert_eq!(output.stdout, b"last words\n");
        assert_eq!(output.result.expect("value"), 7);
    });
}

/// Reads its standard input to the end.
fn reads() -> usize {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("read")
}

fn input_that_was_forgotten_is_closed() {
    for_each_method(|method| {
        let process = || Process::new(reads, ()).start_method(method).stdin(Stdio::piped());
        let child = process().start().expect("start");
        // Waits for a time leave it open.
        assert!(child.join_timeout(Duration::from_millis(20)).expect("it runs").is_none());
        assert!(child.try_join().expect("it runs").is_none());
        assert_eq!(child.join().expect("join"), 0, "{method}");
        assert_eq!(process().output().expect("output").result.expect("value"), 0);
        // What was taken is the taker's.
        let mut child = process().start().expect("start");
        let mut stdin = child.take_stdin().expect("piped");
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| child.join());
            stdin.write_all(b"seven c").expect("write");
            drop(stdin);
            assert_eq!(joined.join().expect("thread").expect("join"), 7);
        });
        assert!(child.take_stdin().is_none());
    });
}

fn input_that_was_forgotten_does_not_keep_the_program() {
    fn leaves() {
        let process = Process::new(reads, ()).stdin(Stdio::piped());
        let _child = process.start().expect("start");
        std::process::exit(7);
    }
    for_each_method(|method| {
        let child = Process::new(leaves, ()).start_method(method).start().expect("start");
        let outcome = child.join_timeout(LONG);
        assert_eq!(outcome.expect_err("no value").exitcode(), Some(7), "{method}");
    });
}

fn what_came_before_a_time_out_is_kept() {
    fn talks(go: Event) {
        print!("first ");
        std::io::stdout().flush().expect("flush");
        go.wait();
        print!("second");
    }
    for_each_method(|method| {
        let go = Event::new().expect("event");
        let process = Process::new(talks, (go.clone(),)).start_method(method);
        let mut child = piped(process).start().expect("start");
        for _ in 0..3 {
            let over = Instant::now() + Duration::from_millis(10);
            assert!(child.wait_with_output_deadline(over).expect("asked").is_none());
        }
        go.set();
        let output = child.wait_with_output().expect("output");
        assert_eq!(output.stdout, b"first second", "{method}");
    });
}

fn a_deadline_is_kept_while_output_is_read() {
    fn stubborn() {
        // SAFETY: no preconditions.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        loop {
            println!("again");
        }
    }
    let moment = Duration::from_millis(50);
    for_each_method(|method| {
        let process = Process::new(stubborn, ()).start_method(method);
        let output = process.deadline(moment).grace(moment).output().expect("output");
        let error = output.result.expect_err("it took too long");
        assert_eq!(error.limit(), Some(&LimitReached::Deadline(moment)), "{method}");
        assert!(output.stdout.starts_with(b"again\nagain\n"));
    });
}

fn output_of_who_was_killed_is_kept() {
    fn is_killed() {
        print!("famous last words");
        std::io::stdout().flush().expect("flush");
        // SAFETY: no preconditions.
        unsafe { libc::kill(id().cast_signed(), libc::SIGKILL) };
    }
    for_each_method(|method| {
        let output = Process::new(is_killed, ()).start_method(method).output().expect("output");
        assert_eq!(output.stdout, b"famous last words", "{method}");
        assert_eq!(output.result.expect_err("killed").signal(), Some(Signal::KILL));
    });
}

fn pipes_that_were_taken_are_left_alone() {
    fn talks(go: Event) {
        go.wait();
        print!("out");
        eprint!("err");
    }
    let go = Event::new().expect("event");
    let mut child = piped(Process::new(talks, (go.clone(),))).start().expect("start");
    assert!(child.wait_with_output_timeout(Duration::ZERO).expect("asked").is_none());
    let mut taken = child.take_stdout().expect("piped");
    std::thread::scope(|scope| {
        // It sleeps until there is something, also after the call that looked.
        let read = scope.spawn(move || {
            let mut text = String::new();
            taken.read_to_string(&mut text).map(|_| text)
        });
        go.set();
        let output = child.wait_with_output().expect("output");
        assert_eq!((output.stdout.len(), output.stderr), (0, b"err".to_vec()));
        assert_eq!(read.join().expect("thread").expect("read"), "out");
    });
    assert!(child.take_stdout().is_none() && child.take_stderr().is_none());
}

fn output_is_read_without_descriptors() {
    for_each_method(|method| {
        let process = Process::new(writes, (20,)).start_method(method);
        let mut child = piped(process).start().expect("start");
        let hoard = Hoard::all_but(0);
        let output = child.wait_with_output().expect("output");
        drop(hoard);
        let size: usize = (0..20).map(|turn| 1 + turn * 977 % 100_000).sum();
        assert_eq!((output.stdout.len(), output.stderr.len()), (size, size * 2), "{method}");
        assert_eq!(output.result.expect("value"), 20);
    });
}

fn output_is_read_whatever_signals_come() {
    extern "C" fn nothing(_: i32) {}
    // Interrupted calls fail, and have to be made again.
    react(libc::SIGALRM, nothing as *const () as libc::sighandler_t);
    let every = libc::timeval { tv_sec: 0, tv_usec: 300 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the timer outlives the call.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    let output = Process::new(writes, (40,)).output().expect("output");
    let size: usize = (0..40).map(|turn| 1 + turn * 977 % 100_000).sum();
    assert_eq!((output.stdout.len(), output.stderr.len()), (size, size * 2));
    let off = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: off, it_value: off };
    // SAFETY: as above.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

/// The time that this process has computed.
fn computed() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn a_debugger_that_has_not_looked_keeps_nobody_busy() {
    // The program holds the pipes open, so only the end of the child is left to be told of.
    let (mut child, program) = debugger::start(piped);
    let debugger = Debugger::hold(child.pid());
    child.kill().expect("kill");
    let before = computed();
    let time = Duration::from_millis(300);
    let early = child.wait_with_output_timeout(time).expect("asked");
    assert_eq!(early.is_none(), debugger.is_some());
    assert!(computed() - before < time / 4, "it computed for {:?}", computed() - before);
    drop(debugger);
    let output = early.unwrap_or_else(|| child.wait_with_output().expect("output"));
    assert_eq!(output.result.expect_err("killed").signal(), Some(Signal::KILL));
    send_signal(program, libc::SIGKILL);
    until("it has ended", || !is_running(program));
}
