//! What the kernel does with locks whose owner dies.

use std::ptr;
use std::sync::atomic::Ordering;

use super::futex;
use crate::sys::atomic::{AtomicU32, Locked};
use crate::world::{End, process, step};

#[derive(Debug)]
pub(crate) struct RobustCell {
    pub(crate) word: AtomicU32,
    pub(crate) fields: [AtomicU32; 5],
    pub(crate) data: [Locked; 3],
}

impl RobustCell {
    pub(crate) fn new() -> RobustCell {
        RobustCell {
            word: AtomicU32::new(0),
            fields: std::array::from_fn(|_| AtomicU32::new(0)),
            data: std::array::from_fn(|_| Locked::new()),
        }
    }
}

pub(crate) const WAITERS: u32 = 0x8000_0000;
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
pub(crate) const OWNER: u32 = 0x3fff_ffff;

/// The process that asks: it is looked up each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own;

pub(crate) fn own() -> Own {
    Own
}

impl Own {
    pub(crate) fn tid(self) -> u32 {
        tid()
    }

    pub(crate) fn pid(self) -> u32 {
        pid()
    }

    pub(crate) fn is_full(self) -> bool {
        is_full()
    }

    pub(crate) fn begin(self, cell: &RobustCell) {
        begin(cell);
    }

    pub(crate) fn end(self) {
        end();
    }

    pub(crate) fn enlist(self, cell: &RobustCell) {
        enlist(cell);
    }

    pub(crate) fn delist(self, cell: &RobustCell) -> bool {
        delist(cell)
    }
}

pub(crate) fn tid() -> u32 {
    process(|process| process.tid.get())
}

pub(crate) fn pid() -> u32 {
    tid()
}

pub(crate) fn is_full() -> bool {
    false
}

pub(crate) fn begin(cell: &RobustCell) {
    if step() {
        process(|process| process.pending.set(cell));
    }
}

pub(crate) fn end() {
    if step() {
        process(|process| process.pending.set(ptr::null()));
    }
}

pub(crate) fn enlist(cell: &RobustCell) {
    if step() {
        process(|process| process.held.borrow_mut().push(cell));
    }
}

pub(crate) fn delist(cell: &RobustCell) -> bool {
    if !step() {
        return false;
    }
    process(|process| {
        let mut held = process.held.borrow_mut();
        let before = held.len();
        held.retain(|other| !ptr::eq(*other, cell));
        held.len() < before
    })
}

/// What the kernel does at the death of a process.
pub(crate) fn walk_list() -> End {
    let (held, pending) = process(|process| (process.held.take(), process.pending.get()));
    let listed = held.into_iter().rev().filter(|cell| *cell != pending).map(|cell| (cell, false));
    let last = Some((pending, true)).filter(|_| !pending.is_null());
    // SAFETY: cells of objects that outlive their processes.
    let cells: Vec<(&RobustCell, bool)> =
        listed.chain(last).map(|(cell, last)| (unsafe { &*cell }, last)).collect();
    let members = cells.iter().filter(|(cell, _)| is_member(cell, &cells)).count();
    let marked = cells.iter().filter(|(cell, is_pending)| mark(cell, *is_pending)).count();
    End::Died { marked, members }
}

/// Whether a cell is that of a member (of an object that gives them the value 0) who has joined and
/// not left yet.
fn is_member(cell: &RobustCell, all: &[(&RobustCell, bool)]) -> bool {
    let is_own = |cell: &RobustCell| cell.word.0.load(Ordering::SeqCst) & OWNER == tid();
    // A member has a ticket. A table's lock has two numbers, how many places are used and the last
    // ticket; others have none.
    let [ticket, rest, _] = &cell.data;
    if !is_own(cell) || ticket.peek() == 0 || rest.peek() != 0 {
        return false;
    }
    let table =
        all.iter().map(|(cell, _)| *cell).find(|cell| is_own(cell) && cell.data[1].peek() != 0);
    table.is_none_or(|table| {
        let distance = ptr::from_ref(cell).addr() - ptr::from_ref(table).addr();
        (distance / size_of::<RobustCell>()) as u64 <= table.data[0].peek()
    })
}

/// `handle_futex_death` of the kernel.
fn mark(cell: &RobustCell, is_pending: bool) -> bool {
    let word = &cell.word.0;
    loop {
        let seen = word.load(Ordering::SeqCst);
        if is_pending && seen & OWNER == 0 {
            futex::wake_by_kernel(&cell.word, 1);
            return false;
        }
        if seen & OWNER != tid() {
            return false;
        }
        let marked = seen & WAITERS | OWNER_DIED;
        if word.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            if seen & WAITERS != 0 {
                futex::wake_by_kernel(&cell.word, 1);
            }
            return true;
        }
    }
}
