//! State that belongs to one process, and not to a forked copy of it.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// This process's number.
pub(crate) fn pid() -> u32 {
    // Not the C library's: its code would be one more page to map in every new process.
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

/// The number of the process that made this one (or of the one that took it over).
pub(crate) fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}

/// Describes what tells this process from those that it is a copy of, and from its own copies.
///
/// Not its number, which may come again: in a new process namespace, or after all others were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// This process's.
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

    /// This process's, if nobody has asked for it before, or without a page.
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

/// A word that is 0 in every new copy of this process: the kernel wipes its page at a fork. Nothing
/// if it cannot.
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

struct Owned<T> {
    owner: Generation,
    value: T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// This process's value. The first time, `init` makes it, from the original's in a forked copy.
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

    /// This process's value, if it has one already.
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

    /// Puts `owned` in the place of `found`, unless another thread was first; gives what is there
    /// then.
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
