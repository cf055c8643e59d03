//! The parent dies.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use multiproc::{Child, Process, StartMethod, parent_process};

use crate::dice::{Dice, own_rounds};
use crate::found::{MARK, become_subreaper, is_childless, marked, say};
use crate::support::{METHODS, is_running, send_signal, until};

/// Tells a program what to be.
const PART: &str = "CRASH_PART";

/// A program of one of these tests, marked.
fn program(test: &str, part: &str, mark: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env("SUITE_TEST", test).env(PART, part).env(MARK, mark).stdin(Stdio::null());
    command
}

fn part() -> Option<String> {
    std::env::var(PART).ok()
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn sleep() {
    std::thread::sleep(Duration::from_secs(600));
}

fn quick(x: u64) -> u64 {
    x + 1
}

/// Starts a few processes of its own, at random, and ends.
fn family(seed: u64, depth: u32) {
    let dice = Dice::new(seed);
    let children: Vec<_> = (0..=dice.below(2)).filter_map(|_| one_child(&dice, depth)).collect();
    for child in children {
        child.wait(&dice);
    }
}

/// A child that may be joined: one that ends by itself.
enum Started {
    Quick(Child<u64>),
    Family(Child<()>),
    Endless(Child<()>),
}

impl Started {
    fn wait(self, dice: &Dice) {
        // What comes of it is for the other tests; here, everything may be killed at any moment.
        match self {
            Started::Quick(child) => drop(child.join()),
            Started::Family(child) => {
                drop(child.join_timeout(Duration::from_micros(dice.below(5000))))
            }
            Started::Endless(child) => drop(child.try_join()),
        }
    }
}

fn one_child(dice: &Dice, depth: u32) -> Option<Started> {
    let method = dice.one_of(&METHODS);
    let kind = dice.below(if depth == 0 { 3 } else { 5 });
    let started = match kind {
        0 => Process::new(quick, (7,)).start_method(method).start().map(Started::Quick),
        1 => Process::new(spin, ()).start_method(method).start().map(Started::Endless),
        2 => Process::new(sleep, ()).start_method(method).start().map(Started::Endless),
        _ => Process::new(family, (dice.seed(), depth - 1))
            .start_method(method)
            .start()
            .map(Started::Family),
    };
    started.map_err(|error| say(format_args!("start: {error}"))).ok()
}

/// The program: starts children for as long as it lives.
fn start_without_end(seed: u64) {
    let dice = Dice::new(seed);
    let mut endless = Vec::new();
    loop {
        match one_child(&dice, 2) {
            Some(child @ Started::Endless(_)) => endless.push(child),
            Some(child) => child.wait(&dice),
            None => {}
        }
        // The busy ones would leave no time for anything else.
        if endless.len() > 3
            && let Some(Started::Endless(child)) = endless.pop()
        {
            let _ = child.kill();
        }
    }
}

pub(crate) fn killed_parents_leave_nothing() {
    if let Some(seed) = part() {
        return start_without_end(seed.parse().expect("a seed"));
    }
    become_subreaper();
    for round in 0..own_rounds() {
        let dice = Dice::of_round(round);
        let mark = format!("{}-{round}", std::process::id());
        let mut program = program("killed_parents_leave_nothing", &dice.seed().to_string(), &mark);
        let mut program = program.stdout(Stdio::null()).spawn().expect("start a program");
        dice.pause(Duration::from_millis(120));
        let signal = dice.one_of(&[libc::SIGKILL, libc::SIGKILL, libc::SIGABRT, libc::SIGTERM]);
        send_signal(program.id(), signal);
        let status = program.wait().expect("wait");
        assert!(!status.success(), "round {round}: it ended by itself");
        until("nothing of it is left", || is_childless() && marked(&mark).is_empty());
    }
}

/// Has a child of the same method, names it, and goes on for ever: one of the two is busy.
fn have_child(method: StartMethod, is_busy: bool) {
    let (own, other): (fn(), _) =
        if is_busy { (spin, Process::new(sleep, ())) } else { (sleep, Process::new(spin, ())) };
    say(other.start_method(method).start().expect("start").pid());
    own();
}

/// The program: has children and grandchildren of each method, some of them busy, and names them;
/// then waits for its end.
fn have_children(end: &str) {
    for method in METHODS {
        for is_busy in [false, true] {
            say(Process::new(have_child, (method, is_busy))
                .start_method(method)
                .start()
                .expect("start")
                .pid());
        }
    }
    if end == "abort" {
        let mut go = String::new();
        let _ = std::io::stdin().read_line(&mut go);
        std::process::abort();
    }
    sleep();
}

fn end_of_a_parent(test: &str, end: &str, signal: Option<i32>) {
    if let Some(end) = part() {
        return have_children(&end);
    }
    become_subreaper();
    let mark = std::process::id().to_string();
    let mut program = program(test, end, &mark)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a program");
    let lines = BufReader::new(program.stdout.take().expect("piped")).lines();
    let pids: Vec<u32> =
        lines.take(12).map(|line| line.expect("read").parse().expect("a number")).collect();
    assert_eq!(pids.len(), 12, "two children of each method, each with a child");
    assert!(pids.iter().all(|pid| is_running(*pid)));
    match signal {
        Some(signal) => send_signal(program.id(), signal),
        None => drop(program.stdin.take()),
    }
    let status = program.wait().expect("wait");
    let by = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(by, Some(signal.unwrap_or(libc::SIGABRT)), "{status}");
    until("nothing of it is left", || is_childless() && marked(&mark).is_empty());
}

pub(crate) fn children_end_with_a_parent_that_aborts() {
    end_of_a_parent("children_end_with_a_parent_that_aborts", "abort", None);
}

pub(crate) fn children_end_with_a_parent_that_is_terminated() {
    end_of_a_parent("children_end_with_a_parent_that_is_terminated", "wait", Some(libc::SIGTERM));
}

pub(crate) fn children_end_with_a_parent_that_is_killed() {
    end_of_a_parent("children_end_with_a_parent_that_is_killed", "wait", Some(libc::SIGKILL));
}

/// The program: has a child of each method that outlives it.
fn have_untied_children() {
    for method in METHODS {
        let target = |number: u32| {
            let parent = parent_process().expect("a parent");
            say(format_args!("{number} sees its parent: {}", parent.is_alive()));
            assert!(parent.join(None));
            say(format_args!("{number} sees its parent: {}", parent.is_alive()));
            assert!(multiproc::current_process().stop_requested());
            // It can have children itself, which end with it.
            let child = Process::new(sleep, ()).daemon(true).start().expect("start");
            let answer = Process::new(quick, (1,)).start().expect("start").join().expect("join");
            drop(child);
            say(format_args!("{number} goes on: {answer}"));
        };
        let number = METHODS
            .iter()
            .position(|one| *one == method)
            .and_then(|place| u32::try_from(place).ok());
        let process = Process::new(target, (number.expect("a place"),))
            .start_method(method)
            .die_with_parent(false);
        process.start().expect("start");
    }
    sleep();
}

pub(crate) fn untied_children_survive_and_see_it() {
    const TEST: &str = "untied_children_survive_and_see_it";
    if part().is_some() {
        return have_untied_children();
    }
    become_subreaper();
    for signal in [libc::SIGKILL, libc::SIGABRT, libc::SIGTERM] {
        let mark = format!("{}-{signal}", std::process::id());
        let mut program =
            program(TEST, "run", &mark).stdout(Stdio::piped()).spawn().expect("start a program");
        let mut said = BufReader::new(program.stdout.take().expect("piped"));
        let mut first = String::new();
        for _ in METHODS {
            said.read_line(&mut first).expect("read");
        }
        let mut seen: Vec<&str> = first.lines().collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            ["0 sees its parent: true", "1 sees its parent: true", "2 sees its parent: true"]
        );
        send_signal(program.id(), signal);
        program.wait().expect("wait");
        // The end of the file comes when the last of them has ended.
        let mut rest = String::new();
        said.read_to_string(&mut rest).expect("read");
        let mut seen: Vec<&str> = rest.lines().collect();
        seen.sort_unstable();
        let expected =
            (0..3).flat_map(|n| [format!("{n} goes on: 2"), format!("{n} sees its parent: false")]);
        assert_eq!(seen, expected.collect::<Vec<_>>());
        until("nothing of it is left", || is_childless() && marked(&mark).is_empty());
    }
}
