//! The state machine of a lock that many hold to read or one to write.
//!
//! A reader is a cell that has its number: nothing else, so readers share no word that they write
//! to, and a reader that dies leaves a cell that the kernel has marked. A writer holds a robust
//! mutex, so that there is one at the most, closes the gate, and waits until the cells are empty.
//!
//! # Reader and writer
//! ```text
//!  reader                               writer
//!  1. its number into a cell            1. the mutex
//!  2. is the gate open?                 2. close the gate
//!     yes: it reads                     3. is a number in a cell?
//!     no: empty the cell again,            no: it writes
//!         wait for the mutex               yes: sleep until that one is empty
//! ```
//! Each writes first and looks then, so at least one of the two sees the other. (The accesses are
//! sequentially consistent for that.) Whoever holds the mutex knows that nobody writes: so a reader
//! that found the gate closed takes the mutex, enters a cell, and gives the mutex back.
//!
//! # The gate
//! ```text
//!  OPEN      nobody writes or waits for readers
//!  CLOSING   a writer looks whether somebody reads; soon over
//!  DRAINING  a writer sleeps until the readers have left
//!  WRITING   a writer writes
//! ```
//! Only the holder of the mutex changes it. If the holder dies, the kernel passes the mutex on, and
//! the next one finds what its predecessor was at: a death while WRITING poisons the lock, any
//! other one does not. The gate of a dead holder is closed; readers that find it so wait for the
//! mutex, and whoever gets that opens the gate.
//!
//! # Who is woken
//! Those who wait for the mutex by its release or its holder's death. A writer that waits for
//! readers marks the cell of one after the other with `WAITERS` and sleeps on it: its reader wakes
//! it after leaving, and the kernel does if the reader dies, also between leaving and waking.

use super::fair;
use super::mutex::{self, NotTaken, Taken};
use super::platform::{
    AtomicU32, Deadline, OWNER, OWNER_DIED, Ordering, Own, RobustCell, SPINS, WAITERS, fence,
    futex, robust, spin, yield_now,
};

// In the fields of the mutex's cell.
const GATE: usize = 0;
/// The process that writes, or wrote last.
const WRITER: usize = 1;
/// 0, `DIED` or `PANICKED`.
const POISON: usize = 2;
/// The process that poisoned it.
const CULPRIT: usize = 3;

const OPEN: u32 = 0;
const CLOSING: u32 = 1;
const DRAINING: u32 = 2;
const WRITING: u32 = 3;

// In the fields of the second cell.
/// How many cells, from the first on, readers have been in.
const USED: usize = 0;
/// Somebody has waited for the mutex for long (`fair`).
const HURRY: usize = 1;

/// Number of cells that readers choose from by their own number; the others are for when these are
/// taken. A writer looks at as many as are in use, so they are few.
const CHOICE: usize = 16;

/// The writer died while it wrote.
pub(crate) const DIED: u32 = 1;
/// The writer panicked.
pub(crate) const PANICKED: u32 = 2;

/// Time for which a call that must not sleep looks at a gate that is about to change: 5 seconds.
/// It takes a microsecond, unless its holder is stopped or means no good.
const SHORT: std::time::Duration =
    std::time::Duration::from_micros(if cfg!(multiproc_fuzz) { 50 } else { 5_000_000 });

/// Why the lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Others had it until the deadline.
    Busy,
    /// This thread has it already and would wait for itself.
    Deadlock,
    /// Neither a free cell nor room in this thread's robust list.
    Full,
}

/// A view of the lock's cells: copying it copies nothing. All zero is a lock that nobody holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate<'a> {
    mutex: &'a RobustCell,
    shared: &'a RobustCell,
    readers: &'a [RobustCell],
}

impl<'a> Gate<'a> {
    /// Takes cells as a lock: two, and one for each thread that can read at the same time.
    pub(crate) fn new(cells: &'a [RobustCell]) -> Gate<'a> {
        Gate { mutex: &cells[0], shared: &cells[1], readers: &cells[2..] }
    }

    /// Takes the lock to read; returns the place of the reader's cell.
    pub(crate) fn read(self, deadline: Deadline) -> Result<usize, Refused> {
        let own = robust::own();
        if own.is_full() {
            return Err(Refused::Full);
        }
        for _ in 0..=SPINS {
            if self.state().load(Ordering::SeqCst) == OPEN {
                let place = self.claim(own)?;
                // Second look, with the cell taken: see "Reader and writer" at the top.
                fence();
                if self.state().load(Ordering::SeqCst) == OPEN {
                    return Ok(place);
                }
                release(own, &self.readers[place]);
            }
            if matches!(deadline, Deadline::Now) {
                break;
            }
            spin();
        }
        // A thread that reads already keeps writers out, so it need not wait for the one that waits
        // for it.
        if self.reads(own) {
            return self.claim(own);
        }
        // While this thread holds the mutex, nobody writes and nobody begins to.
        self.lock(own, deadline)?;
        let place = self.claim(own);
        mutex::unlock_as(own, self.mutex);
        place
    }

    /// Takes the lock to write.
    ///
    /// 1. Take the mutex.
    /// 2. Close the gate.
    /// 3. Wait until nobody reads.
    /// 4. Note the process, for whoever finds its death; then `WRITING`.
    ///
    /// Killed before 4, it has written nothing, and the next one opens the gate without poison.
    pub(crate) fn write(self, deadline: Deadline) -> Result<(), Refused> {
        let own = robust::own();
        if own.is_full() {
            return Err(Refused::Full);
        }
        self.lock(own, deadline)?;
        self.state().store(CLOSING, Ordering::SeqCst);
        fence();
        if let Err(why) = self.drain(own, deadline) {
            self.state().store(OPEN, Ordering::SeqCst);
            mutex::unlock_as(own, self.mutex);
            return Err(why);
        }
        self.mutex.fields[WRITER].store(own.pid(), Ordering::Relaxed);
        // Nobody looks for this one but the next owner, and those who only look.
        self.state().store(WRITING, Ordering::Release);
        Ok(())
    }

    /// Waits until the lock could be taken to write, and opens it again: `write` without its fourth
    /// step. Killed at any step, it has written nothing.
    #[cfg(feature = "async")]
    pub(crate) fn pass(self, deadline: Deadline) -> Result<(), Refused> {
        let own = robust::own();
        self.lock(own, deadline)?;
        self.state().store(CLOSING, Ordering::SeqCst);
        fence();
        let drained = self.drain(own, deadline);
        self.state().store(OPEN, Ordering::SeqCst);
        mutex::unlock_as(own, self.mutex);
        drained
    }

    /// Ends reading. A forked copy has only the copy of a guard, and changes nothing.
    pub(crate) fn end_reading(self, place: usize) {
        release(robust::own(), &self.readers[place]);
    }

    /// Ends writing, and poisons the lock if the writer panicked.
    ///
    /// 1. The poison: whoever comes next must find it.
    /// 2. The gate opens. Killed from here on, the writer had ended.
    /// 3. The mutex is free, and one who waits for it is woken.
    pub(crate) fn end_writing(self, panicked: bool) {
        let own = robust::own();
        // A forked copy of the guard, or somebody else has overwritten the word.
        if self.mutex.word.load(Ordering::Relaxed) & OWNER == own.tid() {
            if panicked {
                self.poison_by(PANICKED, own.pid());
            }
            self.state().store(OPEN, Ordering::Release);
        }
        mutex::unlock_as(own, self.mutex);
    }

    /// Returns how the lock was poisoned (`DIED`, `PANICKED`) and by which process.
    pub(crate) fn poison(self) -> Option<(u32, u32)> {
        match self.mutex.fields[POISON].load(Ordering::Relaxed) {
            0 => None,
            how => Some((how, self.mutex.fields[CULPRIT].load(Ordering::Relaxed))),
        }
    }

    /// Takes the poison back.
    pub(crate) fn clear_poison(self) {
        self.see_dead_writer();
        self.mutex.fields[POISON].store(0, Ordering::Relaxed);
    }

    /// Does what the death of a writer means, if one has died since somebody took the lock.
    pub(crate) fn see_dead_writer(self) {
        let word = self.mutex.word.load(Ordering::Relaxed);
        if word & OWNER == 0 && word & OWNER_DIED != 0 {
            let own = robust::own();
            if self.lock(own, Deadline::now()).is_ok() {
                mutex::unlock_as(own, self.mutex);
            }
        }
    }

    /// Returns how many read, and whether somebody writes. For display: both may have changed.
    pub(crate) fn holders(self) -> (usize, bool) {
        let reads = |cell: &&RobustCell| cell.word.load(Ordering::Relaxed) & OWNER != 0;
        let readers = self.readers[..self.used()].iter().filter(reads).count();
        let is_held = self.mutex.word.load(Ordering::Relaxed) & OWNER != 0;
        (readers, is_held && self.state().load(Ordering::Relaxed) == WRITING)
    }

    fn state(self) -> &'a AtomicU32 {
        &self.mutex.fields[GATE]
    }

    /// The number of cells to look at; another process may have written nonsense there.
    fn used(self) -> usize {
        let used = self.shared.fields[USED].load(Ordering::SeqCst);
        usize::try_from(used).unwrap_or(usize::MAX).min(self.readers.len())
    }

    fn poison_by(self, how: u32, pid: u32) {
        self.mutex.fields[CULPRIT].store(pid, Ordering::Relaxed);
        self.mutex.fields[POISON].store(how, Ordering::Relaxed);
    }

    /// Takes the mutex. A call that must not sleep looks on while the gate is about to change: it
    /// asks whether the lock is free, and must not fail because another looks at it as well.
    fn lock(self, own: Own, deadline: Deadline) -> Result<(), Refused> {
        let mut patience = None;
        loop {
            match fair::lock(own, self.mutex, &self.shared.fields[HURRY], deadline) {
                Ok(Taken::Clean) => return Ok(()),
                Ok(Taken::FromDead) => {
                    if self.state().load(Ordering::Relaxed) == WRITING {
                        self.poison_by(DIED, self.mutex.fields[WRITER].load(Ordering::Relaxed));
                    }
                    self.state().store(OPEN, Ordering::SeqCst);
                    return Ok(());
                }
                Err(NotTaken::Own) if matches!(deadline, Deadline::Now) => {
                    return Err(Refused::Busy);
                }
                Err(NotTaken::Own) => return Err(Refused::Deadlock),
                Err(NotTaken::Busy) => {}
            }
            let patience = *patience.get_or_insert_with(|| Deadline::after(SHORT));
            let state = self.state().load(Ordering::SeqCst);
            if matches!(state, DRAINING | WRITING) || patience.is_over() {
                return Err(Refused::Busy);
            }
            yield_now();
        }
    }

    /// Returns `true` if this thread reads.
    fn reads(self, own: Own) -> bool {
        let is_own = |cell: &RobustCell| cell.word.load(Ordering::SeqCst) & OWNER == own.tid();
        self.readers[..self.used()].iter().any(is_own)
    }

    /// Waits until nobody reads. The gate is closed: those who come enter a cell for a moment only,
    /// but for threads that read already. These enter the second cell before they leave the first,
    /// so a look at all cells that finds them empty is the end.
    fn drain(self, own: Own, deadline: Deadline) -> Result<(), Refused> {
        // First, as this thread's own cell would be waited for in vain.
        if self.reads(own) {
            let is_deadlock = !matches!(deadline, Deadline::Now);
            return Err(if is_deadlock { Refused::Deadlock } else { Refused::Busy });
        }
        let reads = |cell: &RobustCell| cell.word.load(Ordering::SeqCst) != 0;
        while let Some(reader) = self.readers[..self.used()].iter().find(|cell| reads(cell)) {
            self.wait_for_reader(reader, deadline)?;
        }
        Ok(())
    }

    /// Waits until a reader's cell is empty.
    fn wait_for_reader(self, cell: &RobustCell, deadline: Deadline) -> Result<(), Refused> {
        let word = &cell.word;
        let mut spins = SPINS;
        loop {
            let seen = word.load(Ordering::SeqCst);
            if seen == 0 {
                return Ok(());
            }
            if seen & OWNER == 0 {
                // What a dead reader has left. If another takes it meanwhile, look again.
                let _ = word.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::Relaxed);
                continue;
            }
            if deadline.is_over() {
                return Err(Refused::Busy);
            }
            if spins > 0 {
                spins -= 1;
                spin();
                continue;
            }
            self.state().store(DRAINING, Ordering::SeqCst);
            let marked = seen | WAITERS;
            if seen == marked
                || word.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                futex::wait(word, marked, deadline);
            }
        }
    }

    /// Writes this thread's number into a free cell; returns its place.
    ///
    /// 1. Extend `USED` over the cell, or a writer would not look there.
    /// 2. Announce it, write the number, put it into the robust list, take the announcement back
    ///    (see `mutex::lock_as`).
    ///
    /// What a dead reader has left is as good as empty; the kernel has woken the writer that slept
    /// there.
    fn claim(self, own: Own) -> Result<usize, Refused> {
        let count = self.readers.len();
        let choice = CHOICE.min(count);
        let first = own.tid() as usize % choice;
        for place in (first..choice).chain(0..first).chain(choice..count) {
            let cell = &self.readers[place];
            let seen = cell.word.load(Ordering::Relaxed);
            if seen & OWNER != 0 {
                continue;
            }
            raise(&self.shared.fields[USED], place + 1);
            own.begin(cell);
            let is_ours = cell
                .word
                .compare_exchange(seen, own.tid(), Ordering::SeqCst, Ordering::Relaxed)
                .is_ok();
            if is_ours {
                own.enlist(cell);
            }
            own.end();
            if is_ours {
                return Ok(place);
            }
        }
        Err(Refused::Full)
    }
}

/// Empties a cell of this thread's, and wakes the writer that waits for that.
///
/// Killed before the exchange, the thread is found by its number; between the exchange and the
/// wake-up, the announcement has the kernel wake one who sleeps on the word, and there is one at
/// the most.
fn release(own: Own, cell: &RobustCell) {
    own.begin(cell);
    if own.delist(cell)
        && cell.word.load(Ordering::Relaxed) & OWNER == own.tid()
        && cell.word.swap(0, Ordering::SeqCst) & WAITERS != 0
    {
        futex::wake(&cell.word, u32::MAX);
    }
    own.end();
}

/// Raises a word to `least`, if it is lower.
pub(super) fn raise(word: &AtomicU32, least: usize) {
    let least = u32::try_from(least).unwrap_or(u32::MAX);
    let mut seen = word.load(Ordering::SeqCst);
    while seen < least {
        match word.compare_exchange(seen, least, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
