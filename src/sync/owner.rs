//! Describes who holds a lock, in the words of CPython's printed forms.

use crate::identity;
use crate::sys::process::threads;
use crate::sys::wait::robust;

/// `None`, `MainProcess`, `MainProcess|thread`, `SomeOtherThread` or `SomeOtherProcess`.
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
