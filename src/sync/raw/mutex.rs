//! A lock in one robust cell: free (no owner), held (the owner's thread number), left by a dead
//! owner (the kernel's mark).
//!
//! ```text
//!   0 --------- take ---------> owner -- a second one waits --> owner | WAITERS <---+
//!   ^                             |                                  |              |
//!   +---------- release ----------+                     release, then wake one      |
//!   |                                                                v              |
//!   +<--- nobody was asleep: unmark, wake all (one step) ---------- WAITERS - take -+
//!
//!   owner [| WAITERS] -- the kernel, at the owner's death --> OWNER_DIED [| WAITERS], wakes one
//!   OWNER_DIED [| WAITERS] ---- take ----> owner [| WAITERS]: `Taken::FromDead`
//! ```
//!
//! As long as anybody sleeps, the word has `WAITERS`, free or not: the mark only goes away in one
//! step with waking all. So whoever holds the lock knows that it has to wake somebody, however it
//! came by it. A free lock with sleepers has always somebody on the way to it who had announced it
//! (`robust::begin`): the one who released it and has not woken anybody yet, or the one who was
//! woken. If that one dies, the kernel wakes another; if somebody else is faster, it finds the
//! mark.

use super::platform::{
    Deadline, OWNER, OWNER_DIED, Ordering, Own, RobustCell, WAITERS, futex, robust,
};

/// Describes how a lock was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was released by its last owner.
    Clean,
    /// Its last owner died holding it.
    FromDead,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Somebody else held it until the deadline.
    Busy,
    /// This thread holds it already.
    Own,
}

/// Takes the lock.
pub(crate) fn lock(cell: &RobustCell, deadline: Deadline) -> Result<Taken, NotTaken> {
    lock_as(robust::own(), cell, deadline)
}

/// `lock`, for a caller who has looked up this thread.
#[inline]
pub(crate) fn lock_as(own: Own, cell: &RobustCell, deadline: Deadline) -> Result<Taken, NotTaken> {
    own.begin(cell);
    let taken = match cell.word.compare_exchange(0, own.tid(), Ordering::Acquire, Ordering::Relaxed)
    {
        Ok(_) => Ok(Taken::Clean),
        Err(seen) => take(own.tid(), cell, seen, deadline),
    };
    if taken.is_ok() {
        own.enlist(cell);
    }
    own.end();
    taken
}

#[cold]
fn take(own: u32, cell: &RobustCell, mut seen: u32, deadline: Deadline) -> Result<Taken, NotTaken> {
    loop {
        if seen & OWNER == 0 {
            let taken = own | (seen & WAITERS);
            match cell.word.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if seen & OWNER_DIED != 0 => return Ok(Taken::FromDead),
                Ok(_) => return Ok(Taken::Clean),
                Err(now) => seen = now,
            }
            continue;
        }
        if seen & OWNER == own {
            return Err(NotTaken::Own);
        }
        if deadline.is_over() {
            return Err(NotTaken::Busy);
        }
        let waited_for = seen | WAITERS;
        if seen != waited_for
            && let Err(now) =
                cell.word.compare_exchange(seen, waited_for, Ordering::Relaxed, Ordering::Relaxed)
        {
            seen = now;
            continue;
        }
        futex::wait(&cell.word, waited_for, deadline);
        seen = cell.word.load(Ordering::Relaxed);
    }
}

/// Releases the lock, if this thread holds it. (A forked copy of the holder does not.) Whether the
/// cell was in its list, as it is if it holds the lock and nobody else wrote there.
pub(crate) fn unlock(cell: &RobustCell) -> bool {
    unlock_as(robust::own(), cell)
}

/// `unlock`, for a caller who has looked up this thread.
#[inline]
pub(crate) fn unlock_as(own: Own, cell: &RobustCell) -> bool {
    own.begin(cell);
    let was_listed = own.delist(cell);
    if let Err(seen) =
        cell.word.compare_exchange(own.tid(), 0, Ordering::Release, Ordering::Relaxed)
        && seen & OWNER == own.tid()
    {
        release_to_others(cell);
    }
    own.end();
    was_listed
}

#[cold]
fn release_to_others(cell: &RobustCell) {
    cell.word.swap(WAITERS, Ordering::Release);
    if futex::wake(&cell.word, 1) == 0 {
        // Somebody may hold it by now, and somebody else sleep again: who is woken here sets the
        // mark anew.
        futex::clear_bit_and_wake(&cell.word, WAITERS);
    }
}

/// Returns whether this thread holds the lock.
pub(crate) fn is_own(cell: &RobustCell) -> bool {
    cell.word.load(Ordering::Relaxed) & OWNER == robust::tid()
}

/// The thread that holds the lock, 0 if none does.
pub(crate) fn owner(cell: &RobustCell) -> u32 {
    cell.word.load(Ordering::Relaxed) & OWNER
}
