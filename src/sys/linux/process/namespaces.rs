//! The process namespace that children of this process come into.

use std::fs;
use std::io;

/// The process namespace that the next child of this thread would be in (`pid_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildNamespace {
    /// One with processes in it, mostly this process's own.
    Populated,
    /// A new one, whose first process it would be.
    Empty,
    /// One whose first process has ended, so that there can be no others.
    Ended,
}

/// Asks the kernel. `refused` says that it has just refused to make a child for want of memory, as
/// it does in a namespace that has ended.
pub(crate) fn of_children(refused: bool) -> ChildNamespace {
    let own = fs::read_link("/proc/thread-self/ns/pid");
    let children = fs::read_link("/proc/thread-self/ns/pid_for_children");
    match (own, children) {
        // Linux 4.12 and newer: the link leads nowhere as long as the namespace has no first
        // process.
        (Ok(_), Err(error)) if error.kind() == io::ErrorKind::NotFound => ChildNamespace::Empty,
        (Ok(own), Ok(children)) if refused && own != children => ChildNamespace::Ended,
        // Without /proc, nobody can tell.
        _ => ChildNamespace::Populated,
    }
}

/// Returns `true` if `/proc` numbers processes as this process does: not if it was mounted in
/// another namespace.
pub(crate) fn proc_is_ours() -> bool {
    let own = crate::sys::per_process::pid().to_string();
    fs::read_link("/proc/self").is_ok_and(|number| number.as_os_str() == own.as_str())
}
