//! A table of the threads that hold or wait for something, so that the others hear of a death.
//!
//! An object has a lock for its own short use and a table of members. A thread that waits, or has
//! something in hand, has a cell of the table, and the kernel marks the cell if the thread dies.
//! What is held is nowhere else than in these cells: no count can get out of step with them, and a
//! thread that dies while it changes the table leaves nothing to repair.
//!
//! A member that sleeps watches the cells of all others besides its own signal: the kernel wakes
//! one of the sleepers for each death, and that one calls `remove_dead` of its object, which says
//! what the death means. If it dies itself before, its own cell wakes the next.
//!
//! # Order
//! A thread may be killed between changing the table and waking those whom the change is for, and
//! nobody would wake them then. So the order is always: wake first, change then.
//!
//! 1. The thread locks the table.
//! 2. It wakes the members that may go on once the change is made; each of them tries to lock the
//!    table, and waits.
//! 3. It changes roles, values or its own cell, each by one store.
//! 4. It unlocks the table.
//!
//! Killed between 2 and 3, it has woken somebody who finds nothing changed and sleeps again. Killed
//! between 3 and 4, the kernel passes the table's lock to one of the woken, who finds the change.
//! Killed before 2, nothing happened.
//!
//! # What a cell holds
//! ```text
//!  word             owner's thread | WAITERS; OWNER_DIED | WAITERS after its death; 0: free
//!  fields[ROLE]     what the member does, a number of the object's
//!  fields[SIGNAL]   1 once it was woken; it sleeps on this word
//!  data[TICKET]     the order of arrival, which decides who goes first
//!  data[VALUE]      for the object: a process, a count
//! ```
//! The cell of the table's lock has, beside its word, the number of cells in use, the last ticket,
//! and one flag of the object.

use std::ops::ControlFlow;

use super::mutex::{self, NotTaken};
use super::platform::{
    AtomicU32, Deadline, OWNER, OWNER_DIED, Ordering, RobustCell, WAITERS, futex, robust,
};

/// A table of members with the lock in front of it. A view of shared memory: copying it copies
/// nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    lock: &'a RobustCell,
    cells: &'a [RobustCell],
}

/// In the lock's data: how many cells, from the first on, may be in use. Whoever sleeps watches
/// only these.
const USED: usize = 0;
/// In the lock's data: the last ticket that was given. It wraps after 2^64.
const TICKETS: usize = 1;

/// In a member's fields: its role, a number of the object's choice.
const ROLE: usize = 0;
/// In a member's fields: 1 if it was woken since it last looked.
const SIGNAL: usize = 1;
/// In a member's data: its ticket, given by `join`.
const TICKET: usize = 0;
/// In a member's data: a number for the object.
const VALUE: usize = 1;

/// Time that a call waits for the table's lock, even if its own deadline is shorter: 5 seconds.
/// Others hold it for microseconds, unless they are stopped or mean no good. After that the call
/// goes on as if the lock were not free.
const SHORT_LOCK_TIMEOUT: std::time::Duration =
    std::time::Duration::from_micros(if cfg!(multiproc_fuzz) { 50 } else { 5_000_000 });

/// Number of cells that a sleeper watches beside its own signal: `futex_waitv(2)` takes 128 words.
const WATCHED: usize = futex::MAX_WORDS - 1;

/// Time that a sleeper sleeps at once if it cannot watch all others, because there are too many or
/// the kernel has no `futex_waitv(2)` (before Linux 5.16). Then nobody wakes it for a death; it
/// looks again by itself.
const ROUND: std::time::Duration = std::time::Duration::from_millis(100);

/// The table is full, or this thread holds as much as a thread can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Why a thread that waits could not look at the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// Somebody held the lock on until the deadline.
    Locked,
    /// Neither a free cell nor room in this thread's robust list.
    Full,
}

impl<'a> Members<'a> {
    /// Takes a lock and cells as a table. All zero is an empty one.
    pub(crate) fn new(lock: &'a RobustCell, cells: &'a [RobustCell]) -> Members<'a> {
        Members { lock, cells }
    }

    /// Locks the table. Returns `None` if somebody holds it on.
    ///
    /// A free lock is taken whatever the deadline, and a busy one is waited for at least
    /// `SHORT_LOCK_TIMEOUT`: a call with a deadline of now asks whether the *object* is free, and
    /// must not fail because somebody else looks at the table at this instant. A table whose last
    /// holder died is taken like any other, as each state of it is a valid one.
    pub(crate) fn enter(self, deadline: Deadline) -> Option<Entered<'a>> {
        // Mostly it is free: then nobody needs the time.
        match mutex::lock(self.lock, Deadline::now()) {
            Ok(_) => return Some(Entered { members: self }),
            Err(NotTaken::Own) => return None,
            Err(NotTaken::Busy) => {}
        }
        // The later of the two deadlines.
        let patient = Deadline::after(SHORT_LOCK_TIMEOUT);
        let deadline = match (deadline.left(), patient.left()) {
            (Some(left), Some(least)) if left < least => patient,
            // Fuzzers write owners there who never come.
            _ if cfg!(multiproc_fuzz) => patient,
            _ => deadline,
        };
        match mutex::lock(self.lock, deadline) {
            // What a dead owner left is in order at any moment.
            Ok(_) => Some(Entered { members: self }),
            Err(NotTaken::Busy | NotTaken::Own) => None,
        }
    }

    /// The number of cells to look at. Another process may have written nonsense there, so it is
    /// never more than there are.
    fn used(self) -> usize {
        usize::try_from(self.lock.data[USED].load(Ordering::Relaxed))
            .unwrap_or(usize::MAX)
            .min(self.cells.len())
    }

    fn cell(self, place: usize) -> &'a RobustCell {
        &self.cells[place]
    }

    /// Takes a member out without the table's lock, for when that is not to be had, and wakes all
    /// who watch it. Returns whether the cell was in this thread's list.
    ///
    /// The last resort: without the lock nothing else may change, so the others find the cell empty
    /// and decide what that means when they look.
    pub(crate) fn resign(self, place: usize) -> bool {
        let cell = self.cell(place);
        robust::begin(cell);
        let was_own = remove(cell);
        // Those who watch the cell see it empty and look at the table, once its lock is free again.
        futex::wake(&cell.word, u32::MAX);
        robust::end();
        was_own
    }

    /// Has all who sleep look again, without the table's lock: for a member that is to be called
    /// off. To be woken for nothing harms nobody.
    #[cfg(feature = "async")]
    pub(crate) fn stir(self) {
        for place in 0..self.used() {
            let signal = &self.cell(place).fields[SIGNAL];
            signal.store(1, Ordering::Release);
            futex::wake(signal, 1);
        }
    }

    /// Calls `attempt` with the locked table until it breaks, and sleeps in between as a member
    /// with the role `waits` and the given `value`.
    ///
    /// `attempt` gets the place of that member, once there is one; when it breaks, it gives the
    /// member another role or takes it out.
    ///
    /// 1. Lock the table, try.
    /// 2. If there is nothing to be had, become a member (once).
    /// 3. Note what the others' cells look like.
    /// 4. Unlock.
    /// 5. Sleep until signalled, until one of the noted cells changes, or until `deadline`.
    ///
    /// Whatever happens between 4 and 5 is a change of a word that step 5 compares, so no wake-up
    /// is lost. Killed in 5, its cell tells the others.
    ///
    /// `attempt` must look at the deadline itself: it is called once more after it is over.
    pub(crate) fn wait_for<T>(
        self,
        waits: u32,
        value: u64,
        deadline: Deadline,
        mut attempt: impl FnMut(Entered<'a>, Option<usize>) -> ControlFlow<T, Entered<'a>>,
    ) -> Result<T, Missed> {
        let mut own = None;
        loop {
            let Some(entered) = self.enter(deadline) else {
                own.map(|place| self.resign(place));
                return Err(Missed::Locked);
            };
            let entered = match attempt(entered, own) {
                ControlFlow::Break(end) => return Ok(end),
                ControlFlow::Continue(entered) => entered,
            };
            let place = match own {
                Some(place) => place,
                None => entered.join(waits, value).map_err(|Full| Missed::Full)?,
            };
            own = Some(place);
            // Under the lock: what changes later has another value than what is noted here.
            let watch = entered.watch(place);
            // Dropped before the sleep, or nobody could change anything.
            drop(entered);
            self.sleep(place, &watch, deadline);
        }
    }

    /// Sleeps until the member at `place` is woken, another member dies, `deadline` is over, or for
    /// no reason: the caller has to look again.
    ///
    /// `watch` was made when the table was last locked. If the kernel cannot wait for several words
    /// at once, it sleeps for `ROUND` on its own signal only.
    pub(crate) fn sleep(self, place: usize, watch: &Watch, deadline: Deadline) {
        if watch.is_outdated {
            return;
        }
        // The own signal first, so that it is watched even if there are too many words.
        let signal = &self.cell(place).fields[SIGNAL];
        let mut words: Vec<(&AtomicU32, u32)> = vec![(signal, 0)];
        words.extend(watch.values.iter().enumerate().filter(|(other, _)| *other != place).map(
            |(other, value)| {
                let word: &AtomicU32 = &self.cell(other).word;
                (word, *value)
            },
        ));
        let round = deadline.within_next(ROUND);
        let until = if watch.is_complete { deadline } else { round };
        // A kernel that cannot wait for several words: the own signal alone, and a look from time
        // to time.
        if !futex::wait_any(&words, until) {
            futex::wait(signal, 0, round);
        }
    }
}

/// The words of the other cells as a sleeper saw them before it unlocked the table. If one of them
/// has another value when the sleep begins, it does not begin.
#[derive(Debug)]
pub(crate) struct Watch {
    values: Vec<u32>,
    /// All others are watched: a death needs no regular look.
    is_complete: bool,
    /// Somebody was dead already: look again instead of sleeping.
    is_outdated: bool,
}

/// The locked table. Dropping it unlocks it; a panic in between does, too.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    members: Members<'a>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        mutex::unlock(self.members.lock);
    }
}

/// A living or dead member as it was read; its role, ticket and value do not follow later changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) place: usize,
    pub(crate) role: u32,
    pub(crate) ticket: u64,
    pub(crate) value: u64,
    cell: &'a RobustCell,
}

impl<'a> Entered<'a> {
    /// Returns a word that the object keeps beside the table; a barrier's says that it is broken.
    pub(crate) fn flag(&self) -> &'a AtomicU32 {
        &self.members.lock.fields[0]
    }

    /// Iterates over the living members, in the order of their places. Call `remove_dead` before: a
    /// dead one is skipped here, but what its death means has not been done.
    pub(crate) fn living(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        // Read once: other members may die meanwhile, but nobody joins or leaves while the table is
        // locked.
        let members = self.members;
        (0..members.used()).filter_map(move |place| {
            let cell = members.cell(place);
            let word = cell.word.load(Ordering::Acquire);
            (word & OWNER != 0).then(|| member(place, cell))
        })
    }

    /// Removes the dead members, if there are any, after `settle` did what their death means.
    ///
    /// 1. Collect the cells that the kernel marked.
    /// 2. `settle` wakes and changes the living.
    /// 3. The cells become free.
    ///
    /// The cells come last: if this process is killed in 2, the next one finds the same dead and
    /// calls `settle` again, so `settle` has to be such that doing it twice does no harm (poison
    /// once more, wake once more).
    ///
    /// The kernel wakes one sleeper for each death, and that may be the same one for several:
    /// `settle` wakes all who may go on.
    pub(crate) fn remove_dead(&self, settle: impl FnOnce(&[Member<'a>])) {
        // The number of cells is read once: nobody joins while the table is locked.
        let members = self.members;
        let dead: Vec<Member<'a>> = (0..members.used())
            .filter_map(|place| {
                let cell = members.cell(place);
                is_dead(cell.word.load(Ordering::Acquire)).then(|| member(place, cell))
            })
            .collect();
        if dead.is_empty() {
            return;
        }
        // The dead stay in the table until `settle` is done: a death here has it done again by the
        // next one.
        settle(&dead);
        for member in &dead {
            member.cell.word.store(0, Ordering::Release);
        }
        self.shrink();
    }

    /// Takes empty cells off the end of `USED`, since a sleeper can watch only so many. One store;
    /// a number that is too high only costs time.
    fn shrink(&self) {
        let members = self.members;
        let used = members.used();
        let is_empty = |place: &usize| members.cell(*place).word.load(Ordering::Relaxed) == 0;
        let left = used - (0..used).rev().take_while(is_empty).count();
        if left < used {
            members.lock.data[USED].store(left as u64, Ordering::Relaxed);
        }
    }

    /// Makes this thread a member; returns the place of its cell.
    ///
    /// # Errors
    /// `Full`: all cells are taken, or this thread's robust list is at its limit.
    ///
    /// 1. Find a free cell and write its role, ticket and value: nobody reads these while the word
    ///    is 0.
    /// 2. If the cell lies beyond `USED`, wake the others, as they do not watch it.
    /// 3. Announce it, write the thread's number, put it into the robust list, take the
    ///    announcement back (see `mutex::lock_as`).
    /// 4. Extend `USED`.
    ///
    /// Killed before 3, nothing has changed but a free cell. Killed between 3 and 4, the kernel
    /// marks a cell beyond `USED`: nobody counts it, and the search for a free cell skips it until
    /// somebody extends `USED` past it and removes it as dead.
    pub(crate) fn join(&self, role: u32, value: u64) -> Result<usize, Full> {
        let members = self.members;
        if robust::is_full() {
            return Err(Full);
        }
        let used = members.used();
        // Also beyond `used`, somebody may be who is dying on the way in, and whom the kernel is
        // about to mark.
        let is_free = |cell: &RobustCell| cell.word.load(Ordering::Acquire) == 0;
        let place = members.cells.iter().position(is_free).ok_or(Full)?;
        let cell = members.cell(place);
        // A ticket is used up even if this thread is killed before it is a member: only the order
        // counts.
        let tickets = &members.lock.data[TICKETS];
        let ticket = tickets.load(Ordering::Relaxed).wrapping_add(1);
        tickets.store(ticket, Ordering::Relaxed);
        // `Relaxed`, as the word's `Release` below comes after all of them.
        cell.fields[ROLE].store(role, Ordering::Relaxed);
        cell.fields[SIGNAL].store(0, Ordering::Relaxed);
        cell.data[TICKET].store(ticket, Ordering::Relaxed);
        cell.data[VALUE].store(value, Ordering::Relaxed);
        if place >= used {
            // Who sleeps does not watch this cell yet.
            self.living().for_each(Member::wake);
        }
        robust::begin(cell);
        // With `WAITERS`, so that the kernel wakes one of those who watch.
        cell.word.store(robust::tid() | WAITERS, Ordering::Release);
        // Owned, so the link in the cell is ours.
        robust::enlist(cell);
        robust::end();
        if place >= used {
            members.lock.data[USED].store(place as u64 + 1, Ordering::Relaxed);
        }
        Ok(place)
    }

    /// Takes this thread's member out. Returns whether the cell was in this thread's list: a forked
    /// copy has only the copy of a guard, and must not take out its original's member.
    ///
    /// The caller has woken those who may go on then. Killed in between, the thread is a dead
    /// member, which gives the same to whoever looks.
    pub(crate) fn leave(&self, place: usize) -> bool {
        let cell = self.members.cell(place);
        robust::begin(cell);
        let was_own = remove(cell);
        robust::end();
        // The last cell in use: the sleepers have fewer to watch.
        if was_own && place + 1 == self.members.used() {
            self.shrink();
        }
        was_own
    }

    /// Reads the member at `place`, which is this thread's.
    pub(crate) fn own(&self, place: usize) -> Member<'a> {
        member(place, self.members.cell(place))
    }

    /// Prepares to sleep: clears the own signal, and notes the words of the others. Under the
    /// table's lock, so that a signal of before is not lost: whoever signals holds the lock, too.
    pub(crate) fn watch(&self, place: usize) -> Watch {
        let members = self.members;
        members.cell(place).fields[SIGNAL].store(0, Ordering::Relaxed);
        let used = members.used();
        let values: Vec<u32> = (0..used.min(WATCHED))
            .map(|other| members.cell(other).word.load(Ordering::Acquire))
            .collect();
        let is_outdated = values.iter().any(|value| is_dead(*value));
        Watch { values, is_complete: used <= WATCHED, is_outdated }
    }
}

/// Takes a cell out of this thread's list and frees its word. To be called between `robust::begin`
/// and `end`, so that a death in between is seen.
fn remove(cell: &RobustCell) -> bool {
    // It may be this thread's by another mapping of the same memory: then the kernel knows it by
    // that one's address.
    let was_listed = robust::delist(cell);
    if was_listed && mutex::is_own(cell) {
        cell.word.store(0, Ordering::Release);
    }
    was_listed
}

/// Returns `true` if the kernel marked the word and nobody has removed the member yet.
fn is_dead(word: u32) -> bool {
    word & OWNER == 0 && word & OWNER_DIED != 0
}

fn member(place: usize, cell: &RobustCell) -> Member<'_> {
    Member {
        place,
        role: cell.fields[ROLE].load(Ordering::Relaxed),
        ticket: cell.data[TICKET].load(Ordering::Relaxed),
        value: cell.data[VALUE].load(Ordering::Relaxed),
        cell,
    }
}

impl Member<'_> {
    /// Returns `true` if the member is this thread's.
    pub(crate) fn is_own(self) -> bool {
        mutex::is_own(self.cell)
    }

    /// Sets its value: one store, visible to whoever locks the table next.
    pub(crate) fn set_value(self, value: u64) {
        self.cell.data[VALUE].store(value, Ordering::Relaxed);
    }

    /// Sets its role: one store. Wake it before, see the top.
    pub(crate) fn set_role(self, role: u32) {
        self.cell.fields[ROLE].store(role, Ordering::Relaxed);
    }

    /// Wakes it, if it sleeps: stores 1 into its signal, then calls the kernel. A member that is
    /// about to sleep finds the signal changed, and does not. Call it before the change that it is
    /// woken for: see the top.
    pub(crate) fn wake(self) {
        let signal = &self.cell.fields[SIGNAL];
        signal.store(1, Ordering::Release);
        futex::wake(signal, 1);
    }
}
