//! What a program starts is killed; the program goes on.
#![expect(unsafe_code, reason = "forks a killer")]

use std::time::{Duration, Instant};

use multiproc::{Child, JoinError, Process, Signal, active_children};

use crate::dice::{Dice, own_rounds};
use crate::found::{descendants, kill};
use crate::support::{METHODS, children_of, open_fds, send_signal, until, zombies};

/// Kills descendants of a process at random, all but itself, until it is killed.
struct Killer(u32);

impl Killer {
    fn start(seed: u64, pace: Duration, only_helpers: bool) -> Killer {
        let victim = std::process::id();
        // SAFETY: a test has one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid > 0 {
            return Killer(pid.cast_unsigned());
        }
        let dice = Dice::new(seed);
        let own = std::process::id();
        loop {
            dice.pause(pace);
            // Not whom it started itself: nobody.
            let mut found = descendants(victim);
            found.retain(|(pid, parent)| *pid != own && *parent != own);
            if only_helpers {
                found.retain(|(pid, _)| is_helper(*pid));
            }
            if crate::support::parent_of(own) != Some(victim) {
                std::process::exit(0);
            }
            if !found.is_empty() {
                let (pid, parent) = dice.one_of(&found);
                kill(pid, parent);
            }
        }
    }

    fn stop(self) {
        send_signal(self.0, libc::SIGKILL);
        let mut status = 0;
        // SAFETY: a child of ours; the status is ours.
        while unsafe { libc::waitpid(self.0.cast_signed(), &raw mut status, 0) } < 0 {}
        assert_eq!(status, libc::SIGKILL, "the killer had come to an end itself");
    }
}

/// A fork server, or a clone of it that has no job yet: both have the server's name.
fn is_helper(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.windows(11).any(|part| part == b"fork server"))
}

fn double(x: u64) -> u64 {
    2 * x
}

fn large(x: u64) -> String {
    x.to_string().repeat(30_000)
}

/// What came of a nested child: its value, or that it was killed.
fn nested(seed: u64) -> Option<u64> {
    let dice = Dice::new(seed);
    let child = Process::new(double, (21,)).start_method(dice.one_of(&METHODS)).start().expect("nested start");
    killed_or(child.join())
}

#[track_caller]
fn killed_or<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined {
        Ok(value) => Some(value),
        Err(error) if error.signal() == Some(Signal::KILL) => None,
        Err(error) => panic!("neither its result nor killed: {error}"),
    }
}

enum Started {
    Double(u64, Child<u64>),
    Large(u64, Child<String>),
    Nested(Child<Option<u64>>),
    Endless(Child<()>),
}

impl Started {
    fn start(dice: &Dice) -> Started {
        let method = dice.one_of(&METHODS);
        let x = dice.below(1_000_000);
        match dice.below(8) {
            0..=3 => Started::Double(x, Process::new(double, (x,)).start_method(method).start().expect("start")),
            4 => Started::Large(x, Process::new(large, (x,)).start_method(method).start().expect("start")),
            5 => Started::Endless(Process::new(std::thread::park, ()).start_method(method).start().expect("start")),
            _ => Started::Nested(Process::new(nested, (x + 1,)).start_method(method).start().expect("start")),
        }
    }

    /// Joins; whether it was killed.
    fn finish(self) -> bool {
        match self {
            Started::Double(x, child) => killed_or(child.join()).map(|value| assert_eq!(value, 2 * x)).is_none(),
            Started::Large(x, child) => {
                killed_or(child.join()).map(|value| assert!(value == large(x), "another result")).is_none()
            }
            Started::Nested(child) => {
                killed_or(child.join()).map(|value| assert!(matches!(value, None | Some(42)), "{value:?}")).is_none()
            }
            Started::Endless(child) => {
                child.kill().expect("kill");
                killed_or(child.join()).is_none()
            }
        }
    }
}

/// Starts one child of each method, so that what stays open is open.
fn warm_up() {
    for method in METHODS {
        Process::new(double, (1,)).start_method(method).start().expect("start").join().expect("join");
    }
}

/// Asserts that all is as it was.
fn nothing_is_left(descriptors: usize) {
    // What was killed last may be on its way to be replaced.
    warm_up();
    assert_eq!(open_fds().len(), descriptors, "descriptors: {:?}", open_fds());
    assert!(active_children().is_empty());
    until("no zombie is left", || zombies().is_empty());
    let left = children_of(std::process::id());
    assert!(left.len() <= 5, "more than the fork server and four idle clones: {left:?}");
}

pub(crate) fn joins_tell_what_was_killed() {
    warm_up();
    let descriptors = open_fds().len();
    let (mut killed, mut all) = (0, 0);
    for round in 0..own_rounds() {
        let dice = Dice::of_round(round);
        let killer = Killer::start(dice.seed(), Duration::from_millis(dice.one_of(&[2, 10, 50])), false);
        let until = Instant::now() + Duration::from_millis(250);
        while Instant::now() < until {
            let some: Vec<_> = (0..=dice.below(6)).map(|_| Started::start(&dice)).collect();
            for child in some {
                all += 1;
                killed += u32::from(child.finish());
            }
        }
        killer.stop();
        nothing_is_left(descriptors);
    }
    println!("{killed} of {all} were killed");
}

pub(crate) fn a_killed_fork_server_is_replaced() {
    warm_up();
    let descriptors = open_fds().len();
    for round in 0..own_rounds() {
        let dice = Dice::of_round(round);
        let killer = Killer::start(dice.seed(), Duration::from_millis(dice.one_of(&[4, 10, 50])), true);
        for x in 0..40 {
            let child = Process::new(double, (x,)).start().expect("start");
            // It may have been taken for an idle clone.
            killed_or(child.join()).map(|value| assert_eq!(value, 2 * x));
        }
        killer.stop();
        nothing_is_left(descriptors);
    }
}
