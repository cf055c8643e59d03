//! Removes private directories that processes leave behind. Nobody waits for a big one.
//!
//! A small directory is removed by the thread that hears of its process's end; a big one goes to a
//! thread that ends with the last removal. The tree may be written to meanwhile, by processes that
//! the child left behind: `sys::remove_tree` follows no links and bounds its steps.

use std::path::PathBuf;
use std::time::Duration;

use super::errands::Errands;
use crate::log::get_logger;
use crate::sys::per_process::PerProcess;
use crate::sys::remove_tree::{Removal, Rest};
use crate::sys::wait::poll::Deadline;

/// Steps that are done at once, by the thread that hears of the end: some milliseconds.
const AT_ONCE: u64 = 256;

/// Steps that a removal may take in all: the bound for a tree that somebody writes to all the time.
const STEPS: u64 = 1 << 32;

/// One for each process: its copies have neither the thread nor the directories.
static REMOVALS: PerProcess<Errands<Removal>> = PerProcess::new();

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

/// Gives a removal to the thread. If the system has no thread left, this one does the work.
fn hand_over(removal: Removal) {
    let removals = REMOVALS.get_or_init(|_| Errands::new("multiproc-remove", carry_out));
    if let Err(left) = removals.hand_over(removal) {
        left.into_iter().for_each(|removal| drop(carry_out(removal)));
    }
}

/// Does a removal to its end, or to the bound of its steps.
fn carry_out(mut removal: Removal) -> Option<Removal> {
    if !is_done(&mut removal, STEPS) {
        let path = removal.path().display();
        get_logger().warning(format_args!(
            "private directory {path} is left: somebody writes to it all the time"
        ));
    }
    None
}

/// Waits until nothing is being removed and the thread has ended, at the most for `timeout`: before
/// a fork, which must be alone, and at the end of the program.
pub(crate) fn finish(timeout: Duration) {
    // The clock is not asked if there is nothing to wait for: in a new process that alone costs
    // four page faults.
    if REMOVALS.get().is_some_and(|removals| !removals.finish(Deadline::after(timeout))) {
        get_logger().warning("private directories are left: there was no time to remove them");
    }
}
