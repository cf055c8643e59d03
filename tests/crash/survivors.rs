//! What a program starts is killed; the program goes on.
#![expect(unsafe_code, reason = "forks a killer")]

use std::time::{Duration, Instant};

use multiproc::{Child, JoinError, Process, Signal, StartMethod, active_children};
use serde::{Serialize, de::DeserializeOwned};

use crate::dice::{Dice, own_rounds};
use crate::found::{descendants, kill};
use crate::support::{METHODS, children_of, open_fds, send_signal, until, wait_at_most, zombies};

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
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.windows(11).any(|part| part == b"fork server"))
}

fn double(x: u64) -> u64 {
    2 * x
}

fn large(x: u64) -> String {
    x.to_string().repeat(30_000)
}

/// Starts a process. The one error that random kills may cause says that the fork server or its
/// clones were killed time and again before they were of use; then again.
#[track_caller]
fn start<T: Serialize + DeserializeOwned>(
    method: StartMethod,
    new: impl Fn() -> Process<T>,
) -> Child<T> {
    for _ in 0..100 {
        match new().start_method(method).start() {
            Ok(child) => return child,
            Err(error) => {
                let text = error.to_string();
                let unlucky = text.contains("killed by signal 9")
                    || text.contains("killed before they can be used");
                assert!(unlucky && method == StartMethod::Forkserver, "start: {text}");
            }
        }
    }
    panic!("a hundred fork servers in a row were killed");
}

/// What came of a nested child: its value, or that it was killed.
fn nested(seed: u64) -> Option<u64> {
    let dice = Dice::new(seed);
    let child = start(dice.one_of(&METHODS), || Process::new(double, (21,)));
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
            0..=3 => Started::Double(x, start(method, || Process::new(double, (x,)))),
            4 => Started::Large(x, start(method, || Process::new(large, (x,)))),
            5 => Started::Endless(start(method, || Process::new(std::thread::park, ()))),
            _ => Started::Nested(start(method, || Process::new(nested, (x + 1,)))),
        }
    }

    /// Joins; whether it was killed.
    fn finish(self) -> bool {
        match self {
            Started::Double(x, child) => {
                killed_or(child.join()).map(|value| assert_eq!(value, 2 * x)).is_none()
            }
            Started::Large(x, child) => killed_or(child.join())
                .map(|value| assert!(value == large(x), "another result"))
                .is_none(),
            Started::Nested(child) => killed_or(child.join())
                .map(|value| assert!(matches!(value, None | Some(42)), "{value:?}"))
                .is_none(),
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
        let child = Process::new(double, (1,)).start_method(method).start().expect("start");
        // The last signal of a killer may reach an idle clone when it has got this job.
        let _ = killed_or(child.join());
    }
}

fn name_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Asserts that all is as it was.
fn nothing_is_left(descriptors: usize) {
    // An idle clone that was killed is replaced at once, and buried by the next starts. In the end
    // there are the fork server and four idle clones at the most.
    let came = wait_at_most(Duration::from_secs(30), || {
        warm_up();
        (zombies().is_empty() && children_of(std::process::id()).len() <= 5).then_some(())
    });
    if came.is_none() {
        let children = children_of(std::process::id()).into_iter();
        let children: Vec<_> =
            children.map(|pid| (pid, name_of(pid), crate::support::state_of(pid))).collect();
        panic!("left behind: {children:?}");
    }
    assert_eq!(open_fds().len(), descriptors, "descriptors: {:?}", open_fds());
    assert!(active_children().is_empty());
}

pub(crate) fn joins_tell_what_was_killed() {
    warm_up();
    let descriptors = open_fds().len();
    let (mut killed, mut all) = (0, 0);
    for round in 0..own_rounds() {
        let dice = Dice::of_round(round);
        let killer =
            Killer::start(dice.seed(), Duration::from_millis(dice.one_of(&[2, 10, 50])), false);
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
        let killer =
            Killer::start(dice.seed(), Duration::from_millis(dice.one_of(&[4, 10, 50])), true);
        for x in 0..40 {
            let child = start(StartMethod::Forkserver, || Process::new(double, (x,)));
            // It may have been taken for an idle clone.
            if let Some(value) = killed_or(child.join()) {
                assert_eq!(value, 2 * x);
            }
        }
        killer.stop();
        nothing_is_left(descriptors);
    }
}

pub(crate) fn killed_idle_clones_are_no_reason_to_fail() {
    for _ in 0..5 {
        // A burst has the server keep more of them.
        let burst: Vec<_> = (0..40)
            .map(|x| Process::new(double, (x,)).start_method(StartMethod::Forkserver).start())
            .collect();
        for (x, child) in (0..).zip(burst) {
            assert_eq!(child.expect("start").join().expect("join"), 2 * x);
        }
        let own = std::process::id();
        // The server is the oldest; the kernel counts upwards until it starts over, and then this
        // is only another test.
        let mut helpers: Vec<u32> = children_of(own);
        helpers.sort_unstable();
        for pid in &helpers[1..] {
            kill(*pid, own);
            until("it has ended", || !crate::support::is_running(*pid));
        }
        let child = Process::new(double, (4,))
            .start_method(StartMethod::Forkserver)
            .start()
            .expect("start");
        assert_eq!(child.join().expect("join"), 8);
    }
    nothing_is_left(open_fds().len());
}
