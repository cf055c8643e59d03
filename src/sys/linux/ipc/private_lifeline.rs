//! Lifelines for processes that may be hostile: one for each.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use rustix::net::Shutdown;

use super::lifeline::{FORKS_BEGUN, FORKS_ENDED, watch_forks};
use super::socket;

/// The program's end of a lifeline that is one child's alone.
///
/// It is for a child that may be hostile. Whoever has a pipe can open it anew for writing, and make it speak to everybody who
/// reads from it, or keep it from ever ending. A socket cannot be opened anew, and what this child does to its own end reaches
/// nobody else.
#[derive(Debug)]
pub(crate) struct PrivateLifeline {
    end: OwnedFd,
    /// Where a forked copy of this process finds the end.
    slot: &'static AtomicI32,
}

impl PrivateLifeline {
    /// Makes the program's end and the child's, which is for `Tether::hold`.
    pub(crate) fn new() -> io::Result<(PrivateLifeline, OwnedFd)> {
        watch_forks();
        let mut tries = 0;
        loop {
            let (begun, ended) = (FORKS_BEGUN.load(Ordering::SeqCst), FORKS_ENDED.load(Ordering::SeqCst));
            let (end, theirs) = socket::pair()?;
            let line = PrivateLifeline { slot: ENDS_HERE.claim(end.as_raw_fd()), end };
            // A fork that another thread began meanwhile may have copied the end before it could be found.
            if begun == ended && FORKS_BEGUN.load(Ordering::SeqCst) == begun || tries == FORK_TRIES {
                // What the child writes goes nowhere.
                rustix::net::shutdown(&line.end, Shutdown::Read)?;
                return Ok((line, theirs));
            }
            tries += 1;
            std::thread::yield_now();
        }
    }
}

/// How often a private lifeline is made again as other threads were forking.
const FORK_TRIES: u32 = 1000;

impl Drop for PrivateLifeline {
    fn drop(&mut self) {
        // The child has ended or is to end: a copy of this end that is made from here on would do no harm.
        let _ = rustix::net::shutdown(&self.end, Shutdown::Both);
        // In a forked copy of this process, the slot may be another's by now.
        let _ = self.slot.compare_exchange(self.end.as_raw_fd(), -1, Ordering::Release, Ordering::Relaxed);
    }
}

/// The ends of private lifelines in this process, for `close_in_copy`: never freed, so that a fork at any instant can read it.
struct Ends {
    numbers: [AtomicI32; ENDS],
    next: AtomicPtr<Ends>,
}

/// How many ends are kept in one piece.
const ENDS: usize = 64;

static ENDS_HERE: Ends = Ends::new();

impl Ends {
    const fn new() -> Ends {
        Ends { numbers: [const { AtomicI32::new(-1) }; ENDS], next: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Puts a number into a free slot.
    fn claim(&'static self, number: i32) -> &'static AtomicI32 {
        let mut piece = self;
        loop {
            let free =
                |slot: &&AtomicI32| slot.compare_exchange(-1, number, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if let Some(slot) = piece.numbers.iter().find(free) {
                return slot;
            }
            piece = piece.next_or_new();
        }
    }

    fn next(&self) -> Option<&'static Ends> {
        // SAFETY: null, or leaked by `next_or_new`.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    fn next_or_new(&self) -> &'static Ends {
        if let Some(next) = self.next() {
            return next;
        }
        let new = Box::into_raw(Box::new(Ends::new()));
        match self.next.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
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

/// Calls `f` with every slot. Async-signal-safe.
pub(super) fn all_ends(f: impl Fn(&AtomicI32)) {
    let mut piece = Some(&ENDS_HERE);
    while let Some(ends) = piece {
        ends.numbers.iter().for_each(&f);
        piece = ends.next();
    }
}
