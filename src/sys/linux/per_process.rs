//! State that belongs to one process, and not to a forked copy of it.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// This process's number.
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// A value for each process: a copy that `fork` made finds its own, new one, whatever locks were held in the original.
///
/// A value once handed out lives for ever; a process makes at most a few of them.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Owned<T>>);

struct Owned<T> {
    pid: u32,
    value: T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// This process's value. The first time, `init` makes it, from the original's in a forked copy.
    pub(crate) fn get_or_init(&self, init: impl FnOnce(Option<&'static T>) -> T) -> &'static T {
        let found = self.0.load(Ordering::Acquire);
        let pid = pid();
        // SAFETY: null or leaked by `publish`, so valid for ever.
        let before = unsafe { found.as_ref() };
        match before {
            Some(owned) if owned.pid == pid => &owned.value,
            _ => self.publish(found, Owned { pid, value: init(before.map(|owned| &owned.value)) }),
        }
    }

    /// This process's value, if it has one already.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null or leaked by `publish`, so valid for ever.
        let owned = unsafe { self.0.load(Ordering::Acquire).as_ref() }?;
        (owned.pid == pid()).then_some(&owned.value)
    }

    /// Sets this process's value, at the start of a child.
    pub(crate) fn set(&self, value: T) -> &'static T {
        let found = self.0.load(Ordering::Acquire);
        self.publish(found, Owned { pid: pid(), value })
    }

    /// Puts `owned` in the place of `found`, unless another thread was first; gives what is there then.
    fn publish(&self, found: *mut Owned<T>, owned: Owned<T>) -> &'static T {
        let new = Box::into_raw(Box::new(owned));
        match self.0.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just leaked.
            Ok(_) => unsafe { &(*new).value },
            Err(first) => {
                // SAFETY: ours alone, as it was not published.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: leaked by the thread that was first.
                unsafe { &(*first).value }
            }
        }
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerProcess")
    }
}

/// The number of the process that made this one (or of the one that took it over).
pub(crate) fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}
