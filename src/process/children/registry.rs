//! The children of this process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::core::{Core, Description};
use crate::start::{Launched, forkserver};
use crate::sys::per_process::PerProcess;

/// Sets how many children without a handle are looked at in one sweep: enough to keep up, however
/// many there are.
const SWEEP: usize = 4;

#[derive(Default)]
struct Registry {
    last: u64,
    /// Those whose status was not taken yet, in the order of their start.
    children: BTreeMap<u64, Arc<Core>>,
    /// Those of them that nobody holds a `Child` of.
    dropped: VecDeque<Arc<Core>>,
}

static REGISTRY: PerProcess<Mutex<Registry>> = PerProcess::new();

fn registry() -> MutexGuard<'static, Registry> {
    // A forked copy has no children.
    REGISTRY.get_or_init(|_| Mutex::default()).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters a new child.
pub(crate) fn add(description: Description, launched: Launched) -> Arc<Core> {
    let mut registry = registry();
    registry.last += 1;
    let id = registry.last;
    let core = Arc::new(Core::new(id, remove, description, launched));
    registry.children.insert(id, Arc::clone(&core));
    core
}

/// Forgets a child whose status was taken.
fn remove(id: u64) {
    registry().children.remove(&id);
}

/// For a child whose `Child` is dropped: it is reaped now or in a later sweep.
pub(crate) fn let_go(core: &Arc<Core>) {
    if core.is_ours() && !matches!(core.look(), Ok(Some(_))) {
        registry().dropped.push_back(Arc::clone(core));
    }
}

/// Takes the status of some children that have ended and that nobody holds, or that nobody ever
/// heard of.
pub(crate) fn sweep() {
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
    let dropped: Vec<_> = registry().dropped.drain(..).collect();
    for core in dropped {
        let_go(&core);
    }
    let all: Vec<_> = registry().children.values().cloned().collect();
    all.into_iter().filter(|core| core.is_running()).collect()
}

/// The running children that end with this process.
pub(crate) fn tied() -> Vec<Arc<Core>> {
    running().into_iter().filter(|core| core.spec.dies_with_parent).collect()
}
