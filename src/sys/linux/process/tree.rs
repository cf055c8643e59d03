//! A process and everything that it started.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{namespaces, pidfd};
use crate::sys::fd;
use crate::sys::wait::poll::{self, Deadline};

/// Sends a signal to the process behind `root` and to all its descendants.
///
/// 1. Stop the root (SIGSTOP).
/// 2. List the children of all that are known, open a pidfd of each, see that it is still a child
///    of the same process, and stop it.
/// 3. Again, until nobody is new.
/// 4. Signal all, the youngest first, and continue each, so that it meets the signal.
///
/// Each is stopped before its children are listed, so that none can start another unseen; then all
/// get the signal, and go on to meet it. A descendant whose own parent has ended is not found: it
/// belongs to the system by then.
pub(crate) fn signal(root: BorrowedFd<'_>, root_pid: u32, number: i32) -> io::Result<()> {
    if !namespaces::proc_is_ours() {
        // Its numbers are those of other processes.
        pidfd::signal(root, number)?;
        let why =
            "only the process itself was signalled: /proc is that of another process namespace";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    pidfd::signal(root, libc::SIGSTOP)?;
    let descendants = stop_descendants(root, root_pid);
    for descendant in descendants.iter().rev() {
        let _ = pidfd::signal(descendant.as_fd(), number);
        let _ = pidfd::signal(descendant.as_fd(), libc::SIGCONT);
    }
    let sent = pidfd::signal(root, number);
    pidfd::signal(root, libc::SIGCONT)?;
    sent
}

/// Steps 2 and 3; returns pidfds, ancestors first.
fn stop_descendants(root: BorrowedFd<'_>, root_pid: u32) -> Vec<OwnedFd> {
    let mut found: Vec<OwnedFd> = Vec::new();
    // Where the pidfd of each known process is in `found`; that of the root is not there.
    let mut known: HashMap<u32, Option<usize>> = HashMap::from([(root_pid, None)]);
    loop {
        let before = found.len();
        // A process that was stopped too late has started children by now: look again until nobody
        // is new.
        for (pid, parent) in children_of(known.keys().copied()) {
            let Some(&place) = known.get(&parent).filter(|_| !known.contains_key(&pid)) else {
                continue;
            };
            let Ok(handle) = pidfd::open(pid) else { continue };
            // The number may have passed to a stranger before the handle was there; it cannot
            // afterwards. The parent's number is its own as long as that has not ended.
            if parent_of(pid) != Some(parent)
                || has_ended(place.map_or(root, |place| found[place].as_fd()))
            {
                continue;
            }
            if pidfd::signal(handle.as_fd(), libc::SIGSTOP).is_ok() {
                known.insert(pid, Some(found.len()));
                found.push(handle);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Returns `true` if a process has ended, by its pidfd.
fn has_ended(process: BorrowedFd<'_>) -> bool {
    poll::one_readable(process, Deadline::now()).unwrap_or(true)
}

/// Lists the children of some processes, each with its parent; and others, where the kernel does
/// not list them (or not all threads' lists are there to be read).
fn children_of(parents: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut all = Vec::new();
    for parent in parents {
        let Some(children) = listed_children(parent) else { return all_processes() };
        all.extend(children.into_iter().map(|child| (child, parent)));
    }
    all
}

/// Lists the children of a process by the kernel's own list (`/proc/<pid>/task/<tid>/children`),
/// which is right for one that is stopped: without a look at all processes. `None` if the kernel
/// has none (it was built without `CONFIG_PROC_CHILDREN`).
fn listed_children(parent: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
        // It is gone, and its children are the system's.
        return Some(children);
    };
    for thread in threads {
        let list = std::fs::read_to_string(thread.ok()?.path().join("children"));
        match list {
            Ok(list) => children
                .extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // A thread that ended meanwhile has left its children to others of the process.
            Err(_) if std::fs::exists(format!("/proc/{parent}/task")).ok()? => return None,
            Err(_) => {}
        }
    }
    Some(children)
}

/// Lists every process that `/proc` shows, with its parent.
fn all_processes() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect()
}

/// The children of this process that have this name (of 15 bytes at the most), and whether each has
/// ended and waits for its status to be taken.
pub(crate) fn children_called(name: &str) -> Vec<(u32, bool)> {
    if !namespaces::proc_is_ours() {
        return Vec::new();
    }
    let own = crate::sys::per_process::pid();
    let children = all_processes().into_iter().filter(|(_, parent)| *parent == own);
    children
        .filter_map(|(pid, _)| {
            let stat = fd::read_small(&format!("/proc/{pid}/stat")).ok()?;
            stat.contains(&format!("({name}) ")).then(|| (pid, stat.contains(") Z ")))
        })
        .collect()
}

/// A child of this process that has ended, and whose status nobody has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zombie {
    pub(crate) pid: u32,
    /// When it was started: its number may be used again.
    started: u64,
}

/// Lists the children of this process that have ended and whose status nobody has taken; none if
/// `/proc` does not tell.
pub(crate) fn own_zombies() -> Vec<Zombie> {
    if !namespaces::proc_is_ours() {
        return Vec::new();
    }
    let own = crate::sys::per_process::pid();
    let zombie = |pid| {
        let Stat { state, parent, started } = stat_of(pid)?;
        (state == "Z" && parent == own).then_some(Zombie { pid, started })
    };
    children_of([own].into_iter()).into_iter().filter_map(|(pid, _)| zombie(pid)).collect()
}

/// Returns `true` if a child that was not waited for is stopped by a signal. (One that a debugger
/// holds is not.)
pub(crate) fn is_stopped(pid: u32) -> bool {
    stat_of(pid).is_some_and(|stat| stat.state == "T") && namespaces::proc_is_ours()
}

/// Reads the parent of a process.
fn parent_of(pid: u32) -> Option<u32> {
    stat_of(pid).map(|stat| stat.parent)
}

/// What `proc_pid_stat(5)` says of a process.
struct Stat {
    /// A letter.
    state: String,
    parent: u32,
    /// In ticks of the clock since the system was started.
    started: u64,
}

/// Reads what is said of a process.
fn stat_of(pid: u32) -> Option<Stat> {
    let stat = fd::read_small(&format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets and spaces included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    // The third field, the fourth and the 22nd.
    Some(Stat {
        state: fields.next()?.to_owned(),
        parent: fields.next()?.parse().ok()?,
        started: fields.nth(17)?.parse().ok()?,
    })
}
