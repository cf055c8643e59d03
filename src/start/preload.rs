//! What the fork server runs once before its first clone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::forkserver;
use crate::sys::code::Offset;
use crate::sys::per_process::PerProcess;

static PRELOAD: PerProcess<Mutex<Vec<Offset>>> = PerProcess::new();

fn list() -> MutexGuard<'static, Vec<Offset>> {
    let list = PRELOAD.get_or_init(|before| {
        // A forked copy of this program starts a server of its own, which preloads the same.
        let before = before.and_then(|before| before.try_lock().ok().map(|list| list.clone()));
        Mutex::new(before.unwrap_or_default())
    });
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be run, in this order.
pub(crate) fn current() -> Vec<Offset> {
    list().clone()
}

/// Has `entry` run, too. A server that runs already has missed it, and is replaced at the next start.
pub(crate) fn add(entry: Offset) {
    list().push(entry);
    forkserver::retire();
}

/// Takes over what the parent's fork server runs, in a child.
pub(crate) fn inherit(entries: Vec<Offset>) {
    *list() = entries;
}
