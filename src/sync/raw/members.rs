//! Describes who holds or waits for something, so that the others hear of a death.
//!
//! An object has a lock for its own short use and a table of members. A thread that holds a permit,
//! reads, or waits has a cell of the table, and the kernel marks the cell if the thread dies. What
//! is held is nowhere else than in these cells: no count can get out of step with them, and a
//! thread that dies while it changes the table leaves nothing to repair.
//!
//! A member that sleeps watches the cells of all others besides its own signal: the kernel wakes
//! one of the sleepers for each death, and that one looks what the death means. If it dies itself
//! before, its own cell wakes the next.
//!
//! A thread may die between changing the table and waking those whom the change is for, and nobody
//! would wake them then. So the order is always: wake first, change then. Who is woken waits for
//! the lock, and looks at the table when the change is made, or when the one who would have made it
//! is dead.

use std::ops::ControlFlow;

use super::mutex::{self, NotTaken};
use super::platform::{
    AtomicU32, Deadline, OWNER, OWNER_DIED, Ordering, RobustCell, WAITERS, futex, robust,
};

/// A table of members with the lock in front of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    lock: &'a RobustCell,
    cells: &'a [RobustCell],
}

/// Of the lock's data: so many cells were ever in use.
const USED: usize = 0;
/// Of the lock's data: the last ticket given.
const TICKETS: usize = 1;
/// Of the lock's data: for the object.
const OBJECT: usize = 2;

/// Of a member's fields: what it is, a number of the object's choice.
const ROLE: usize = 0;
/// Of a member's fields: 1 if it was woken.
const SIGNAL: usize = 1;
/// Of a member's data: the order of coming.
const TICKET: usize = 0;
/// Of a member's data: for the object.
const VALUE: usize = 1;

/// Sets how long a lock for short use may be held by somebody who has no reason to, before we go on
/// as if it were not free.
const SHORT_LOCK_TIMEOUT: std::time::Duration =
    std::time::Duration::from_micros(if cfg!(multiproc_fuzz) { 50 } else { 5_000_000 });

/// Sets how many cells a sleeper can watch beside its own signal.
const WATCHED: usize = futex::MAX_WORDS - 1;

/// Sets how long a sleeper sleeps that cannot watch all others.
const ROUND: std::time::Duration = std::time::Duration::from_millis(100);

/// The table is full, or this thread holds as much as a thread can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Why one who waits did not get as far as to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// Somebody held the lock on until the deadline.
    Locked,
    /// There was no place to wait in.
    Full,
}

impl<'a> Members<'a> {
    pub(crate) fn new(lock: &'a RobustCell, cells: &'a [RobustCell]) -> Members<'a> {
        Members { lock, cells }
    }

    /// Locks the table, however short the deadline, for others hold it only for moments; `None` if
    /// somebody holds it on.
    pub(crate) fn enter(self, deadline: Deadline) -> Option<Entered<'a>> {
        // Mostly it is free: then nobody needs the time.
        match mutex::lock(self.lock, Deadline::now()) {
            Ok(_) => return Some(Entered { members: self }),
            Err(NotTaken::Own) => return None,
            Err(NotTaken::Busy) => {}
        }
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

    /// The number that the object keeps beside the table.
    pub(crate) fn object(self) -> u64 {
        self.lock.data[OBJECT].load(Ordering::Acquire)
    }

    fn used(self) -> usize {
        usize::try_from(self.lock.data[USED].load(Ordering::Relaxed))
            .unwrap_or(usize::MAX)
            .min(self.cells.len())
    }

    fn cell(self, place: usize) -> &'a RobustCell {
        &self.cells[place]
    }

    /// Takes a member out without the lock, for when that is not to be had, and wakes all who watch
    /// it. Whether it was this thread's.
    pub(crate) fn resign(self, place: usize) -> bool {
        let cell = self.cell(place);
        robust::begin(cell);
        let was_own = remove(cell);
        futex::wake(&cell.word, u32::MAX);
        robust::end();
        was_own
    }

    /// Calls `attempt` with the table until it comes to an end, and sleeps in between as a member
    /// that `waits`. `attempt` gets the place of that member, once there is one; at its end, it
    /// does with it as is right.
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
            let watch = entered.watch(place);
            drop(entered);
            self.sleep(place, &watch, deadline);
        }
    }

    /// Sleeps until the member at `place` is woken, another member dies, the deadline is there, or
    /// for no reason.
    ///
    /// `watch` is of the time when the table was last locked.
    pub(crate) fn sleep(self, place: usize, watch: &Watch, deadline: Deadline) {
        if watch.is_outdated {
            return;
        }
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
        if !futex::wait_any(&words, until) {
            futex::wait(signal, 0, round);
        }
    }
}

/// Describes what the cells of the others looked like when a sleeper let go of the lock.
#[derive(Debug)]
pub(crate) struct Watch {
    values: Vec<u32>,
    /// All others are in it.
    is_complete: bool,
    /// Somebody died meanwhile.
    is_outdated: bool,
}

/// The table, locked.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    members: Members<'a>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        mutex::unlock(self.members.lock);
    }
}

/// A living member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) place: usize,
    pub(crate) role: u32,
    pub(crate) ticket: u64,
    pub(crate) value: u64,
    cell: &'a RobustCell,
}

impl<'a> Entered<'a> {
    /// The number that the object keeps beside the table.
    pub(crate) fn object(&self) -> u64 {
        self.members.object()
    }

    pub(crate) fn set_object(&self, number: u64) {
        self.members.lock.data[OBJECT].store(number, Ordering::Release);
    }

    /// A flag that the object keeps beside the table.
    pub(crate) fn flag(&self) -> &'a AtomicU32 {
        &self.members.lock.fields[0]
    }

    /// All living members. Call `remove_dead` before.
    pub(crate) fn living(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let members = self.members;
        (0..members.used()).filter_map(move |place| {
            let cell = members.cell(place);
            let word = cell.word.load(Ordering::Acquire);
            (word & OWNER != 0).then(|| member(place, cell))
        })
    }

    /// Removes the dead members, if there are any, after `settle` did what their death means.
    ///
    /// The kernel wakes one sleeper for each death, and that may be the same one for several: wake
    /// all who may go on. If this process dies meanwhile, `settle` is called again by the next.
    pub(crate) fn remove_dead(&self, settle: impl FnOnce(&[Member<'a>])) {
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
        settle(&dead);
        for member in &dead {
            member.cell.word.store(0, Ordering::Release);
        }
        self.shrink();
    }

    /// Forgets places at the end that are empty: whoever sleeps can watch only so many.
    fn shrink(&self) {
        let members = self.members;
        let used = members.used();
        let is_empty = |place: &usize| members.cell(*place).word.load(Ordering::Relaxed) == 0;
        let left = used - (0..used).rev().take_while(is_empty).count();
        if left < used {
            members.lock.data[USED].store(left as u64, Ordering::Relaxed);
        }
    }

    /// Makes this thread a member; gives its place.
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
        let tickets = &members.lock.data[TICKETS];
        let ticket = tickets.load(Ordering::Relaxed).wrapping_add(1);
        tickets.store(ticket, Ordering::Relaxed);
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
        robust::enlist(cell);
        robust::end();
        if place >= used {
            members.lock.data[USED].store(place as u64 + 1, Ordering::Relaxed);
        }
        Ok(place)
    }

    /// Gives this thread's member at `own` another role, or makes it a member if it is none; gives
    /// its place.
    pub(crate) fn take_role(
        &self,
        own: Option<usize>,
        role: u32,
        value: u64,
    ) -> Result<usize, Full> {
        let Some(place) = own else { return self.join(role, value) };
        self.own(place).set_role(role);
        Ok(place)
    }

    /// Takes this thread's member out, after it woke those who may go on then. Whether it was this
    /// thread's.
    pub(crate) fn leave(&self, place: usize) -> bool {
        let cell = self.members.cell(place);
        robust::begin(cell);
        let was_own = remove(cell);
        robust::end();
        if was_own && place + 1 == self.members.used() {
            self.shrink();
        }
        was_own
    }

    /// The member at a place of this thread.
    pub(crate) fn own(&self, place: usize) -> Member<'a> {
        member(place, self.members.cell(place))
    }

    /// Prepares to sleep: what to watch once the lock is let go of.
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

/// Between `robust::begin` and `end`.
fn remove(cell: &RobustCell) -> bool {
    // It may be this thread's by another mapping of the same memory: then the kernel knows it by
    // that one's address.
    let was_listed = robust::delist(cell);
    if was_listed && mutex::is_own(cell) {
        cell.word.store(0, Ordering::Release);
    }
    was_listed
}

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
    /// Returns whether it is of this thread.
    pub(crate) fn is_own(self) -> bool {
        mutex::is_own(self.cell)
    }

    pub(crate) fn set_value(self, value: u64) {
        self.cell.data[VALUE].store(value, Ordering::Relaxed);
    }

    pub(crate) fn set_role(self, role: u32) {
        self.cell.fields[ROLE].store(role, Ordering::Relaxed);
    }

    /// Wakes it, if it sleeps. Before the change that it is woken for: see the top.
    pub(crate) fn wake(self) {
        let signal = &self.cell.fields[SIGNAL];
        signal.store(1, Ordering::Release);
        futex::wake(signal, 1);
    }
}
