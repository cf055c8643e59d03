//! Functions that the fork server runs once before its first clone, and that each clone runs before
//! its own function.
//!
//! The list is the client's; a server gets it in its setup, a child in its job, so that a fork
//! server of its own preloads the same.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::per_process::PerProcess;
use crate::sys::program::code::Offset;

/// The entries to run, in the order in which they were given.
static PRELOAD: PerProcess<Mutex<Vec<Offset>>> = PerProcess::new();

/// Locks this process's list.
fn list() -> MutexGuard<'static, Vec<Offset>> {
    let list = PRELOAD.get_or_init(|before| {
        // A forked copy of this program starts a server of its own, which preloads the same.
        let before = before.and_then(|before| before.try_lock().ok().map(|list| list.clone()));
        Mutex::new(before.unwrap_or_default())
    });
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns what is to be run, in this order.
pub(crate) fn current() -> Vec<Offset> {
    list().clone()
}

/// Adds an entry. A server that is up has missed it, and has to be replaced.
pub(crate) fn add(entry: Offset) {
    list().push(entry);
}

/// A function for each clone to run before its own.
type ForChild = Box<dyn Fn() + Send + Sync>;

/// The functions for each clone. Not a `PerProcess`: they are collected in the fork server, for its
/// copies.
static FOR_CHILD: Mutex<Vec<ForChild>> = Mutex::new(Vec::new());

/// Runs `f` in each clone of this process.
pub(crate) fn add_for_child(f: ForChild) {
    FOR_CHILD.lock().unwrap_or_else(PoisonError::into_inner).push(f);
}

/// Runs what the preload functions left for this clone, once.
pub(crate) fn run_for_child() {
    let all = mem::take(&mut *FOR_CHILD.lock().unwrap_or_else(PoisonError::into_inner));
    for f in &all {
        f();
    }
}

/// Takes over what the parent's fork server runs, in a child.
pub(crate) fn inherit(entries: Vec<Offset>) {
    *list() = entries;
}
