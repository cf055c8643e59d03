//! Children that are killed when they are dropped.
#![expect(unsafe_code, reason = "the program is forked")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use multiproc::{Pool, Process, Queue, current_process};

use crate::common::Hoard;
use crate::debugger::{self, Debugger};
use crate::support::{Test, for_each_method, is_running, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_dropped_child_is_killed_with_its_tree,
    a_dropped_child_that_takes_long_to_die_leaves_no_zombie,
    a_dropped_child_that_a_debugger_holds_leaves_no_zombie,
    a_dropped_child_is_killed_without_descriptors,
    a_panic_drops_children_too,
    what_has_ended_or_was_not_asked_for_is_not_killed,
    a_forked_copy_kills_nobody,
    what_was_killed_is_no_hindrance_to_a_fork,
    dropped_tasks_are_cancelled,
    dropped_maps_are_cancelled,
];

fn idle() {
    while !current_process().wait_stop(Duration::from_secs(3600)) {}
}

/// Returns true if there is not even a zombie of that number.
fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Starts another program, says its number and waits for it.
fn starts_a_program(told: Queue<u32>) {
    let mut sleeper = Command::new("sleep").arg("1000").spawn().expect("start a program");
    told.put(sleeper.id()).expect("say its number");
    let _ = sleeper.wait();
}

fn a_dropped_child_is_killed_with_its_tree() {
    for_each_method(|method| {
        let told = Queue::new().expect("queue");
        let process = Process::new(starts_a_program, (told.clone(),)).kill_on_drop(true);
        let child = process.start_method(method).start().expect("start");
        let (pid, sleeper) = (child.pid(), told.get().expect("its number"));
        assert!(is_running(pid) && is_running(sleeper));
        drop(child);
        // No call of the library from here on that could take the status.
        until("nothing is left of the child", || is_gone(pid));
        until("it has ended", || !is_running(sleeper));
        until("the thread has ended, with its descriptors", || !is_reaping());
    });
}

fn a_dropped_child_that_takes_long_to_die_leaves_no_zombie() {
    fn takes_memory(told: Queue<()>) {
        let memory = std::hint::black_box(vec![1_u8; 200 << 20]);
        told.put(()).expect("say so");
        idle();
        drop(memory);
    }
    let told = Queue::new().expect("queue");
    let process = Process::new(takes_memory, (told.clone(),)).kill_on_drop(true);
    let child = process.start().expect("start");
    told.get().expect("it has its memory");
    let pid = child.pid();
    drop(child);
    until("nothing is left of the child", || is_gone(pid));
}

/// The thread that waits for the ends of children is there.
fn is_reaping() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("read").flatten();
    let names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")));
    names.flatten().any(|name| name.trim_end() == "multiproc-reap")
}

/// The kernel tells the debugger of the end first, and us when that has looked or gone.
fn a_dropped_child_that_a_debugger_holds_leaves_no_zombie() {
    let (child, program) = debugger::start(|process| process.kill_on_drop(true));
    let pid = child.pid();
    let debugger = Debugger::hold(pid);
    drop(child);
    if debugger.is_some() {
        // The thread names itself.
        until("the debugger has not looked, so a thread waits", is_reaping);
        assert!(!is_gone(pid));
    }
    drop(debugger);
    until("nothing is left of the child", || is_gone(pid) && !is_running(program));
    until("the thread has ended", || !is_reaping());
}

fn a_dropped_child_is_killed_without_descriptors() {
    for_each_method(|method| {
        let process = Process::new(idle, ()).start_method(method).kill_on_drop(true);
        let child = process.start().expect("start");
        let pid = child.pid();
        let hoard = Hoard::all_but(0);
        drop(child);
        // Asked by name: no descriptor is needed for that.
        until("nothing is left of the child", || is_gone(pid));
        drop(hoard);
        until("the thread has ended, with its descriptors", || !is_reaping());
    });
}

fn a_panic_drops_children_too() {
    let pid = std::sync::Mutex::new(0);
    let panicked = std::panic::catch_unwind(|| {
        let child = Process::new(idle, ()).kill_on_drop(true).start().expect("start");
        *pid.lock().expect("lock") = child.pid();
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    until("nothing is left of the child", || is_gone(*pid.lock().expect("lock")));
}

fn what_has_ended_or_was_not_asked_for_is_not_killed() {
    for_each_method(|method| {
        let process = || Process::new(idle, ()).start_method(method);
        let child = process().kill_on_drop(true).kill_on_drop(false).start().expect("start");
        let handle = child.handle();
        drop(child);
        assert!(handle.is_alive(), "{method}: it was not to be killed");
        handle.request_stop();
        handle.join().expect("it has returned");
        let child = process().kill_on_drop(true).start().expect("start");
        let handle = child.handle();
        child.request_stop();
        child.join().expect("it has returned");
        drop(child);
        assert_eq!(handle.exitcode(), Some(0));
    });
}

fn a_forked_copy_kills_nobody() {
    let child = Process::new(idle, ()).kill_on_drop(true).start().expect("start");
    // SAFETY: the copy drops the child and leaves at once.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        drop(child);
        // SAFETY: no preconditions.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(copy, &raw mut status, 0) }, copy);
    assert_eq!(libc::WEXITSTATUS(status), 7);
    assert!(child.is_alive());
    child.request_stop();
    child.join().expect("it has returned");
}

fn what_was_killed_is_no_hindrance_to_a_fork() {
    for _ in 0..20 {
        drop(Process::new(idle, ()).kill_on_drop(true).start().expect("start"));
        let copy = Process::from_closure(|| 7).start().expect("nobody else is there");
        assert_eq!(copy.join().expect("join"), 7);
    }
}

/// Says its number, and waits for ever.
fn busy(told: Queue<u32>) {
    told.put(std::process::id()).expect("say so");
    idle();
}

fn dropped_tasks_are_cancelled() {
    for_each_method(|method| {
        let told = Queue::new().expect("queue");
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        let running = pool.submit(busy, (told.clone(),)).cancel_on_drop();
        let waiting = pool.submit(busy, (told.clone(),)).cancel_on_drop();
        let last = pool.submit(|n: u32| n, (7,));
        let worker = told.get().expect("it runs");
        drop(waiting);
        assert!(!last.wait(Duration::from_millis(1)), "the first one runs");
        drop(running);
        assert_eq!(last.join().expect("the worker was replaced"), 7);
        until("it has ended", || !is_running(worker));
        assert!(told.is_empty(), "one that was cancelled has run");
        // Joined, detached or with a callback: nothing is cancelled.
        assert_eq!(pool.submit(|| 7, ()).cancel_on_drop().join().expect("join"), 7);
        let kept = pool.submit(|| 7, ()).cancel_on_drop().on_done(move |outcome| {
            assert_eq!(*outcome.as_ref().expect("outcome"), 7);
        });
        assert!(kept.wait(Duration::from_secs(60)));
        drop(pool.submit(busy, (told.clone(),)));
        told.get().expect("it runs");
        pool.terminate();
        assert!(pool.join_timeout(Duration::from_secs(60)).expect("it ends"));
    });
}

fn dropped_maps_are_cancelled() {
    let told = Queue::new().expect("queue");
    let pool = Pool::new(2).expect("pool");
    let map = || pool.tasks().chunk_size(1).map_async(busy, vec![told.clone(); 6]);
    let maps = map().cancel_on_drop();
    let workers = [told.get().expect("it runs"), told.get().expect("it runs")];
    drop(maps);
    until("the workers have ended", || workers.iter().all(|worker| !is_running(*worker)));
    assert_eq!(pool.apply(|| 7, ()).expect("the workers were replaced"), 7);
    assert!(told.is_empty(), "one that was cancelled has run");
    let squares = pool.tasks().map_async(|n: u32| n * n, 0..4).cancel_on_drop();
    assert_eq!(squares.join().expect("join"), [0, 1, 4, 9]);
    // Whoever registers a callback has not dropped the map.
    let (tell, outcome) = std::sync::mpsc::channel();
    let squares = pool.tasks().map_async(|n: u32| n * n, 0..4).cancel_on_drop();
    squares.on_done(move |all| tell.send(all.expect("outcomes")).expect("told"));
    assert_eq!(outcome.recv(), Ok(vec![0, 1, 4, 9]));
}
