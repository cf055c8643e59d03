//! Group E: signals and waiting.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ChildStdout;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use multiproc::{Child, Process, StartMethod, Stdio, Waitable, active_children, wait};

use crate::support::{for_each_method, is_running, send_signal};
use crate::tools::{self, Gate, Rain, SIGNALS, pass, stay};

pub(crate) fn e55_signals_while_joining() {
    for_each_method(|method| {
        let gate = Gate::new();
        let quiet = SIGNALS.load(Ordering::Relaxed);
        let rain = Rain::start();
        // Every call of the library is interrupted somewhere: start, wait, join, the end.
        for round in 0..50_u32 {
            let child =
                Process::new(|n: u32| n + 1, (round,)).start_method(method).start().expect("start");
            assert!(active_children().len() <= 1);
            assert_eq!(child.join().expect("join"), round + 1);
            assert_eq!(child.exitcode(), Some(0));
        }
        let big: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let child = Process::new(|big: Vec<u8>| big, (big.clone(),))
            .start_method(method)
            .start()
            .expect("start");
        assert!(child.join().expect("join") == big, "bytes were lost");
        // A join that is sure to be interrupted while it waits.
        let child = Process::new(pass, (gate.name(),)).start_method(method).start().expect("start");
        let at = gate.admit();
        let before = SIGNALS.load(Ordering::Relaxed);
        assert_eq!(child.join_timeout(Duration::from_millis(50)).expect("alive"), None);
        assert!(SIGNALS.load(Ordering::Relaxed) > before, "no signal came");
        at.release();
        child.join().expect("join");
        assert_eq!(child.exitcode(), Some(0));
        drop(rain);
        assert!(SIGNALS.load(Ordering::Relaxed) > quiet);
    });
}

pub(crate) fn e56_signals_while_a_child_sends() {
    const SIZE: usize = 4 << 20;
    fn bytes() -> Vec<u8> {
        (0..=255).cycle().take(SIZE).collect()
    }
    /// Writes more than any pipe holds, then returns as much; how many signals came meanwhile goes
    /// along.
    fn send(gate: String) -> (Vec<u8>, u32) {
        tools::count(libc::SIGUSR1);
        let _stream = tools::call(&gate);
        std::io::stdout().write_all(&bytes()).expect("write");
        (bytes(), SIGNALS.load(Ordering::Relaxed))
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let process =
            Process::new(send, (gate.name(),)).stdout(Stdio::piped()).start_method(method);
        let mut child = process.start().expect("start");
        let _at = gate.admit();
        let mut stdout = child.take_stdout().expect("piped");
        let mut received = Vec::new();
        let mut part = vec![0; 64 << 10];
        loop {
            send_signal(child.pid(), libc::SIGUSR1);
            match stdout.read(&mut part).expect("read") {
                0 => break,
                count => received.extend_from_slice(&part[..count]),
            }
        }
        assert!(received == bytes(), "bytes were lost");
        let (returned, signals) = child.join().expect("join");
        assert!(returned == bytes(), "bytes were lost");
        assert!(signals > 0, "no signal came");
    });
}

pub(crate) fn e57_signals_while_waiting_for_a_connection() {
    fn late(gate: String) {
        // So late that the other side is waiting already, most likely; it is right in any case.
        std::thread::sleep(Duration::from_millis(30));
        pass(gate);
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let rain = Rain::start();
        let child = Process::new(late, (gate.name(),)).start_method(method).start().expect("start");
        assert_eq!(wait(&[gate.listener()], None).expect("wait"), [0]);
        gate.admit().release();
        child.join().expect("join");
        drop(rain);
    });
}

/// Ten lines, each in one write.
fn write_lines(to: &mut impl Write, name: u32, pause: Duration) {
    for line in 0..10 {
        std::thread::sleep(pause);
        to.write_all(format!("{name} {line}\n").as_bytes()).expect("write");
        to.flush().expect("flush");
    }
}

fn expected() -> Vec<String> {
    (0..4).flat_map(|name| (0..10).map(move |line| format!("{name} {line}"))).collect()
}

/// Reads from all of them whatever is ready until each is at its end.
fn collect<R: Read + Waitable>(mut readers: Vec<R>) -> Vec<String> {
    let mut texts: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut names: Vec<usize> = (0..readers.len()).collect();
    texts.extend(names.iter().map(|name| (*name, Vec::new())));
    while !readers.is_empty() {
        let things: Vec<&dyn Waitable> =
            readers.iter().map(|reader| reader as &dyn Waitable).collect();
        let ready = wait(&things, None).expect("wait");
        assert!(!ready.is_empty(), "woken for nothing");
        // From the last, so that the places before keep their meaning when one goes.
        for place in ready.into_iter().rev() {
            let mut part = [0; 512];
            match readers[place].read(&mut part) {
                Ok(0) => {
                    readers.remove(place);
                    names.remove(place);
                }
                Ok(count) => texts[names[place]].1.extend_from_slice(&part[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
            }
        }
    }
    let mut lines: Vec<String> = texts
        .iter()
        .flat_map(|(_, text)| tools::text(text).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

fn lines_of_children(method: StartMethod, pause: Duration) {
    let mut children: Vec<Child<()>> = (0..4_u32)
        .map(|name| {
            let write = |name, pause| write_lines(&mut std::io::stdout(), name, pause);
            let process =
                Process::new(write, (name, pause)).stdout(Stdio::piped()).start_method(method);
            process.start().expect("start")
        })
        .collect();
    let readers: Vec<ChildStdout> =
        children.iter_mut().map(|child| child.take_stdout().expect("piped")).collect();
    assert_eq!(collect(readers), expected());
    for child in children {
        child.join().expect("join");
    }
}

pub(crate) fn e58_wait_for_readers() {
    for_each_method(|method| lines_of_children(method, Duration::ZERO));
}

pub(crate) fn e58_wait_for_slow_readers() {
    for_each_method(|method| lines_of_children(method, Duration::from_millis(3)));
}

pub(crate) fn e59_wait_for_sockets() {
    for_each_method(|method| {
        for pause in [Duration::ZERO, Duration::from_millis(3)] {
            let gate = Gate::new();
            let children: Vec<Child<()>> = (0..4_u32)
                .map(|name| {
                    let write = |gate: String, name, pause| {
                        write_lines(&mut tools::call(&gate), name, pause)
                    };
                    let process =
                        Process::new(write, (gate.name(), name, pause)).start_method(method);
                    process.start().expect("start")
                })
                .collect();
            let sockets: Vec<UnixStream> = children.iter().map(|_| gate.admit().stream).collect();
            assert_eq!(collect(sockets), expected());
            for child in children {
                child.join().expect("join");
            }
        }
    });
}

pub(crate) fn e60_wait_with_timeout() {
    let (mut a, b) = UnixStream::pair().expect("pair");
    let (_c, d) = UnixStream::pair().expect("pair");
    let timeout = Duration::from_millis(60);
    let started = Instant::now();
    assert_eq!(wait(&[&b, &d], Some(timeout)).expect("wait"), []);
    assert!(started.elapsed() >= timeout);
    // Not even with nothing to wait for is it shorter.
    let started = Instant::now();
    assert_eq!(wait(&[], Some(timeout)).expect("wait"), []);
    assert!(started.elapsed() >= timeout);
    a.write_all(b"x").expect("write");
    assert_eq!(wait(&[&b, &d], Some(Duration::from_secs(60))).expect("wait"), [0]);
    assert_eq!(wait(&[&d, &b], None).expect("wait"), [1]);
    for_each_method(|method| {
        let child = Process::new(stay, ()).start_method(method).start().expect("start");
        let started = Instant::now();
        assert_eq!(wait(&[&child], Some(timeout)).expect("wait"), []);
        assert!(started.elapsed() >= timeout);
        let started = Instant::now();
        assert_eq!(child.join_timeout(timeout).expect("alive"), None);
        assert!(started.elapsed() >= timeout);
        child.kill().expect("kill");
        assert_eq!(wait(&[&child, &d], None).expect("wait"), [0]);
        child.join().expect_err("killed");
    });
}

pub(crate) fn e61_wait_for_sockets_and_processes() {
    for_each_method(|method| {
        let gate = Gate::new();
        let (mut a, b) = UnixStream::pair().expect("pair");
        let start =
            || Process::new(pass, (gate.name(),)).start_method(method).start().expect("start");
        let first = start();
        let at_first = gate.admit();
        let second = start();
        let at_second = gate.admit();
        let handle = second.handle();
        let sentinel = first.sentinel().expect("sentinel");
        let now = Some(Duration::ZERO);
        assert_eq!(wait(&[&sentinel, &b, &handle], now).expect("wait"), []);
        a.write_all(b"x").expect("write");
        assert_eq!(wait(&[&sentinel, &b, &handle], None).expect("wait"), [1]);
        at_second.release();
        assert_eq!(wait(&[&sentinel, &handle], None).expect("wait"), [1]);
        assert_eq!(wait(&[&sentinel, &b, &handle], now).expect("wait"), [1, 2]);
        at_first.release();
        assert_eq!(wait(&[&sentinel], None).expect("wait"), [0]);
        assert_eq!(wait(&[&sentinel, &b, &handle], None).expect("wait"), [0, 1, 2]);
        // To wait is not to take.
        assert_eq!(b.peer_addr().map(|_| ()).ok(), Some(()));
        first.join().expect("join");
        second.join().expect("join");
        assert!(!is_running(first.pid()));
    });
}

pub(crate) fn e62_wait_with_no_time() {
    for_each_method(|method| {
        let child = Process::new(stay, ()).start_method(method).start().expect("start");
        // To wait at all would be to wait for ever.
        assert_eq!(wait(&[&child], Some(Duration::ZERO)).expect("wait"), []);
        assert_eq!(child.join_timeout(Duration::ZERO).expect("alive"), None);
        assert_eq!(child.try_join().expect("alive"), None);
        // More than the clock can count is for ever.
        child.kill().expect("kill");
        assert_eq!(wait(&[&child], Some(Duration::MAX)).expect("wait"), [0]);
        assert!(child.join_timeout(Duration::MAX).is_err());
    });
}
