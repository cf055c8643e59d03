//! Removes private directories that processes leave behind. Nobody waits for a big one.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::log::get_logger;
use crate::sys::per_process::PerProcess;
use crate::sys::remove_tree::{Removal, Rest};
use crate::sys::wait::poll::Deadline;

/// Sets how many steps are done at once, by whoever hears of the end of the process: some
/// milliseconds at the most.
const AT_ONCE: u64 = 256;

/// Sets how many steps a removal may take in all: a bound for what is written to all the time.
const STEPS: u64 = 1 << 32;

/// Describes what this process is still removing.
#[derive(Default)]
struct Removals {
    waiting: Mutex<Waiting>,
    /// Told when nothing waits any more.
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    removals: Vec<Removal>,
    /// A thread is at them; it ends with the last.
    is_running: bool,
    thread: Option<JoinHandle<()>>,
}

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

/// Goes on with a removal; whether that was all.
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

fn hand_over(removal: Removal) {
    let removals = REMOVALS.get_or_init(|_| Removals::default());
    let mut waiting = removals.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.removals.push(removal);
    if waiting.is_running {
        return;
    }
    waiting.is_running = true;
    match thread::Builder::new().name("multiproc-remove".to_owned()).spawn(|| empty(removals)) {
        Ok(thread) => waiting.thread = Some(thread),
        Err(_) => {
            drop(waiting);
            empty(removals);
        }
    }
}

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

/// Waits until nothing is being removed and no thread is left of that, at the most until the
/// deadline.
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
