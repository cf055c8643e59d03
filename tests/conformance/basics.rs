//! Group A: processes.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use multiproc::{
    Child, Failure, Pool, Process, Signal, StartMethod, Stdio, active_children, cpu_count,
    current_process, parent_process, wait,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    METHODS, children_of, for_each_method, is_running, open_fds, send_signal, until,
};
use crate::tools::{self, Gate, SIGNALS, pass, report_and_stay, stay};

pub(crate) fn a01_current_process() {
    let main = current_process();
    assert_eq!(main.name(), "MainProcess");
    assert_eq!(main.pid(), std::process::id());
    assert!(!main.daemon());
    assert!(!main.stop_requested());
    assert_eq!(main.to_string(), "<_MainProcess(MainProcess, started)>");
    for_each_method(|method| {
        let ask = || (current_process().pid(), std::process::id(), current_process().to_string());
        let child = Process::new(ask, ())
            .name("asked")
            .daemon(true)
            .start_method(method)
            .start()
            .expect("start");
        let (claimed, real, printed) = child.join().expect("join");
        assert_eq!((claimed, real), (child.pid(), child.pid()));
        assert_eq!(printed, "<Process(asked, started, daemon)>");
    });
}

pub(crate) fn a03_arguments_arrive_equal() {
    type Eight = (u8, i64, f64, char, bool, Option<String>, Vec<Vec<u16>>, (String, [u8; 3]));
    let all = |a, b, c, d, e, f, g, h| -> Eight { (a, b, c, d, e, f, g, h) };
    let eight: Eight = (
        255,
        i64::MIN,
        -0.5,
        'ß',
        true,
        Some("text \0 with a zero".to_owned()),
        vec![vec![], vec![1, 2], vec![u16::MAX]],
        (String::new(), [7, 8, 9]),
    );
    for_each_method(|method| {
        let child = Process::new(all, eight.clone()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), eight);
        let list: Vec<i32> = (0..1000).collect();
        let child = Process::new(|list: Vec<i32>| list, (list.clone(),))
            .start_method(method)
            .start()
            .expect("start");
        assert_eq!(child.join().expect("join"), list);
    });
}

fn total<T: std::iter::Sum<T> + std::ops::Mul<Output = T> + Copy>(numbers: Vec<T>, by: T) -> T {
    numbers.iter().map(|number| *number * by).sum()
}

pub(crate) fn a03_generic_functions_are_targets() {
    for_each_method(|method| {
        let integers = Process::new(total::<u32>, (vec![1, 2, 3], 7)).start_method(method);
        let floats = Process::new(total::<f64>, (vec![0.5, 0.25], 2.0)).start_method(method);
        let (integers, floats) = (integers.start().expect("start"), floats.start().expect("start"));
        assert_eq!(integers.join().expect("join"), 42);
        assert!((floats.join().expect("join") - 1.5).abs() < f64::EPSILON);
        let pool = Pool::builder().processes(2).start_method(method).build().expect("pool");
        let sizes = pool.map(size_of_all::<u16>, [vec![1], vec![1, 2]]).expect("map");
        assert_eq!(sizes, [2, 4]);
        assert_eq!(pool.apply(total::<u64>, (vec![20, 1], 2)).expect("apply"), 42);
        pool.close();
    });
}

fn size_of_all<T>(values: Vec<T>) -> usize {
    values.len() * size_of::<T>()
}

pub(crate) fn a03_function_pointers_are_targets() {
    fn name() -> String {
        current_process().name()
    }
    fn sum(a: u32, b: String) -> u32 {
        a + b.parse::<u32>().expect("a number")
    }
    fn product(a: u32, b: String) -> u32 {
        a * b.parse::<u32>().expect("a number")
    }
    for_each_method(|method| {
        // In a table, so that nothing but the pointer says which function it is.
        let table: [fn(u32, String) -> u32; 3] = [sum, product, |a, b| a - sum(0, b)];
        for (pointer, expected) in table.into_iter().zip([9, 14, 5]) {
            let process = Process::from_pointer(pointer, (7, "2".to_owned())).start_method(method);
            assert_eq!(process.start().expect("start").join().expect("join"), expected);
        }
        let pointer: fn() -> String = name;
        let child = Process::from_pointer(pointer, ()).name("by pointer").start_method(method);
        assert_eq!(child.start().expect("start").join().expect("join"), "by pointer");
        let panics: fn(String) = |text| panic!("{text}");
        let child = Process::from_pointer(panics, ("on purpose".to_owned(),)).start_method(method);
        let error = child.start().expect("start").join().expect_err("a panic");
        assert!(matches!(error.failure(), Failure::Panicked(_)), "{error}");
    });
}

/// The flag of a process that is made here without one, with true and with false.
fn flags() -> (bool, bool, bool) {
    let is = |process: Process<()>| process.is_daemon();
    (
        is(Process::new(stay, ())),
        is(Process::new(stay, ()).daemon(true)),
        is(Process::new(stay, ()).daemon(false)),
    )
}

pub(crate) fn a04_daemon_flag_is_inherited() {
    assert_eq!(flags(), (false, true, false));
    for_each_method(|method| {
        for daemon in [false, true] {
            let ask = || (current_process().daemon(), flags());
            let child =
                Process::new(ask, ()).daemon(daemon).start_method(method).start().expect("start");
            assert_eq!(child.daemon(), daemon);
            assert_eq!(child.join().expect("join"), (daemon, (daemon, true, false)));
        }
    });
}

pub(crate) fn a05_parent_process_attributes() {
    assert!(parent_process().is_none());
    fn parent() -> (String, u32, bool, bool) {
        let parent = parent_process().expect("a parent");
        (
            parent.name().to_owned(),
            parent.pid(),
            parent.is_alive(),
            parent.join(Some(Duration::ZERO)),
        )
    }
    fn nested(method: String) -> (String, u32, bool, bool) {
        let method = method.parse().expect("a start method");
        Process::new(parent, ()).start_method(method).start().expect("start").join().expect("join")
    }
    for_each_method(|method| {
        let child = Process::new(parent, ()).start_method(method).start().expect("start");
        assert_eq!(
            child.join().expect("join"),
            ("MainProcess".to_owned(), std::process::id(), true, false)
        );
        let child = Process::new(nested, (method.to_string(),)).name("middle").start_method(method);
        let child = child.start().expect("start");
        assert_eq!(child.join().expect("join"), ("middle".to_owned(), child.pid(), true, false));
    });
}

pub(crate) fn a06_grandchild_sees_its_parent_end() {
    fn watch(gate: String) {
        let mut stream = tools::call(&gate);
        let parent = parent_process().expect("a parent");
        assert!(parent.is_alive());
        // Tells that it was alive, then that it is not.
        stream.write_all(&[1]).expect("write");
        assert!(parent.join(Some(Duration::from_secs(60))), "it is said to run");
        assert!(!parent.is_alive());
        stream.write_all(&[2]).expect("write");
    }
    fn middle(gate: String, method: String) {
        let method = method.parse().expect("a start method");
        let child = Process::new(watch, (gate,))
            .die_with_parent(false)
            .start_method(method)
            .start()
            .expect("start");
        let _ = child.join();
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(middle, (gate.name(), method.to_string()))
            .start_method(method)
            .start()
            .expect("start");
        let mut grandchild = gate.admit();
        let mut said = [0];
        grandchild.stream.read_exact(&mut said).expect("read");
        assert_eq!(said, [1]);
        child.terminate().expect("terminate");
        assert_eq!(child.join().expect_err("terminated").exitcode(), Some(-libc::SIGTERM));
        grandchild.stream.read_exact(&mut said).expect("read");
        assert_eq!(said, [2]);
        until("the grandchild has ended", || !is_running(grandchild.pid));
    });
}

pub(crate) fn a07_before_the_start() {
    for_each_method(|method| {
        let process = Process::new(stay, ()).name("idle").daemon(true).start_method(method);
        assert!(!process.is_alive());
        assert!(process.is_daemon());
        assert_eq!(process.get_name(), "idle");
        assert!(active_children().is_empty());
    });
}

pub(crate) fn a08_after_the_start() {
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(pass, (gate.name(),)).start_method(method).start().expect("start");
        let at = gate.admit();
        assert!(child.is_alive());
        assert_eq!(child.exitcode(), None);
        assert_eq!(
            active_children().iter().map(|child| child.pid()).collect::<Vec<_>>(),
            [child.pid()]
        );
        at.release();
        child.join().expect("join");
    });
}

pub(crate) fn a09_what_the_child_gets() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Options {
        hello: i32,
        bye: f64,
        more: Option<String>,
    }
    type Seen = (i32, i32, Options, String, u32);
    fn look(a: i32, b: i32, options: Options) -> Seen {
        (a, b, options, current_process().name(), current_process().pid())
    }
    for_each_method(|method| {
        let options = Options { hello: 23, bye: 2.54, more: None };
        let process = Process::new(look, (1, 2, options.clone()))
            .name("given by the parent")
            .start_method(method);
        let child = process.start().expect("start");
        let expected = (1, 2, options, "given by the parent".to_owned(), child.pid());
        assert_eq!(child.join().expect("join"), expected);
        // A name given later stays here.
        child.set_name("given later");
        assert_eq!(child.name(), "given later");
        assert_eq!(child.join().expect("join"), expected);
    });
}

pub(crate) fn a10_after_the_join() {
    for_each_method(|method| {
        let child = Process::new(|| (), ()).start_method(method).start().expect("start");
        child.join().expect("join");
        assert_eq!(child.exitcode(), Some(0));
        assert!(!child.is_alive());
        assert!(active_children().is_empty());
    });
}

pub(crate) fn a11_main_thread_has_an_id_of_its_own() {
    /// `PID/task/TID`
    fn thread() -> String {
        std::fs::read_link("/proc/thread-self").expect("read").to_string_lossy().into_owned()
    }
    for_each_method(|method| {
        let child = Process::new(thread, ()).start_method(method).start().expect("start");
        let theirs = child.join().expect("join");
        assert_eq!(theirs, format!("{0}/task/{0}", child.pid()));
        assert_ne!(theirs, thread());
    });
}

pub(crate) fn a12_interrupt_that_becomes_a_panic() {
    fn work(gate: String) {
        tools::count(libc::SIGINT);
        let _stream = tools::call(&gate);
        while SIGNALS.load(Ordering::Relaxed) == 0 {
            let _ = current_process().wait_stop(Duration::from_millis(5));
        }
        panic!("interrupted");
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let process = Process::new(work, (gate.name(),)).stderr(Stdio::null()).start_method(method);
        let child = process.start().expect("start");
        let _at = gate.admit();
        child.interrupt().expect("interrupt");
        let error = child.join().expect_err("a panic");
        assert_eq!(error.panic().expect("a panic").message(), "interrupted");
        assert_eq!(child.exitcode(), Some(1));
    });
}

pub(crate) fn a13_interrupt_without_a_handler() {
    tools::default_action(libc::SIGINT);
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(report_and_stay, (gate.name(),))
            .start_method(method)
            .start()
            .expect("start");
        let _at = gate.admit();
        child.interrupt().expect("interrupt");
        let error = child.join().expect_err("interrupted");
        assert_eq!(error.signal(), Some(Signal::INT));
        assert_eq!(child.exitcode(), Some(-libc::SIGINT));
    });
}

/// What items 14 and 15 ask, with a way to end the process.
fn ends_by(signal: Signal, end: fn(&Child<()>)) {
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(report_and_stay, (gate.name(),))
            .start_method(method)
            .start()
            .expect("start");
        let _at = gate.admit();
        assert_eq!(active_children().len(), 1);
        // To wait would be to wait for ever.
        assert_eq!(child.join_timeout(Duration::ZERO).expect("alive"), None);
        assert_eq!(child.try_join().expect("alive"), None);
        assert!(child.is_alive());
        end(&child);
        for _ in 0..2 {
            let error = child.join().expect_err("ended by a signal");
            assert!(
                matches!(error.failure(), Failure::Signalled { signal: by, .. } if *by == signal),
                "{error}"
            );
        }
        assert_eq!(child.exitcode(), Some(-signal.number()));
        assert!(!child.is_alive());
        assert!(active_children().is_empty());
        // One that has ended is not disturbed any more.
        end(&child);
        assert_eq!(child.exitcode(), Some(-signal.number()));
    });
}

pub(crate) fn a14_terminate() {
    ends_by(Signal::TERM, |child| child.terminate().expect("terminate"));
}

pub(crate) fn a15_kill() {
    ends_by(Signal::KILL, |child| child.kill().expect("kill"));
}

pub(crate) fn a16_cpu_count() {
    let all = std::fs::read_to_string("/proc/cpuinfo").expect("read");
    let all = all.lines().filter(|line| line.starts_with("processor")).count();
    assert!((1..=all).contains(&cpu_count()), "{} of {all}", cpu_count());
    for_each_method(|method| {
        let child = Process::new(cpu_count, ()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), cpu_count());
    });
}

pub(crate) fn a17_active_children() {
    let pids = || active_children().iter().map(|child| child.pid()).collect::<Vec<_>>();
    for_each_method(|method| {
        let gate = Gate::new();
        let process = Process::new(pass, (gate.name(),)).start_method(method);
        assert_eq!(pids(), []);
        let child = process.start().expect("start");
        let at = gate.admit();
        assert_eq!(pids(), [child.pid()]);
        // Nor has the child, if it is a copy of us, a child that is its own sibling.
        let count = Process::new(|| active_children().len(), ())
            .start_method(method)
            .start()
            .expect("start");
        assert_eq!(count.join().expect("join"), 0);
        at.release();
        child.join().expect("join");
        assert_eq!(pids(), []);
    });
}

/// Writes its place in the tree to standard output, and has `methods` more generations of two do
/// the same.
fn recurse(place: Vec<u8>, methods: Vec<String>) {
    println!("{place:?} {}", current_process().name());
    let Some((method, rest)) = methods.split_first() else { return };
    for number in 0..2 {
        let place = [place.clone(), vec![number]].concat();
        let process = Process::new(recurse, (place, rest.to_vec()));
        process
            .start_method(method.parse().expect("a start method"))
            .start()
            .expect("start")
            .join()
            .expect("join");
    }
}

/// Runs `recurse` and gives what it wrote. All of its children write to the pipe that it got.
fn recursion(first: StartMethod, others: &[StartMethod]) -> Vec<String> {
    let methods: Vec<String> = others.iter().map(StartMethod::to_string).collect();
    let process = Process::new(recurse, (Vec::new(), methods)).name("Root").stdout(Stdio::piped());
    let mut child = process.start_method(first).start().expect("start");
    let mut text = String::new();
    child.take_stdout().expect("piped").read_to_string(&mut text).expect("read");
    child.join().expect("join");
    text.lines().map(str::to_owned).collect()
}

/// The lines of `recursion` with two generations below the first, whose process has the number `n`.
fn depth_first(n: usize) -> Vec<String> {
    vec![
        "[] Root".to_owned(),
        format!("[0] Process-{n}:1"),
        format!("[0, 0] Process-{n}:1:1"),
        format!("[0, 1] Process-{n}:1:2"),
        format!("[1] Process-{n}:2"),
        format!("[1, 0] Process-{n}:2:1"),
        format!("[1, 1] Process-{n}:2:2"),
    ]
}

pub(crate) fn a18_recursion() {
    let constructed = AtomicUsize::new(0);
    for_each_method(|method| {
        // `for_each_method` makes three before each call.
        let number = constructed.fetch_add(4, Ordering::Relaxed) + 4;
        assert_eq!(recursion(method, &[method, method]), depth_first(number));
    });
}

pub(crate) fn a18_recursion_across_methods() {
    let mut number = 0;
    for first in METHODS {
        for second in METHODS {
            for third in METHODS {
                number += 1;
                assert_eq!(
                    recursion(first, &[second, third]),
                    depth_first(number),
                    "{first}, {second}, {third}"
                );
            }
        }
    }
}

pub(crate) fn a19_sentinel() {
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(pass, (gate.name(),)).start_method(method).start().expect("start");
        let at = gate.admit();
        let sentinel = child.sentinel().expect("sentinel");
        assert_eq!(wait(&[&sentinel], Some(Duration::ZERO)).expect("wait"), []);
        at.release();
        assert_eq!(wait(&[&sentinel], None).expect("wait"), [0]);
        assert!(!child.is_alive());
        child.join().expect("join");
    });
}

pub(crate) fn a20_close() {
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(pass, (gate.name(),))
            .name("open")
            .start_method(method)
            .start()
            .expect("start");
        let at = gate.admit();
        let refused = child.close().expect_err("it runs");
        let text =
            "cannot close process open while it is still running: join or terminate it first";
        assert_eq!(refused.to_string(), text);
        let child = refused.0;
        at.release();
        child.join().expect("join");
        let handle = child.handle();
        child.close().expect("close");
        assert_eq!(handle.exitcode(), Some(0));
    });
}

pub(crate) fn a21_many_processes() {
    for_each_method(|method| {
        let children: Vec<_> = (0..100_u32)
            .map(|n| {
                Process::new(|n: u32| n * n, (n,)).start_method(method).start().expect("start")
            })
            .collect();
        for (n, child) in (0..).zip(&children) {
            assert_eq!(child.join().expect("join"), n * n);
            assert_eq!(child.exitcode(), Some(0));
        }
        let children: Vec<_> = (0..100)
            .map(|_| Process::new(stay, ()).start_method(method).start().expect("start"))
            .collect();
        assert_eq!(active_children().len(), 100);
        for child in &children {
            child.terminate().expect("terminate");
        }
        for child in &children {
            assert_eq!(child.join().expect_err("terminated").exitcode(), Some(-libc::SIGTERM));
            assert_eq!(child.exitcode(), Some(-libc::SIGTERM));
        }
        // And each right after its start, before it can have come to anything.
        for _ in 0..100 {
            let child = Process::new(stay, ()).start_method(method).start().expect("start");
            child.terminate().expect("terminate");
            assert_eq!(child.join().expect_err("terminated").exitcode(), Some(-libc::SIGTERM));
        }
    });
}

/// How many `Tracked` were dropped in this process.
static DROPPED: AtomicUsize = AtomicUsize::new(0);

#[derive(Serialize, Deserialize)]
struct Tracked(u8);

impl Drop for Tracked {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn a22_parent_lets_go_of_arguments() {
    for_each_method(|method| {
        let gate = Gate::new();
        let before = DROPPED.load(Ordering::Relaxed);
        let work = |gate: String, tracked: Tracked| {
            pass(gate);
            tracked.0
        };
        let process = Process::new(work, (gate.name(), Tracked(9))).start_method(method);
        let child = process.start().expect("start");
        assert_eq!(
            DROPPED.load(Ordering::Relaxed),
            before + 1,
            "the argument is kept while the child runs"
        );
        gate.admit().release();
        assert_eq!(child.join().expect("join"), 9);
    });
}

pub(crate) fn a22_parent_lets_go_of_a_closure() {
    let kept = Arc::new(5);
    let captured = Arc::clone(&kept);
    let gate = Gate::new();
    let name = gate.name();
    let process = Process::from_closure(move || {
        pass(name);
        *captured
    });
    assert_eq!(Arc::strong_count(&kept), 2);
    let child = process.start().expect("start");
    assert_eq!(Arc::strong_count(&kept), 1, "the closure is kept while the child runs");
    gate.admit().release();
    assert_eq!(child.join().expect("join"), 5);
}

pub(crate) fn a23_descriptors_do_not_grow_with_siblings() {
    let descriptors = |method| {
        Process::new(|| open_fds().len(), ())
            .start_method(method)
            .start()
            .expect("start")
            .join()
            .expect("join")
    };
    // A fork is a copy of everything, descriptors included.
    for method in [StartMethod::Spawn, StartMethod::Forkserver] {
        let alone = descriptors(method);
        let siblings: Vec<_> = (0..30)
            .map(|_| {
                Process::new(stay, ())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .start_method(method)
            })
            .map(|process| process.start().expect("start"))
            .collect();
        for sibling in &siblings {
            sibling.sentinel().expect("sentinel");
        }
        assert!(open_fds().len() > 100, "this process has no more of them than before");
        assert_eq!(descriptors(method), alone, "{method}");
        for sibling in siblings {
            sibling.kill().expect("kill");
            sibling.join().expect_err("killed");
        }
    }
}

pub(crate) fn a24_threads_at_the_end_of_a_child() {
    fn work(gate: String) {
        std::thread::scope(|scope| {
            scope.spawn(|| pass(gate));
        });
        // Nobody joins this one, so nobody waits for it: as at the end of `main`.
        std::thread::spawn(stay);
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(work, (gate.name(),)).start_method(method).start().expect("start");
        let at = gate.admit();
        assert_eq!(child.try_join().expect("alive"), None);
        at.release();
        child.join().expect("join");
        assert_eq!(child.exitcode(), Some(0));
    });
}

pub(crate) fn a25_parent_without_standard_streams() {
    /// A program that closes streams of its own, then starts a child which writes to both.
    fn program(closed: Vec<i32>, method: String) -> (String, Option<i32>) {
        for number in closed {
            tools::close(number);
        }
        let work = |text: String| {
            println!("to nobody, perhaps");
            eprintln!("to nobody, perhaps");
            text + "back"
        };
        let process = Process::new(work, ("there and ".to_owned(),))
            .start_method(method.parse().expect("a start method"));
        let child = process.start().expect("start");
        let text = child.join().expect("join");
        (text, child.exitcode())
    }
    for_each_method(|method| {
        for closed in [vec![1], vec![2], vec![1, 2], vec![0, 1, 2]] {
            // By every method, as a fork server would hide what the program itself does to a
            // spawned one.
            for outer in METHODS {
                let process =
                    Process::new(program, (closed.clone(), method.to_string())).start_method(outer);
                let child =
                    process.stdout(Stdio::null()).stderr(Stdio::null()).start().expect("start");
                assert_eq!(
                    child.join().expect("join"),
                    ("there and back".to_owned(), Some(0)),
                    "{closed:?} closed"
                );
            }
        }
    });
}

pub(crate) fn a26_child_breaks_its_streams() {
    fn closes() -> u8 {
        print!("half a line");
        eprint!("half a line");
        tools::close(1);
        tools::close(2);
        1
    }
    fn goes_on_writing() -> u8 {
        print!("half a line that cannot be written at the end");
        2
    }
    for_each_method(|method| {
        let process = Process::new(closes, ())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .start_method(method);
        let child = process.start().expect("start");
        assert_eq!(child.join().expect("join"), 1);
        assert_eq!(child.exitcode(), Some(0));
        // Nobody reads the other end of this one.
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        let process = Process::new(goes_on_writing, ())
            .stdout(std::os::fd::OwnedFd::from(writer))
            .start_method(method);
        let child = process.start().expect("start");
        assert_eq!(child.join().expect("join"), 2);
        assert_eq!(child.exitcode(), Some(0));
    });
}

/// The number of this process's fork server: the oldest process of its name, as idle clones have
/// that, too.
fn server() -> u32 {
    let read =
        |pid: u32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let is_server =
        |pid: &u32| is_running(*pid) && tools::text(&read(*pid, "cmdline")).contains("fork server");
    // The 22nd field of `stat`, the 20th behind the name.
    let age = |pid: &u32| -> u64 {
        let stat = tools::text(&read(*pid, "stat"));
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace());
        fields.and_then(|mut fields| fields.nth(19)?.parse().ok()).expect("a time")
    };
    // The kernel's list of children may leave one out while another of them ends.
    let mut found = None;
    until("a fork server", || {
        let servers = children_of(std::process::id()).into_iter().filter(is_server);
        found = servers.min_by_key(age);
        found.is_some()
    });
    found.expect("found above")
}

/// Sends the fork server a signal while children run, which must not notice. Gives the server
/// before and after.
fn hurt_server(signal: i32) -> (u32, u32) {
    let gate = Gate::new();
    let work = |gate: String| {
        pass(gate);
        7
    };
    let start = || {
        let process = Process::new(work, (gate.name(),)).start_method(StartMethod::Forkserver);
        process.start().expect("start")
    };
    let before_it = [start(), start()];
    let mut visitors = vec![gate.admit(), gate.admit()];
    let before = server();
    send_signal(before, signal);
    if signal == libc::SIGKILL {
        until("the server has ended", || !is_running(before));
    }
    assert!(before_it.iter().all(|child| child.is_alive()));
    // More than can have been made ahead, which is up to 8 after a burst of starts.
    let after_it: Vec<_> = (0..12).map(|_| start()).collect();
    visitors.extend(after_it.iter().map(|_| gate.admit()));
    let after = server();
    for visitor in visitors {
        visitor.release();
    }
    for child in before_it.into_iter().chain(after_it) {
        assert_eq!(child.join().expect("join"), 7);
        assert_eq!(child.exitcode(), Some(0));
    }
    (before, after)
}

pub(crate) fn a27_interrupted_fork_server_goes_on() {
    tools::default_action(libc::SIGINT);
    let (before, after) = hurt_server(libc::SIGINT);
    assert_eq!(before, after);
}

pub(crate) fn a27_killed_fork_server_is_replaced() {
    for _ in 0..5 {
        let (before, after) = hurt_server(libc::SIGKILL);
        assert_ne!(before, after);
    }
}
