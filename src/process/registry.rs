//! The children of this process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::core::{Core, Description};
use super::handle::Handle;
use crate::start::{Launched, forkserver};
use crate::sys::per_process::PerProcess;

/// How many children without a handle are looked at in one sweep: enough to keep up, however many there are.
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
pub(super) fn add(description: Description, launched: Launched) -> Arc<Core> {
    let mut registry = registry();
    registry.last += 1;
    let id = registry.last;
    let core = Arc::new(Core::new(id, description, launched));
    registry.children.insert(id, Arc::clone(&core));
    core
}

/// Forgets a child whose status was taken.
pub(super) fn remove(id: u64) {
    registry().children.remove(&id);
}

/// For a child whose `Child` is dropped: it is buried now or in a later sweep.
pub(super) fn let_go(core: &Arc<Core>) {
    if core.is_ours() && !matches!(core.look(), Ok(Some(_))) {
        registry().dropped.push_back(Arc::clone(core));
    }
}

/// Takes the status of some children that have ended and that nobody holds, or that nobody ever heard of.
pub(super) fn sweep() {
    let some: Vec<_> = {
        let mut registry = registry();
        let count = registry.dropped.len().min(SWEEP);
        registry.dropped.drain(..count).collect()
    };
    for core in some {
        let_go(&core);
    }
    forkserver::bury_unheard(|pid| registry().children.values().any(|core| core.pid == pid));
}

/// The running children of this process, in the order of their start; takes the status of those that have ended.
///
/// Not their children, nor the fork server.
///
/// ```
/// use multiproc::{Process, active_children};
///
/// assert!(active_children().is_empty());
/// let child = Process::new(std::thread::sleep, (std::time::Duration::from_secs(60),)).name("sleeper").start()?;
/// assert_eq!(active_children()[0].name(), "sleeper");
/// child.kill()?;
/// let _ = child.join();
/// assert!(active_children().is_empty());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use]
pub fn active_children() -> Vec<Handle> {
    let dropped: Vec<_> = registry().dropped.drain(..).collect();
    for core in dropped {
        let_go(&core);
    }
    let all: Vec<_> = registry().children.values().cloned().collect();
    all.into_iter().map(Handle::new).filter(Handle::is_alive).collect()
}

/// The running children that end with this process.
pub(super) fn tied() -> Vec<Arc<Core>> {
    active_children()
        .into_iter()
        .map(|handle| Arc::clone(handle.core()))
        .filter(|core| core.spec.dies_with_parent)
        .collect()
}
