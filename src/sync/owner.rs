//! The owner of a lock, in the words of CPython's printed forms (`SemLock`'s `repr`).

use crate::identity;
use crate::sys::process::threads;
use crate::sys::wait::robust;

/// Names the thread `owner`: `None` for 0, `MainProcess` (the process's name) for this process's
/// main thread if it is this one, `MainProcess|thread` for another that is this one,
/// `SomeOtherThread` for the rest of this process, `SomeOtherProcess` otherwise.
///
/// A thread number may have gone to another thread since it was read. It is only for people to
/// read.
pub(super) fn describe(owner: u32) -> String {
    if owner == 0 {
        return "None".to_owned();
    }
    if owner == robust::tid() {
        let process = identity::current().name();
        return match std::thread::current().name() {
            Some(name) if !threads::is_main() => format!("{process}|{name}"),
            None if !threads::is_main() => format!("{process}|{owner}"),
            _ => process,
        };
    }
    if threads::is_own(owner) { "SomeOtherThread" } else { "SomeOtherProcess" }.to_owned()
}
