//! The children of this process whose status was not taken yet, and those that nobody holds.
//!
//! A child whose `Child` was dropped would stay a zombie until somebody waits for it. So each call
//! that starts or joins a process looks at a few of them (`sweep`), and `running` at all: no thread
//! and no SIGCHLD handler is needed.
//!
//! The lock is held for moments, never while a child is asked; `Core` calls back into `remove`,
//! with its own lock let go of. So the order of locks is: none of them inside of another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::core::{Core, Description};
use crate::start::{Launched, forkserver};
use crate::sys::per_process::PerProcess;

/// Number of children without a handle that one sweep looks at: more than one, so that they get
/// fewer however many are started.
const SWEEP: usize = 4;

/// The children of one process; a forked copy begins with none.
#[derive(Default)]
struct Registry {
    /// The last key that was given.
    last: u64,
    /// Those whose status was not taken yet, in the order of their start.
    children: BTreeMap<u64, Arc<Core>>,
    /// Those of them that nobody holds a `Child` of.
    dropped: VecDeque<Arc<Core>>,
}

/// A forked copy has no children, and begins with an empty one.
static REGISTRY: PerProcess<Mutex<Registry>> = PerProcess::new();

/// Locks this process's registry.
fn registry() -> MutexGuard<'static, Registry> {
    // A forked copy has no children.
    REGISTRY.get_or_init(|_| Mutex::default()).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters a new child, and makes its core.
pub(crate) fn add(description: Description, launched: Launched) -> Arc<Core> {
    let mut registry = registry();
    registry.last += 1;
    let id = registry.last;
    let core = Arc::new(Core::new(id, remove, description, launched));
    registry.children.insert(id, Arc::clone(&core));
    drop(registry);
    #[cfg(feature = "tracing")]
    core.open_span();
    core
}

/// Forgets a child whose status was taken.
fn remove(id: u64) {
    registry().children.remove(&id);
}

/// Takes the status of a child whose `Child` is dropped, now if it has ended, or in a later sweep.
pub(crate) fn let_go(core: &Arc<Core>) {
    if core.is_ours() && !matches!(core.look(), Ok(Some(_))) {
        registry().dropped.push_back(Arc::clone(core));
    }
}

/// Takes the status of some children that have ended and that nobody holds, or that nobody ever
/// heard of: clones that the fork server made ahead and that died before they were taken.
pub(crate) fn sweep() {
    // Taken out under the lock, looked at without it: `let_go` puts back those that still run.
    let some: Vec<_> = {
        let mut registry = registry();
        let count = registry.dropped.len().min(SWEEP);
        registry.dropped.drain(..count).collect()
    };
    for core in some {
        let_go(&core);
    }
    forkserver::reap_unheard(|pid| registry().children.values().any(|core| core.pid == pid));
}

/// Returns the running children of this process, in the order of their start; takes the status of
/// those that have ended.
pub(crate) fn running() -> Vec<Arc<Core>> {
    // All of them: the caller is going to look at every child anyway.
    let dropped: Vec<_> = registry().dropped.drain(..).collect();
    for core in dropped {
        let_go(&core);
    }
    let all: Vec<_> = registry().children.values().cloned().collect();
    all.into_iter().filter(|core| core.is_running()).collect()
}

/// Returns the running children that end with this process.
pub(crate) fn tied() -> Vec<Arc<Core>> {
    running().into_iter().filter(|core| core.spec.dies_with_parent).collect()
}
