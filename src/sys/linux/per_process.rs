//! State that belongs to one process, and not to a forked copy of it.
//!
//! A copy has all memory of its original: statics that say "I have a fork server", and locks that a
//! thread held which the copy does not have. So state of a process lies behind a `Generation`, a
//! number that a copy finds changed. The kernel changes it: the number lies in a page that is wiped
//! at a fork (`MADV_WIPEONFORK`, Linux 4.14), so that it works whoever forks, with whatever call.
//!
//! Everything here is lock-free and may be called in a signal handler, but for the first call in
//! a process, which maps a page or allocates.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Returns this process's number in its own namespace (`getpid(2)`).
pub(crate) fn pid() -> u32 {
    // Not the C library's: its code would be one more page to map in every new process.
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

/// Returns the number of the process that made this one, or of the one that took it over; 0 if that
/// is in another namespace.
pub(crate) fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}

/// A number that tells this process from those that it is a copy of, and from its own copies.
///
/// Not its number, which may come again: in a new process namespace, or after all others were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// Returns this process's: two loads, without a system call.
    #[inline]
    pub(crate) fn current() -> Generation {
        let page = PAGE.load(Ordering::Acquire);
        if page.is_null() || page == NONE {
            return Generation::first();
        }
        // SAFETY: a page that `wiped_page` made, which is never unmapped and only used as this
        // atomic word.
        match unsafe { &*page }.load(Ordering::Relaxed) {
            0 => Generation::first(),
            own => Generation(own),
        }
    }

    /// Returns `true` if this is `current()`: less work than to compare.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        let page = PAGE.load(Ordering::Acquire);
        // Neither null nor `NONE`.
        if page.addr() > NONE.addr() {
            // SAFETY: as in `current`. No generation is 0.
            return unsafe { &*page }.load(Ordering::Relaxed) == self.0;
        }
        self.is_current_without_page()
    }

    #[cold]
    fn is_current_without_page(self) -> bool {
        self == Generation::current()
    }

    /// Gives this process its number, or reads it if another thread was quicker. Without a page,
    /// the process number has to do.
    #[cold]
    fn first() -> Generation {
        /// The number of the youngest generation; a copy counts on from where its original was.
        static YOUNGEST: AtomicU64 = AtomicU64::new(0);
        let Some(mark) = mark() else { return Generation(u64::from(pid()) << 32) };
        let own = mark.load(Ordering::Relaxed);
        if own != 0 {
            return Generation(own);
        }
        let new = YOUNGEST.fetch_add(1, Ordering::Relaxed) + 1;
        match mark.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Generation(new),
            Err(first) => Generation(first),
        }
    }
}

/// The page of the mark, once there is one.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// Stands for "cannot be had"; never followed.
const NONE: *mut AtomicU64 = ptr::without_provenance_mut(8);

/// Returns the word that is 0 in every new copy of this process, as the kernel wipes its page at a
/// fork; `None` if it cannot.
fn mark() -> Option<&'static AtomicU64> {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let new = wiped_page().unwrap_or(NONE);
        // A thread that is second wastes a page.
        page = match PAGE.compare_exchange(
            ptr::null_mut(),
            new,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => new,
            Err(first) => first,
        };
    }
    // SAFETY: a page that `wiped_page` made, which is never unmapped and only used as this atomic
    // word.
    (page != NONE).then(|| unsafe { &*page })
}

/// Maps a page that the kernel wipes at a fork. `None` for want of memory, or before Linux 4.14.
fn wiped_page() -> Option<*mut AtomicU64> {
    const SIZE: usize = 4096;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; the
    // advice is for it alone.
    unsafe {
        let page = rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            SIZE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
        .ok()?;
        rustix::mm::madvise(page, SIZE, Advice::LinuxWipeOnFork).ok()?;
        Some(page.cast())
    }
}

/// A value for each process: a copy that `fork` made finds its own, new one, whatever locks were
/// held in the original.
///
/// A value once handed out lives for ever; a process makes at most a few of them.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Owned<T>>);

/// A value with the process that it belongs to.
struct Owned<T> {
    owner: Generation,
    value: T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// Holds nothing yet.
    pub(crate) const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns this process's value. The first time, `init` makes it, from the original's in a
    /// forked copy.
    ///
    /// Two threads may both call `init`; one of the values is dropped. What `init` gets from the
    /// original may be locked for ever: use `try_lock`.
    pub(crate) fn get_or_init(&self, init: impl FnOnce(Option<&'static T>) -> T) -> &'static T {
        let found = self.0.load(Ordering::Acquire);
        let owner = Generation::current();
        // SAFETY: null or leaked by `publish`, so valid for ever.
        let before = unsafe { found.as_ref() };
        match before {
            Some(owned) if owned.owner == owner => &owned.value,
            _ => {
                self.publish(found, Owned { owner, value: init(before.map(|owned| &owned.value)) })
            }
        }
    }

    /// Returns this process's value, if it has one already.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null or leaked by `publish`, so valid for ever.
        let owned = unsafe { self.0.load(Ordering::Acquire).as_ref() }?;
        (owned.owner == Generation::current()).then_some(&owned.value)
    }

    /// Sets this process's value, at the start of a child.
    pub(crate) fn set(&self, value: T) -> &'static T {
        let found = self.0.load(Ordering::Acquire);
        self.publish(found, Owned { owner: Generation::current(), value })
    }

    /// Puts `owned` in the place of `found`, unless another thread was first; returns what is there
    /// then. The original's value is never freed: it may be borrowed.
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
