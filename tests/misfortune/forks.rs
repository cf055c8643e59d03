//! A program that forks by itself, beside the library.
#![expect(unsafe_code, reason = "it forks")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use multiproc::{Process, StartMethod, active_children};

use crate::common::{become_subreaper, fork, in_copy, is_childless, part, program};
use crate::support::{
    METHODS, children_of, for_each_method, is_running, open_fds, until, wait_at_most, zombies,
};

pub(crate) fn a_copy_that_ends_harms_nobody() {
    for_each_method(|method| {
        let mut running = Process::new(
            || {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).expect("read");
                text
            },
            (),
        )
        .start_method(method)
        .stdin(multiproc::Stdio::piped())
        .start()
        .expect("start");
        let helpers = children_of(std::process::id());
        in_copy(|| {
            assert!(!running.is_alive(), "not a child of the copy's");
            assert!(running.terminate().expect_err("not a child of the copy's").is_other_process());
            assert!(running.join().is_err());
            assert_eq!(running.exitcode(), None);
            assert!(active_children().is_empty());
            drop(running.handle());
        });
        assert!(running.is_alive(), "the copy's end took the child with it");
        assert!(
            helpers.iter().all(|pid| is_running(*pid)),
            "the copy's end took the fork server with it"
        );
        let mut stdin = running.take_stdin().expect("a pipe");
        stdin.write_all(b"still here").expect("write");
        drop(stdin);
        assert_eq!(running.join().expect("join"), "still here");
        assert_eq!(
            Process::new(|| 1, ())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join"),
            1
        );
    });
}

/// A function that forks and returns in the copy, too: the outcome is the child's, whichever is
/// first.
pub(crate) fn a_function_that_returns_twice() {
    fn forks(slow: bool) -> u32 {
        // SAFETY: the copy uses nothing but its own memory.
        let copy = unsafe { libc::fork() };
        if slow == (copy != 0) {
            std::thread::sleep(Duration::from_millis(100));
        }
        if copy == 0 { 1000 } else { 1 }
    }
    for_each_method(|method| {
        for slow in [true, false] {
            let child = Process::new(forks, (slow,)).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), 1);
        }
    });
}

pub(crate) fn a_copy_starts_children_of_its_own() {
    for_each_method(|method| {
        let original = std::process::id();
        let running =
            Process::new(std::thread::sleep, (Duration::from_secs(600),)).start_method(method);
        let running = running.start().expect("start");
        in_copy(|| {
            for round in 0..3 {
                for method in METHODS {
                    let parent = || multiproc::parent_process().expect("a parent").pid();
                    let child =
                        Process::new(parent, ()).start_method(method).start().expect("start");
                    assert_eq!(child.join().expect("join"), std::process::id());
                    assert_ne!(child.join().expect("join"), original);
                }
                assert!(zombies().is_empty(), "round {round}");
            }
            // A copy of the copy.
            in_copy(|| {
                assert_eq!(Process::new(|| 2, ()).start().expect("start").join().expect("join"), 2)
            });
            // Left to the end of the copy.
            let left = Process::new(std::thread::sleep, (Duration::from_secs(600),)).daemon(true);
            drop(left.start_method(method).start().expect("start"));
        });
        assert!(running.is_alive());
        running.kill().expect("kill");
        assert_eq!(running.join().expect_err("killed").exitcode(), Some(-9));
    });
}

/// The program: has children of each method, which never end by themselves, and a copy that lives
/// on. Says who they are.
fn have_children_and_a_copy() {
    let spin = || loop {
        std::hint::spin_loop();
    };
    let children: Vec<u32> = METHODS
        .into_iter()
        .map(|method: StartMethod| {
            let busy: multiproc::Child<()> =
                Process::new(spin, ()).start_method(method).start().expect("start");
            busy.pid()
        })
        .collect();
    let helpers = children_of(std::process::id());
    let copy = fork(|| {
        let child =
            Process::new(std::thread::sleep, (Duration::from_secs(600),)).start().expect("start");
        println!("{}", child.pid());
        let mut text = String::new();
        std::io::stdin().read_line(&mut text).expect("read");
        assert!(child.is_alive());
        child.kill().expect("kill");
        let _ = child.join();
        println!("done");
    });
    let all = [children, helpers]
        .concat()
        .into_iter()
        .filter(|pid| *pid != copy)
        .map(|pid| pid.to_string());
    println!("{}", all.collect::<Vec<_>>().join(" "));
    loop {
        std::thread::park();
    }
}

pub(crate) fn children_die_with_the_original_while_a_copy_lives() {
    if part().is_some() {
        return have_children_and_a_copy();
    }
    become_subreaper();
    let mut program = program("children_die_with_the_original_while_a_copy_lives", "run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a program");
    let mut lines = BufReader::new(program.stdout.take().expect("piped"))
        .lines()
        .map(|line| line.expect("read"));
    let mut numbers = || -> Vec<u32> {
        let line = lines.next().expect("a line");
        line.split(' ').map(|number| number.parse().expect("a number")).collect()
    };
    // In either order.
    let (one, other) = (numbers(), numbers());
    let (grandchild, children) = if one.len() == 1 { (one[0], other) } else { (other[0], one) };
    assert!(children.len() >= 4, "three children and the fork server: {children:?}");
    // Waiting for a process closes its standard input, for which the copy waits.
    let mut stdin = program.stdin.take().expect("piped");
    program.kill().expect("kill");
    program.wait().expect("wait");
    for pid in children {
        until("the program's children are gone", || !is_running(pid));
    }
    assert!(is_running(grandchild), "the copy's child died with the original");
    stdin.write_all(b"end\n").expect("write");
    assert_eq!(lines.next().as_deref(), Some("done"));
    until("the copy and all are gone", is_childless);
}

pub(crate) fn a_stopped_fork_server_is_killed_meanwhile() {
    // Started once, so that there is a server; it and its idle clones are all the children that
    // this process has.
    Process::new(|| (), ()).start().expect("start").join().expect("join");
    for _ in 0..3 {
        let before = open_fds();
        let helpers = children_of(std::process::id());
        assert!(!helpers.is_empty());
        for pid in &helpers {
            crate::support::send_signal(*pid, libc::SIGSTOP);
        }
        for pid in &helpers {
            until("it has stopped", || crate::support::state_of(*pid) == Some('T'));
        }
        let killer = fork(|| {
            // While the start waits for an answer, most likely; before it, if not.
            wait_at_most(Duration::from_millis(50), || None::<()>);
            for pid in helpers {
                crate::support::send_signal(pid, libc::SIGKILL);
            }
        });
        for _ in 0..3 {
            let child = Process::new(|| 3, ()).start().expect("start");
            // A child that had its job when it was killed says so.
            match child.join() {
                Ok(value) => assert_eq!(value, 3),
                Err(error) => assert_eq!(error.signal(), Some(multiproc::Signal::KILL), "{error}"),
            }
        }
        assert_eq!(crate::common::wait_for(killer), 0);
        assert_eq!(Process::new(|| 4, ()).start().expect("start").join().expect("join"), 4);
        assert_eq!(open_fds().len(), before.len(), "descriptors were left open");
        until("no zombie is left", || zombies().is_empty());
    }
}
