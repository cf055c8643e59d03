//! The state machine of a semaphore: a cell for each permit.
//!
//! To take a permit is to write the own number into its cell, as one takes a robust mutex. So there
//! is no count of free permits that a death could leave wrong: the kernel marks the cell of a dead
//! holder, and whoever looks finds that permit free.
//!
//! ```text
//!  lock      a robust mutex, for those who change how many permits there are
//!  bell      0, or WAITERS: somebody sleeps, or is about to
//!  alarm     wakes a sleeper if a thread dies between adding a permit and waking
//!  permits   0 free; the holder's number | WAITERS; OWNER_DIED | WAITERS free after a death;
//!            GONE: this permit does not exist
//! ```
//! The permits that exist are the cells before `LIMIT` that are not `GONE`, and `EXTRA` more for
//! which there are no cells.
//!
//! # Sleep and wake-up
//! 1. A waiter sets `WAITERS` in the bell.
//! 2. It looks at all cells. A free one it takes. A held one it marks with `WAITERS`, so that the
//!    holder's death wakes somebody, and notes its word.
//! 3. It sleeps until the bell, the alarm, or one of the noted words changes.
//!
//! Who gives a permit back empties the cell first and looks at the bell then; who waits sets the
//! bell first and looks at the cells then. So one of them sees the other. Killed between emptying
//! and waking, the giver has announced the cell, and the kernel wakes one who sleeps on it. Woken
//! and killed before it has taken the permit, a waiter has announced the bell, or the cell that it
//! was about to take: the kernel wakes another one.
//!
//! `futex_waitv(2)` takes 128 words. With more permits than that, or on a kernel without it, a
//! sleeper looks again by itself each [`ROUND`]; only deaths need that.

use super::gate::raise;
use super::platform::{
    AtomicU32, Deadline, OWNER, OWNER_DIED, Ordering, Own, RobustCell, SPINS, WAITERS, fence,
    futex, robust, spin,
};
use super::{alarm, mutex};

// In the fields of the lock's cell.
/// How many cells, from the first on, are permits.
const LIMIT: usize = 0;
/// How many cells, from the first on, have been held.
const USED: usize = 1;
/// How many cells before `LIMIT` are `GONE`, or more: a hint, changed with the lock held.
const GONE_COUNT: usize = 2;
/// In the data of the lock's cell: how many permits there are beyond those that have cells. With
/// the lock held.
const EXTRA: usize = 2;

/// In a permit's cell: it does not exist. No thread has this number.
const GONE: u32 = OWNER;

/// Number of cells that threads choose from by their own number, before the others.
const CHOICE: usize = 16;

/// Number of permits that a sleeper watches, beside the bell and the alarm.
const WATCHED: usize = futex::MAX_WORDS - 2;

/// Time that a sleeper sleeps at once if it cannot watch all permits.
const ROUND: std::time::Duration = std::time::Duration::from_millis(100);

/// Number of times that a call that does not wait looks at cells that change under its eyes.
const LOOKS: usize = 100;

/// Why no permit was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Others had all of them until the deadline.
    Busy,
    /// There are more permits than cells and all cells are taken, or this thread's robust list is
    /// full.
    Full,
}

/// A view of a semaphore's cells: copying it copies nothing. All zero has no permits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permits<'a> {
    lock: &'a RobustCell,
    bell: &'a RobustCell,
    alarm: &'a RobustCell,
    cells: &'a [RobustCell],
}

impl<'a> Permits<'a> {
    /// Takes cells as a semaphore: three, and one for each thread that can hold a permit at the
    /// same time.
    pub(crate) fn new(cells: &'a [RobustCell]) -> Permits<'a> {
        Permits { lock: &cells[0], bell: &cells[1], alarm: &cells[2], cells: &cells[3..] }
    }

    /// Makes `count` permits of a new semaphore, which nobody else has yet.
    pub(crate) fn begin_with(self, count: u32) {
        let limit = usize::try_from(count).unwrap_or(usize::MAX).min(self.cells.len());
        raise(&self.lock.fields[LIMIT], limit);
        self.lock.data[EXTRA].store(u64::from(count) - limit as u64, Ordering::Relaxed);
    }

    /// Takes a permit, or waits for one until `deadline`; returns its place.
    pub(crate) fn acquire(self, deadline: Deadline) -> Result<usize, Refused> {
        let own = robust::own();
        if own.is_full() {
            return Err(Refused::Full);
        }
        if let Some(place) = self.claim(own) {
            return Ok(place);
        }
        if matches!(deadline, Deadline::Now) {
            return self.look_again(own);
        }
        // A look at many cells takes as long as several at few.
        for _ in 0..SPINS / (1 + self.limit() / CHOICE) {
            spin();
            if let Some(place) = self.claim(own) {
                return Ok(place);
            }
        }
        if self.has_no_cell_left() {
            return Err(Refused::Full);
        }
        self.wait(own, deadline)
    }

    /// Gives a permit back. A forked copy has only the copy of a permit, and changes nothing.
    pub(crate) fn release(self, place: usize) {
        let (own, cell) = (robust::own(), &self.cells[place]);
        own.begin(cell);
        if own.delist(cell) && is_held_by(own, cell) {
            cell.word.swap(0, Ordering::SeqCst);
            self.ring();
        }
        own.end();
    }

    /// Adds a permit, unless `most` or more are free. Returns whether it did.
    ///
    /// 1. Lock.
    /// 2. Arm the alarm: a death from here on wakes a sleeper.
    /// 3. The permit exists: one store. In order of preference, in a cell that is `GONE`, in the
    ///    next cell, or as one of those that have no cell.
    /// 4. Ring, disarm, unlock. For a new cell, wake all who sleep: they do not watch it, and would
    ///    not hear of the death of whoever takes it.
    pub(crate) fn add(self, most: u64) -> bool {
        let own = robust::own();
        // Fuzzers write owners there who never come.
        let deadline = if cfg!(multiproc_fuzz) { Deadline::after(LOCKED) } else { Deadline::Never };
        let Ok(_) = mutex::lock_as(own, self.lock, deadline) else { return false };
        let has_room = self.free() < most;
        if has_room {
            alarm::arm(own, self.alarm);
            if self.add_one() {
                futex::wake(&self.bell.word, u32::MAX);
            }
            self.ring();
            alarm::disarm(own, self.alarm);
        }
        mutex::unlock_as(own, self.lock);
        has_room
    }

    /// Takes a permit that this thread holds out of the semaphore.
    ///
    /// Killed before the permit has gone, the thread was its holder, and it comes back.
    pub(crate) fn forget(self, place: usize) {
        let (own, cell) = (robust::own(), &self.cells[place]);
        // If the lock stays held for ever, somebody means no good; the permit is given back then.
        if !is_held_by(own, cell)
            || mutex::lock_as(own, self.lock, Deadline::after(LOCKED)).is_err()
        {
            return self.release(place);
        }
        // Another one instead of this one, where that is easy: so the cells that are gone are few,
        // and those in use are the first.
        if self.remove_another(place) {
            self.release(place);
        } else {
            let gone = &self.lock.fields[GONE_COUNT];
            // Before: too many is only a look in vain.
            gone.store(gone.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            own.begin(cell);
            if own.delist(cell) {
                cell.word.store(GONE, Ordering::SeqCst);
            }
            own.end();
        }
        mutex::unlock_as(own, self.lock);
    }

    /// Returns how many permits are free; 0 if somebody holds the lock on.
    pub(crate) fn value(self) -> u64 {
        self.with_lock(Permits::free)
    }

    /// Returns what `look` finds with the lock held; 0 if somebody holds it on.
    fn with_lock(self, look: impl FnOnce(Permits<'a>) -> u64) -> u64 {
        let own = robust::own();
        let Ok(_) = mutex::lock_as(own, self.lock, Deadline::after(LOCKED)) else { return 0 };
        let found = look(self);
        mutex::unlock_as(own, self.lock);
        found
    }

    /// The number of cells that are permits; another process may have written nonsense there.
    fn limit(self) -> usize {
        self.count(LIMIT)
    }

    fn count(self, field: usize) -> usize {
        let count = self.lock.fields[field].load(Ordering::SeqCst);
        usize::try_from(count).unwrap_or(usize::MAX).min(self.cells.len())
    }

    /// Counts the free permits, with the lock held. Cells beyond `USED` have never been held.
    fn free(self) -> u64 {
        let limit = self.limit();
        let is_free = |cell: &RobustCell| cell.word.load(Ordering::SeqCst) & OWNER == 0;
        let looked_at = &self.cells[..limit.min(self.count(USED))];
        let taken = looked_at.iter().filter(|cell| !is_free(cell)).count();
        let extra = self.lock.data[EXTRA].load(Ordering::Relaxed);
        extra.saturating_add((limit - taken) as u64)
    }

    /// Takes a free permit, if there is one: mostly the one that this thread's number chooses.
    #[inline]
    fn claim(self, own: Own) -> Option<usize> {
        let limit = self.limit();
        let choice = CHOICE.min(limit);
        let first = (own.tid() as usize).checked_rem(choice)?;
        if self.claim_at(own, first) {
            return Some(first);
        }
        self.claim_another(own, first, choice, limit)
    }

    /// Takes a free permit but the one at `first`: of those that have been held before, then of the
    /// others.
    #[inline(never)]
    fn claim_another(self, own: Own, first: usize, choice: usize, limit: usize) -> Option<usize> {
        let used = self.count(USED).max(choice).min(limit);
        (first + 1..choice)
            .chain(0..first)
            .chain(choice..used)
            .chain(used..limit)
            .find(|place| self.claim_at(own, *place))
    }

    /// Takes the permit at `place`, if it is free.
    ///
    /// 1. Extend `USED` over the cell.
    /// 2. Announce it, write the number, put it into the robust list, take the announcement back
    ///    (see `mutex::lock_as`).
    ///
    /// If the bell says that somebody sleeps, the number comes with `WAITERS`: the one who was
    /// woken for this permit may be the one who takes it, and its death has to wake another. Who
    /// comes to sleep later marks the cell by itself.
    #[inline]
    fn claim_at(self, own: Own, place: usize) -> bool {
        let cell = &self.cells[place];
        let seen = cell.word.load(Ordering::SeqCst);
        if seen & OWNER != 0 {
            return false;
        }
        raise(&self.lock.fields[USED], place + 1);
        own.begin(cell);
        let claimed = own.tid() | self.bell.word.load(Ordering::SeqCst) & WAITERS;
        let is_ours =
            cell.word.compare_exchange(seen, claimed, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if is_ours {
            own.enlist(cell);
        }
        own.end();
        is_ours
    }

    /// Looks on until nothing has changed between two looks. A thread may have given one permit
    /// back and taken another between a look at the one and a look at the other: then there was one
    /// free all the time.
    fn look_again(self, own: Own) -> Result<usize, Refused> {
        let words = || -> Vec<u32> {
            let cells = &self.cells[..self.limit()];
            cells.iter().map(|cell| cell.word.load(Ordering::SeqCst) & OWNER).collect()
        };
        let mut before = words();
        for _ in 0..LOOKS {
            if let Some(place) = self.claim(own) {
                return Ok(place);
            }
            let now = words();
            if now == before {
                break;
            }
            before = now;
        }
        Err(if self.has_no_cell_left() { Refused::Full } else { Refused::Busy })
    }

    /// Returns `true` if permits are free that have no cells.
    fn has_no_cell_left(self) -> bool {
        self.limit() == self.cells.len()
            && self.with_lock(|this| this.lock.data[EXTRA].load(Ordering::Relaxed)) > 0
    }

    /// Sleeps until there is a permit to be had. See "Sleep and wake-up" at the top.
    fn wait(self, own: Own, deadline: Deadline) -> Result<usize, Refused> {
        loop {
            // 1. The bell.
            set(&self.bell.word, WAITERS);
            fence();
            let bell = self.bell.word.load(Ordering::SeqCst) | WAITERS;
            let alarm = self.alarm.word.load(Ordering::SeqCst);
            // 2. The cells.
            let mut words: Vec<(&AtomicU32, u32)> =
                vec![(&self.bell.word, bell), (&self.alarm.word, alarm)];
            if let Some(place) = self.note(own, &mut words) {
                return Ok(place);
            }
            if deadline.is_over() {
                return Err(Refused::Busy);
            }
            // 3. Sleep. The announcement has the kernel wake another one if this thread is woken
            //    and killed then.
            own.begin(self.bell);
            let round = deadline.within_next(ROUND);
            let until = if self.limit() <= WATCHED { deadline } else { round };
            if !futex::wait_any(&words, until) {
                futex::wait(&self.bell.word, bell, round);
            }
            self.see_dead_adder();
            // From one announcement to the next: whoever is killed in between has a cell that was
            // free announced, or had none to take.
            if let Some(place) = self.claim(own) {
                return Ok(place);
            }
            own.end();
        }
    }

    /// Wakes all who sleep, if somebody has died over adding a permit: it may be in a cell that
    /// they do not watch. First the wake-up, then the mark goes: killed between, the next one does
    /// both.
    fn see_dead_adder(self) {
        let word = &self.alarm.word;
        let seen = word.load(Ordering::SeqCst);
        if seen & OWNER == 0 && seen & OWNER_DIED != 0 {
            futex::wake(&self.bell.word, u32::MAX);
            let _ = word.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    /// Takes a permit if one is free; otherwise marks those that are held, and notes the words of
    /// as many as can be watched.
    fn note(self, own: Own, words: &mut Vec<(&'a AtomicU32, u32)>) -> Option<usize> {
        for place in 0..self.limit() {
            let word = &self.cells[place].word;
            loop {
                let seen = word.load(Ordering::SeqCst);
                if seen & OWNER == 0 {
                    if self.claim_at(own, place) {
                        return Some(place);
                    }
                    continue;
                }
                let marked = if seen & OWNER == GONE { seen } else { seen | WAITERS };
                if seen == marked
                    || word
                        .compare_exchange(seen, marked, Ordering::SeqCst, Ordering::Relaxed)
                        .is_ok()
                {
                    if words.len() < WATCHED + 2 {
                        words.push((word, marked));
                    }
                    break;
                }
            }
        }
        None
    }

    /// Wakes one who sleeps, if the bell says that there are any.
    ///
    /// The mark stays while somebody is woken, as others may sleep. Only if nobody slept it is
    /// taken back, in one step with a wake-up of all: one that fell asleep between the two calls
    /// would have nobody to wake it.
    fn ring(self) {
        fence();
        let bell = &self.bell.word;
        if bell.load(Ordering::SeqCst) & WAITERS != 0 && futex::wake(bell, 1) == 0 {
            futex::clear_bit_and_wake(bell, WAITERS);
        }
    }

    /// Makes a permit exist, with the lock held: one store, and counts that may lag behind. Returns
    /// whether it is in a cell that sleepers may not watch.
    fn add_one(self) -> bool {
        let (fields, extra) = (&self.lock.fields, &self.lock.data[EXTRA]);
        let gone = fields[GONE_COUNT].load(Ordering::Relaxed);
        let limit = self.limit();
        if gone > 0 {
            let is_gone = |cell: &&RobustCell| cell.word.load(Ordering::SeqCst) & OWNER == GONE;
            if let Some(cell) = self.cells[..limit].iter().find(is_gone) {
                cell.word.store(0, Ordering::SeqCst);
                fields[GONE_COUNT].store(gone - 1, Ordering::Relaxed);
                return false;
            }
            fields[GONE_COUNT].store(0, Ordering::Relaxed);
        }
        let Some(next) = self.cells.get(limit) else {
            extra.store(extra.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            return false;
        };
        // Gone since the limit was lowered over it: it is so still when the limit has been raised,
        // and then exists.
        raise(&fields[LIMIT], limit + 1);
        if next.word.load(Ordering::SeqCst) & OWNER == GONE {
            next.word.store(0, Ordering::SeqCst);
        }
        true
    }

    /// Takes a free permit out of the semaphore instead of the one at `place`, if that is easily
    /// done, with the lock held: one without a cell, or the last one.
    ///
    /// The last cell is `GONE` first and beyond the limit then: killed in between, it is a cell
    /// like others that are gone.
    fn remove_another(self, place: usize) -> bool {
        let (limit, extra) = (&self.lock.fields[LIMIT], &self.lock.data[EXTRA]);
        let without_cell = extra.load(Ordering::Relaxed);
        if without_cell > 0 {
            extra.store(without_cell - 1, Ordering::Relaxed);
            return true;
        }
        let Some(last) = self.limit().checked_sub(1).filter(|last| *last != place) else {
            return false;
        };
        // What is gone is counted as taken, which only cells in use are.
        raise(&self.lock.fields[USED], last + 1);
        let word = &self.cells[last].word;
        let seen = word.load(Ordering::SeqCst);
        let is_free = seen & OWNER == 0
            && word.compare_exchange(seen, GONE, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if is_free || seen & OWNER == GONE {
            #[expect(clippy::cast_possible_truncation, reason = "one of some thousands of cells")]
            limit.store(last as u32, Ordering::SeqCst);
        }
        is_free
    }
}

/// Time that `forget` and `value` wait for the lock, which others hold for microseconds.
const LOCKED: std::time::Duration =
    std::time::Duration::from_micros(if cfg!(multiproc_fuzz) { 50 } else { 5_000_000 });

fn is_held_by(own: Own, cell: &RobustCell) -> bool {
    cell.word.load(Ordering::Relaxed) & OWNER == own.tid()
}

/// Sets bits of a word.
fn set(word: &AtomicU32, bits: u32) {
    let mut seen = word.load(Ordering::SeqCst);
    while seen & bits != bits {
        match word.compare_exchange(seen, seen | bits, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
