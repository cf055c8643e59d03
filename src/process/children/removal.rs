//! Removes private directories that processes leave behind. Nobody waits for a big one.
//!
//! A small directory is removed by the thread that hears of its process's end; a big one goes to a
//! thread that ends with the last removal. The tree may be written to meanwhile, by processes that
//! the child left behind: `sys::remove_tree` follows no links and bounds its steps.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::log::get_logger;
use crate::sys::per_process::PerProcess;
use crate::sys::remove_tree::{Removal, Rest};
use crate::sys::wait::poll::Deadline;

/// Steps that are done at once, by the thread that hears of the end: some milliseconds.
const AT_ONCE: u64 = 256;

/// Steps that a removal may take in all: the bound for a tree that somebody writes to all the time.
const STEPS: u64 = 1 << 32;

/// Removals that this process has not finished. A forked copy removes nothing.
#[derive(Default)]
struct Removals {
    waiting: Mutex<Waiting>,
    /// Told when nothing waits any more.
    done: Condvar,
}

/// The removals that wait, and the thread that works on them.
#[derive(Default)]
struct Waiting {
    removals: Vec<Removal>,
    /// A thread is at them; it ends with the last.
    is_running: bool,
    thread: Option<JoinHandle<()>>,
}

/// One for each process: its copies have neither the thread nor the directories.
static REMOVALS: PerProcess<Removals> = PerProcess::new();

/// Removes a directory: a small one at once, a big one on a thread that ends when it is gone. What
/// cannot be removed is logged.
pub(crate) fn remove(path: PathBuf) {
    match Removal::begin(path.clone()) {
        Ok(None) => {}
        Ok(Some(mut removal)) => {
            if !is_done(&mut removal, AT_ONCE) {
                hand_over(removal);
            }
        }
        Err(error) => get_logger()
            .warning(format_args!("private directory {} is left: {error}", path.display())),
    }
}

/// Goes on with a removal. Returns whether that was all, or all that can be done.
fn is_done(removal: &mut Removal, steps: u64) -> bool {
    match removal.go_on(steps) {
        Ok(Rest::Some) => false,
        Ok(Rest::Nothing) => true,
        Err(error) => {
            let path = removal.path().display();
            get_logger().warning(format_args!(
                "private directory {path} is left with what cannot be removed: {error}"
            ));
            true
        }
    }
}

/// Gives a removal to the thread, and starts it if there is none. If the system has no thread left,
/// this one does the work.
fn hand_over(removal: Removal) {
    let removals = REMOVALS.get_or_init(|_| Removals::default());
    let mut waiting = removals.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.removals.push(removal);
    if waiting.is_running {
        return;
    }
    // Under the lock, so that two who come at the same time start one thread.
    waiting.is_running = true;
    match thread::Builder::new().name("multiproc-remove".to_owned()).spawn(|| empty(removals)) {
        Ok(thread) => waiting.thread = Some(thread),
        Err(_) => {
            drop(waiting);
            empty(removals);
        }
    }
}

/// The thread's work: takes the removals one by one, and ends under the lock with the last, so that
/// whoever comes after starts a new one.
fn empty(removals: &Removals) {
    loop {
        let next = {
            let mut waiting = removals.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let next = waiting.removals.pop();
            if next.is_none() {
                waiting.is_running = false;
                removals.done.notify_all();
            }
            next
        };
        let Some(mut removal) = next else { return };
        if !is_done(&mut removal, STEPS) {
            let path = removal.path().display();
            get_logger().warning(format_args!(
                "private directory {path} is left: somebody writes to it all the time"
            ));
        }
    }
}

/// Waits until nothing is being removed and the thread has ended, at the most until `deadline`:
/// before a fork, which must be alone, and at the end of the program.
pub(crate) fn finish(deadline: Deadline) {
    let Some(removals) = REMOVALS.get() else { return };
    let mut waiting = removals.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while waiting.is_running {
        let left = deadline.left().unwrap_or(Duration::MAX);
        if left.is_zero() {
            get_logger().warning("private directories are left: there was no time to remove them");
            return;
        }
        waiting =
            removals.done.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let thread = waiting.thread.take();
    drop(waiting);
    if let Some(thread) = thread {
        // It does nothing any more but end.
        let _ = thread.join();
    }
}
