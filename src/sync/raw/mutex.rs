//! A lock in one robust cell: free (no owner), held (the owner's thread number), left by a dead owner (the kernel's mark).
//!
//! ```text
//!   0 --------- take ---------> owner ---- a second one waits ----> owner | WAITERS
//!   ^                             |                                      |
//!   |<------ release -------------+                                      |
//!   |<------ release, wake one ---+--------------------------------------+
//!                                 |
//!                     the kernel, at the owner's death
//!                                 v
//!                 OWNER_DIED [| WAITERS], wakes one ---- take ----> owner [| WAITERS]: `Taken::FromDead`
//! ```
//!
//! Who is woken takes the lock with `WAITERS` set, since it does not know whether others sleep. Whoever dies between being
//! woken and taking, or between releasing and waking, had announced the cell (`robust::begin`): the kernel then wakes
//! another one.

use super::platform::{Deadline, OWNER, OWNER_DIED, Ordering, RobustCell, WAITERS, futex, robust};

/// How a lock was come by.
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
    robust::begin(cell);
    let taken = take(cell, deadline);
    if taken.is_ok() {
        robust::enlist(cell);
    }
    robust::end();
    taken
}

fn take(cell: &RobustCell, deadline: Deadline) -> Result<Taken, NotTaken> {
    let own = robust::tid();
    // What to take it with: with `WAITERS` once we slept.
    let mut claim = own;
    let mut seen = 0;
    loop {
        if seen & OWNER == 0 {
            let taken = claim | (seen & WAITERS);
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
            && let Err(now) = cell.word.compare_exchange(seen, waited_for, Ordering::Relaxed, Ordering::Relaxed)
        {
            seen = now;
            continue;
        }
        futex::wait(&cell.word, waited_for, deadline);
        claim = own | WAITERS;
        seen = cell.word.load(Ordering::Relaxed);
    }
}

/// Releases the lock, if this thread holds it. (A forked copy of the holder does not.)
pub(crate) fn unlock(cell: &RobustCell) {
    robust::begin(cell);
    // Whatever the word says: others can write to it, and what is in the list must not be unmapped.
    robust::delist(cell);
    if is_own(cell) && cell.word.swap(0, Ordering::Release) & WAITERS != 0 {
        futex::wake(&cell.word, 1);
    }
    robust::end();
}

/// Whether this thread holds the lock.
pub(crate) fn is_own(cell: &RobustCell) -> bool {
    cell.word.load(Ordering::Relaxed) & OWNER == robust::tid()
}

/// The thread that holds the lock, 0 if none does.
pub(crate) fn owner(cell: &RobustCell) -> u32 {
    cell.word.load(Ordering::Relaxed) & OWNER
}
