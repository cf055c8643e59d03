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

/// The state in which the last owner left a lock that was acquired.
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

/// Takes the lock, or waits for it until `deadline`.
///
/// Safe against being killed at any step, see `lock_as`; not reentrant: a second call of the owner
/// gives `NotTaken::Own`. Not to be called in a signal handler, as the thread's robust list could
/// be in the middle of a change.
pub(crate) fn lock(cell: &RobustCell, deadline: Deadline) -> Result<Taken, NotTaken> {
    lock_as(robust::own(), cell, deadline)
}

/// `lock`, for a caller who has looked up this thread.
///
/// 1. `begin` announces the cell: if the thread is killed from now on, the kernel looks at its
///    word.
/// 2. The word gets the thread's number. Killed right after, the kernel finds the number through
///    the announcement, marks the word `OWNER_DIED` and wakes one waiter.
/// 3. `enlist` puts the cell into the thread's list. The link is written before the list leads to
///    it.
/// 4. `end` takes the announcement back; from here on, the list alone names the cell.
///
/// The list cannot come before the word: the link lies in the cell and belongs to the list of
/// whoever holds it, so a thread that does not own the cell must not write there.
#[inline]
pub(crate) fn lock_as(own: Own, cell: &RobustCell, deadline: Deadline) -> Result<Taken, NotTaken> {
    // 1. Announced. Nothing may be called from here to `end` that takes another robust lock: a
    //    thread has room for one announcement.
    own.begin(cell);
    // 2. The fast way: a free word without `WAITERS`.
    let taken = match cell.word.compare_exchange(0, own.tid(), Ordering::Acquire, Ordering::Relaxed)
    {
        Ok(_) => Ok(Taken::Clean),
        Err(seen) => take(own.tid(), cell, seen, deadline),
    };
    if taken.is_ok() {
        // 3. Owned, so the link in the cell is ours to write.
        own.enlist(cell);
    }
    own.end();
    taken
}

/// The slow way: somebody has the word. Between its `begin` and `end`, so a thread that is killed
/// asleep, or woken and not yet owner, makes the kernel wake another one in its place.
#[cold]
fn take(own: u32, cell: &RobustCell, mut seen: u32, deadline: Deadline) -> Result<Taken, NotTaken> {
    loop {
        // Free, or left by a dead owner. `WAITERS` stays: others may be asleep, and whoever holds
        // the lock must know that. Only the exchange decides: whoever loses it looks again.
        if seen & OWNER == 0 {
            let taken = own | (seen & WAITERS);
            match cell.word.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if seen & OWNER_DIED != 0 => return Ok(Taken::FromDead),
                Ok(_) => return Ok(Taken::Clean),
                Err(now) => seen = now,
            }
            continue;
        }
        // Waiting would be for ever.
        if seen & OWNER == own {
            return Err(NotTaken::Own);
        }
        if deadline.is_over() {
            return Err(NotTaken::Busy);
        }
        // The mark comes before the sleep: an owner that releases without seeing it would wake
        // nobody. If the word changes after the mark, `futex::wait` returns at once.
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

/// Releases the lock, if this thread holds it. Returns whether the cell was in the thread's list.
///
/// A forked copy of the holder has another thread number and an empty list: nothing changes then.
/// The cell is in the list whenever the thread holds the lock, but also if another process that
/// maps the memory overwrote the word meanwhile; so the caller decides by the list, not by the
/// word, whether memory may be unmapped.
pub(crate) fn unlock(cell: &RobustCell) -> bool {
    unlock_as(robust::own(), cell)
}

/// `unlock`, for a caller who has looked up this thread.
///
/// 1. `begin` announces the cell.
/// 2. It leaves the list, because the link belongs to the next owner as soon as the word is free.
/// 3. The word becomes 0, or `WAITERS` and one sleeper is woken.
/// 4. `end` takes the announcement back.
///
/// Killed between 2 and 3, the thread still stands in the word: the kernel finds it by the
/// announcement. Killed in 3 after the store and before the wake-up, the kernel finds a word
/// without owner under an announcement, and wakes one sleeper. (The object above sees the first as
/// `Taken::FromDead`; its own data, written before the release, say that nothing was half done.)
#[inline]
pub(crate) fn unlock_as(own: Own, cell: &RobustCell) -> bool {
    own.begin(cell);
    // Before the word is free: then the link is the next owner's.
    let was_listed = own.delist(cell);
    // The fast way: nobody sleeps. `Release` pairs with the `Acquire` of whoever takes it. If the
    // word is not ours (a forked copy, or somebody overwrote it), it stays as it is.
    if let Err(seen) =
        cell.word.compare_exchange(own.tid(), 0, Ordering::Release, Ordering::Relaxed)
        && seen & OWNER == own.tid()
    {
        release_to_others(cell);
    }
    own.end();
    was_listed
}

/// Releases a lock on whose word others sleep.
///
/// The mark `WAITERS` stays while one of them is woken, so that whoever takes the lock first, woken
/// or not, knows that it has to wake the next. Only if nobody slept is the mark taken away, and in
/// one step with a wake-up of all: a thread that fell asleep between the two calls would have
/// nobody to wake it.
#[cold]
fn release_to_others(cell: &RobustCell) {
    // Free, and marked: whoever takes it now knows that others sleep.
    cell.word.swap(WAITERS, Ordering::Release);
    if futex::wake(&cell.word, 1) == 0 {
        // Somebody may hold it by now, and somebody else sleep again: who is woken here sets the
        // mark anew.
        futex::clear_bit_and_wake(&cell.word, WAITERS);
    }
}

/// Returns `true` if this thread holds the lock. `Relaxed` is enough: only this thread writes its
/// number.
pub(crate) fn is_own(cell: &RobustCell) -> bool {
    cell.word.load(Ordering::Relaxed) & OWNER == robust::tid()
}

/// Returns the number of the thread that holds the lock, 0 if none does. It may be outdated by the
/// time the caller looks at it; for display, and for tests of the own thread.
pub(crate) fn owner(cell: &RobustCell) -> u32 {
    cell.word.load(Ordering::Relaxed) & OWNER
}
