//! A robust mutex whose waiters are not overtaken for ever.
//!
//! `mutex` gives the lock to whoever comes first when it is free, and a thread that runs comes
//! before one that has to be woken. That is what makes it fast: to hand the lock to a sleeper costs
//! all others the time of a wake-up, at each release. But a thread that releases and takes it again
//! at once could keep the sleepers out for ever. So one who has waited for [`HURRIES_AFTER`] says
//! that it hurries, and newcomers stay back for a moment.
//!
//! The word that says so is a hint, and its writer may die: nobody stays back for longer than
//! [`STAY_BACK`], and then takes part like the others.

use std::time::Duration;

use super::mutex::{self, NotTaken, Taken};
use super::platform::{
    AtomicU32, Deadline, HURRIES_AFTER, OWNER, Ordering, Own, RobustCell, SPINS, futex, spin,
};

/// How long a newcomer stays back for one who hurries.
const STAY_BACK: Duration = Duration::from_millis(10);

/// The longest time after which one who waits says again that it hurries: another may have taken
/// the hint back.
const LONGEST_ROUND: Duration = Duration::from_secs(1);

/// Takes the lock, as `mutex::lock_as`; `hurry` is the word of those who have waited for long.
///
/// 1. Stay back, once, if somebody hurries.
/// 2. Try for as long as a short critical section takes: to sleep and be woken costs more.
/// 3. Sleep. After each round, say that this thread hurries; with the lock, take that back.
///
/// The hint changes nothing that the lock depends on, so a death between any two steps leaves the
/// mutex as its own state machine does.
pub(crate) fn lock(
    own: Own,
    cell: &RobustCell,
    hurry: &AtomicU32,
    deadline: Deadline,
) -> Result<Taken, NotTaken> {
    let is_patient = !matches!(deadline, Deadline::Now);
    if is_patient && hurry.load(Ordering::Relaxed) != 0 {
        futex::wait(hurry, 1, deadline.within_next(STAY_BACK));
    }
    let first = mutex::lock_as(own, cell, Deadline::now());
    if !is_patient || !matches!(first, Err(NotTaken::Busy)) {
        return first;
    }
    for _ in 0..SPINS {
        spin();
        if cell.word.load(Ordering::Relaxed) & OWNER == 0 {
            let taken = mutex::lock_as(own, cell, Deadline::now());
            if !matches!(taken, Err(NotTaken::Busy)) {
                return taken;
            }
        }
    }
    let mut round = HURRIES_AFTER;
    let mut hurries = false;
    loop {
        let taken = mutex::lock_as(own, cell, deadline.within_next(round));
        if matches!(taken, Err(NotTaken::Busy)) && !deadline.is_over() {
            hurry.store(1, Ordering::Relaxed);
            hurries = true;
            round = round.saturating_mul(2).min(LONGEST_ROUND);
            continue;
        }
        if hurries {
            hurry.store(0, Ordering::Relaxed);
            futex::wake(hurry, u32::MAX);
        }
        return taken;
    }
}
