//! Descriptors that no forked copy of this process may keep open.
//!
//! A copy that holds the program's end of a lifeline keeps its children alive when the program is
//! gone. So the C library calls a handler in each copy that it makes, which closes what is in a
//! list here. The list has no locks, and nothing of it is ever freed: a fork can come at any
//! instant, in any thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

/// A descriptor that forked copies of this process close.
#[derive(Debug)]
pub(super) struct Guarded {
    fd: OwnedFd,
    /// Where a copy finds its number.
    slot: &'static AtomicI32,
}

/// Number of times that descriptors are made again because other threads were forking. After that,
/// they are used all the same: a copy may hold one then.
const TRIES: u32 = 1000;

impl Guarded {
    /// Guards the first of the descriptors that `make` makes.
    ///
    /// 1. See that no fork is under way.
    /// 2. Make the descriptors.
    /// 3. Enter the first in the list.
    /// 4. See that no fork has begun meanwhile: its copy may have the descriptor, but not the
    ///    entry. If one has, make all again.
    pub(super) fn make(
        make: impl Fn() -> io::Result<(OwnedFd, OwnedFd)>,
    ) -> io::Result<(Guarded, OwnedFd)> {
        watch_forks();
        let mut tries = 0;
        loop {
            let (begun, ended) =
                (FORKS_BEGUN.load(Ordering::SeqCst), FORKS_ENDED.load(Ordering::SeqCst));
            let (fd, other) = make()?;
            let guarded = Guarded { slot: LIST.claim(fd.as_raw_fd()), fd };
            let is_safe = begun == ended && FORKS_BEGUN.load(Ordering::SeqCst) == begun;
            if is_safe || tries == TRIES {
                return Ok((guarded, other));
            }
            tries += 1;
            std::thread::yield_now();
        }
    }
}

impl AsFd for Guarded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Guarded {
    /// Takes the number out of the list, before the descriptor is closed.
    fn drop(&mut self) {
        // The number is still this descriptor's. In a forked copy, the slot may be another's by
        // now.
        let _ = self.slot.compare_exchange(
            self.fd.as_raw_fd(),
            -1,
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
}

/// Numbers in one piece of the list.
const PIECE: usize = 64;

/// A piece of the list: numbers of descriptors, or -1.
struct List {
    numbers: [AtomicI32; PIECE],
    next: AtomicPtr<List>,
}

/// The first piece. Further ones are leaked: a fork handler may be walking through them.
static LIST: List = List::new();

impl List {
    const fn new() -> List {
        List {
            numbers: [const { AtomicI32::new(-1) }; PIECE],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Puts a number into a free slot, in a new piece if all are taken.
    fn claim(&'static self, number: i32) -> &'static AtomicI32 {
        let mut piece = self;
        loop {
            let take = |slot: &&AtomicI32| {
                slot.compare_exchange(-1, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            };
            if let Some(slot) = piece.numbers.iter().find(take) {
                return slot;
            }
            piece = piece.next_or_new();
        }
    }

    /// Returns the next piece.
    fn next(&self) -> Option<&'static List> {
        // SAFETY: null, or leaked by `next_or_new`.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Returns the next piece, and makes it if there is none.
    fn next_or_new(&self) -> &'static List {
        if let Some(next) = self.next() {
            return next;
        }
        let new = Box::into_raw(Box::new(List::new()));
        match self.next.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire)
        {
            // SAFETY: just leaked.
            Ok(_) => unsafe { &*new },
            Err(other) => {
                // SAFETY: made above, and published nowhere; the other one is leaked.
                unsafe {
                    drop(Box::from_raw(new));
                    &*other
                }
            }
        }
    }
}

/// Number of forks of this process that were begun.
static FORKS_BEGUN: AtomicU64 = AtomicU64::new(0);
/// Number of them that have ended in this process.
static FORKS_ENDED: AtomicU64 = AtomicU64::new(0);

/// Makes the C library call the handlers below around each fork (`pthread_atfork(3)`). A bare
/// `clone` does not call them: such a copy holds the descriptors.
fn watch_forks() {
    extern "C" fn begin() {
        FORKS_BEGUN.fetch_add(1, Ordering::SeqCst);
    }
    extern "C" fn end() {
        FORKS_ENDED.fetch_add(1, Ordering::SeqCst);
    }
    static AT_FORK: Once = Once::new();
    AT_FORK.call_once(|| {
        // SAFETY: the handlers make async-signal-safe calls only, and touch only atomics.
        unsafe { libc::pthread_atfork(Some(begin), Some(end), Some(close_in_copy)) };
    });
}

/// Closes, in a forked copy of this process, all that is in the list.
extern "C" fn close_in_copy() {
    FORKS_ENDED.store(FORKS_BEGUN.load(Ordering::SeqCst), Ordering::SeqCst);
    let mut piece = Some(&LIST);
    while let Some(list) = piece {
        list.numbers.iter().for_each(|slot| lay_null_over(slot.swap(-1, Ordering::Relaxed)));
        piece = list.next();
    }
}

/// Closes a descriptor in a forked copy. The number is not freed but laid over with `/dev/null`, if
/// that can be had, so that an owner which closes it later closes no stranger.
fn lay_null_over(number: i32) {
    if number < 0 {
        return;
    }
    // SAFETY: open, dup3 and close are async-signal-safe; `number` is this process's copy of an end
    // that nothing in the copy uses.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if null < 0 || libc::dup3(null, number, libc::O_CLOEXEC) < 0 {
            libc::close(number);
        }
        if null >= 0 {
            libc::close(null);
        }
    }
}
