//! The identity of this process: its name, its place in the tree, its parent.
//!
//! The main process's identity is there from the beginning; a child gets its own in `bootstrap`,
//! before any code of the user's but initialisers. A copy that the program forks by itself goes on
//! as what it was, with its own number.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::sys::per_process::{PerProcess, pid};

/// The identity of a process, as it knows itself.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The name of its type: `Process`, that of a type with `run`, or `_MainProcess`.
    pub(crate) kind: String,
    name: Mutex<String>,
    /// The counters that lead from the main process to this one.
    pub(crate) path: Vec<u32>,
    pub(crate) pid: u32,
    /// It may not have children, and is terminated when its parent ends.
    pub(crate) daemon: bool,
    pub(crate) parent: Option<ParentIdentity>,
    /// Number of processes that were constructed here; it numbers the next one.
    constructed: AtomicU32,
}

/// The parent of a process, as it was at the start.
#[derive(Clone, Debug)]
pub(crate) struct ParentIdentity {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

static IDENTITY: PerProcess<Identity> = PerProcess::new();

/// This process's identity: the main process's, until `become_child` says otherwise.
pub(crate) fn current() -> &'static Identity {
    IDENTITY.get_or_init(|before| match before {
        // A copy that the program forked by itself goes on as what it was.
        Some(before) => Identity {
            kind: before.kind.clone(),
            // The lock may have been held by a thread that does not exist here.
            name: Mutex::new(
                before.name.try_lock().map_or_else(|_| "?".to_owned(), |name| name.clone()),
            ),
            path: before.path.clone(),
            pid: pid(),
            daemon: before.daemon,
            parent: before.parent.clone(),
            constructed: AtomicU32::new(before.constructed.load(Ordering::Relaxed)),
        },
        None => Identity::new("_MainProcess".into(), "MainProcess".into(), Vec::new(), false, None),
    })
}

/// Gives this process the identity of a child.
pub(crate) fn become_child(identity: Identity) {
    IDENTITY.set(identity);
}

impl Identity {
    /// An identity in this process.
    pub(crate) fn new(
        kind: String,
        name: String,
        path: Vec<u32>,
        daemon: bool,
        parent: Option<ParentIdentity>,
    ) -> Identity {
        Identity {
            kind,
            name: Mutex::new(name),
            path,
            pid: pid(),
            daemon,
            parent,
            constructed: AtomicU32::new(0),
        }
    }

    /// Returns the name of this process.
    pub(crate) fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renames this process, on its own side.
    pub(crate) fn set_name(&self, name: String) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// Takes the place in the tree of one more child; it is used up even if that never starts.
    pub(crate) fn next_path(&self) -> Vec<u32> {
        let number = self.constructed.fetch_add(1, Ordering::Relaxed) + 1;
        self.path.iter().copied().chain([number]).collect()
    }
}

/// Makes the default name of a process: `Process-1`, and `Process-1:1` for its first child, as
/// CPython does.
pub(crate) fn default_name(kind: &str, path: &[u32]) -> String {
    let numbers: Vec<String> = path.iter().map(u32::to_string).collect();
    format!("{kind}-{}", numbers.join(":"))
}
