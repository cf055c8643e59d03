//! The robust list of a thread: locks that the kernel looks after when their owner dies.
//!
//! A thread tells the kernel once where its list of held locks begins. When the thread ends,
//! however that happens, the kernel walks the list, and marks each lock that has the thread's
//! number as left by a dead owner and wakes one who waits for it.
//!
//! There is one list per thread, and the C library's robust mutexes are in it, too. Both share it
//! thus: two sentinels of ours, in this process's own memory, stand in the C library's list like
//! two of its mutexes that are held for ever. It changes only the outer sides of them, we only what
//! is between:
//!
//! ```text
//! head -> (the C library's) -> first -> our locks, the youngest first -> last
//!      -> (the C library's) -> head
//! ```
//!
//! The links of the list lie in the locks, so in memory that other processes may write to. We never
//! follow them: which locks this thread holds, and in which order, is in a record of ours.
//!
//! Whoever unmaps memory asks whether a list leads into it ([`leads_into`]), because a guard may
//! have been forgotten. So the records can be read by all threads: they lie on the heap, in a list
//! that only grows, and the record of a thread that has ended goes to the next new one.

use std::cell::Cell;
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
};

use super::list_head::{self, Head};
use crate::sys::memory::shared::Layout;
use crate::sys::per_process::Generation;

/// A word that the kernel marks when its owner dies, with the link that the list needs, in a cache
/// line of its own: 64 bytes.
///
/// The distance of the word from the link is the C library's (that of its mutexes), since there is
/// one for the whole list.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct RobustCell {
    #[cfg(target_env = "musl")]
    lead: AtomicU32,
    /// The number of the owner's thread; `WAITERS`; `OWNER_DIED`.
    pub(crate) word: AtomicU32,
    /// For the user of the cell.
    pub(crate) fields: [AtomicU32; FIELDS],
    /// Of the C library's form; we do not use it.
    previous: AtomicU64,
    next: AtomicU64,
    /// For the user of the cell.
    pub(crate) data: [AtomicU64; 3],
}

#[cfg(not(target_env = "musl"))]
const FIELDS: usize = 5;
#[cfg(target_env = "musl")]
const FIELDS: usize = 4;

const _: () = assert!(size_of::<RobustCell>() == 64 && offset_of!(RobustCell, next) == 32);

/// Distance of the word from the link, which the kernel wants to know.
const WORD_OFFSET: isize =
    offset_of!(RobustCell, word).cast_signed() - offset_of!(RobustCell, next).cast_signed();

// SAFETY: atomics only, `repr(C)`.
unsafe impl Layout for RobustCell {}

/// Of a word: threads sleep on it (`FUTEX_WAITERS`).
pub(crate) const WAITERS: u32 = 0x8000_0000;
/// Of a word: the kernel saw its owner die (`FUTEX_OWNER_DIED`).
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
/// Of a word: the number of the owner's thread.
pub(crate) const OWNER: u32 = 0x3fff_ffff;

/// The most locks that a thread may hold, of the `ROBUST_LIST_LIMIT` of 2048 that the kernel looks
/// at: the rest is for our sentinels, for locks inside of our own and for the C library's.
const MAX_HELD: usize = 1900;

/// As many as the kernel looks at.
const ROBUST_LIST_LIMIT: usize = 2048;

/// Number of locks that are held without memory from the allocator.
const INLINE: usize = 8;

/// The state of a thread's list. In this process's own memory, which no other can write to, and
/// never freed: the kernel walks it after the last instruction of the thread.
struct Thread {
    /// The record that was made before this one.
    older: *const Thread,
    /// The thread is about to end, and will not need the record once it has.
    is_ending: AtomicBool,
    /// The process that what follows is of: a forked copy holds nothing. Of the thread alone.
    generation: Cell<Option<Generation>>,
    /// Its number, as the kernel puts it into words.
    tid: AtomicU32,
    pid: Cell<u32>,
    /// The head that the C library registered; null if it has another form than we know.
    head: Cell<*const Head>,
    /// The sentinel in front of our locks.
    first: RobustCell,
    /// The sentinel behind them.
    last: RobustCell,
    /// The locks held, the oldest first: up to `INLINE` here, the younger ones in `many`. Only the
    /// thread writes them. Others read them who have heard from it that it will not release them
    /// any more (it has given up its handle), so `Relaxed` will do.
    count: AtomicUsize,
    few: [AtomicPtr<RobustCell>; INLINE],
    many: AtomicPtr<Many>,
}

/// The ninth and younger of the locks that a thread holds.
type Many = [AtomicPtr<RobustCell>; ROBUST_LIST_LIMIT - INLINE];

/// The youngest record.
static RECORDS: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

#[expect(clippy::declare_interior_mutable_const, reason = "a pattern of new cells")]
const SENTINEL: RobustCell = RobustCell {
    #[cfg(target_env = "musl")]
    lead: AtomicU32::new(0),
    word: AtomicU32::new(0),
    fields: [const { AtomicU32::new(0) }; FIELDS],
    previous: AtomicU64::new(0),
    next: AtomicU64::new(0),
    data: [const { AtomicU64::new(0) }; 3],
};

thread_local! {
    /// The record of this thread; null before it needs one. Never dropped: destructors of other
    /// values may take locks.
    static THREAD: Cell<*const Thread> = const { Cell::new(ptr::null()) };
    static END: End = const { End };
}

/// Dropped as the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: records are never freed.
        if let Some(record) = unsafe { THREAD.get().as_ref() } {
            record.is_ending.store(true, Ordering::Release);
        }
    }
}

/// This thread as one that holds locks. It stays in the thread (a raw pointer is not `Send`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own(*const Thread);

/// This thread, made ready in this process.
#[inline]
pub(crate) fn own() -> Own {
    let record = THREAD.get();
    // SAFETY: records are never freed.
    match unsafe { record.as_ref() } {
        Some(thread) if thread.is_ready() => Own(record),
        _ => attach(),
    }
}

/// Makes a record ready for this thread in this process.
#[cold]
fn attach() -> Own {
    let mut record = THREAD.get();
    if record.is_null() {
        record = take_over().unwrap_or_else(add_record);
        THREAD.set(record);
        // A thread that is past this destructor keeps its record for ever.
        let _ = END.try_with(|_| {});
    }
    // SAFETY: records are never freed, and this one is of this thread alone.
    unsafe { &*record }.prepare(Generation::current());
    Own(record)
}

/// Takes the record of a thread that has ended.
///
/// The kernel walks the list of a thread before its number is gone; until then, the record stays as
/// it is.
fn take_over() -> Option<*const Thread> {
    records().find_map(|record| {
        let claimed =
            record.is_ending.compare_exchange(true, false, Ordering::Acquire, Ordering::Relaxed);
        claimed.ok()?;
        if is_gone(record.tid.load(Ordering::Relaxed)) {
            return Some(ptr::from_ref(record));
        }
        record.is_ending.store(true, Ordering::Release);
        None
    })
}

/// Makes a new record and puts it into the list.
fn add_record() -> *const Thread {
    let record = Box::leak(Box::new(Thread {
        older: ptr::null(),
        is_ending: AtomicBool::new(false),
        generation: Cell::new(None),
        tid: AtomicU32::new(0),
        pid: Cell::new(0),
        head: Cell::new(ptr::null()),
        first: SENTINEL,
        last: SENTINEL,
        count: AtomicUsize::new(0),
        few: [const { AtomicPtr::new(ptr::null_mut()) }; INLINE],
        many: AtomicPtr::new(ptr::null_mut()),
    }));
    let mut youngest = RECORDS.load(Ordering::Acquire);
    loop {
        record.older = youngest;
        match RECORDS.compare_exchange(youngest, record, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return record,
            Err(seen) => youngest = seen,
        }
    }
}

/// All records, the youngest first.
fn records() -> impl Iterator<Item = &'static Thread> {
    // SAFETY: records are never freed, and their links do not change once they are in the list.
    let follow = |record: *const Thread| unsafe { record.as_ref() };
    let youngest = follow(RECORDS.load(Ordering::Acquire));
    std::iter::successors(youngest, move |record| follow(record.older))
}

/// Returns `true` if no thread of this process has the number.
fn is_gone(tid: u32) -> bool {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: signal 0 is none; the kernel only looks the thread up.
    let found = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) };
    found != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// Returns `true` if the kernel may follow the list of a thread into this memory, because a guard
/// was forgotten there: then it has to stay mapped.
pub(crate) fn leads_into(memory: Range<usize>) -> bool {
    records().any(|record| {
        let leads = record.holds_in(&memory);
        // What a thread held that has ended is of the past.
        leads && !is_gone(record.tid.load(Ordering::Relaxed))
    })
}

/// Returns `true` if the list of this thread works.
fn has_list() -> bool {
    !own().thread().head.get().is_null()
}

/// An error if this thread cannot have robust locks here.
pub(crate) fn check() -> io::Result<()> {
    if has_list() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the C library of this process keeps its robust list in another form, or the kernel has \
         none",
    ))
}

/// [`Own::tid`] of this thread.
pub(crate) fn tid() -> u32 {
    own().tid()
}

/// [`Own::is_full`] of this thread.
pub(crate) fn is_full() -> bool {
    own().is_full()
}

/// [`Own::begin`] of this thread.
pub(crate) fn begin(cell: &RobustCell) {
    own().begin(cell);
}

/// [`Own::end`] of this thread.
pub(crate) fn end() {
    own().end();
}

/// [`Own::enlist`] of this thread.
pub(crate) fn enlist(cell: &RobustCell) {
    own().enlist(cell);
}

/// [`Own::delist`] of this thread.
pub(crate) fn delist(cell: &RobustCell) -> bool {
    own().delist(cell)
}

impl Own {
    /// The thread's own record.
    #[inline]
    fn thread<'a>(self) -> &'a Thread {
        // SAFETY: of this thread, as `Own` is not `Send`, and never freed.
        unsafe { &*self.0 }
    }

    /// The number by which the kernel knows this thread as an owner.
    #[inline]
    pub(crate) fn tid(self) -> u32 {
        self.thread().tid.load(Ordering::Relaxed)
    }

    /// The number of this thread's process, without asking the kernel.
    #[inline]
    pub(crate) fn pid(self) -> u32 {
        self.thread().pid.get()
    }

    /// Returns `true` if this thread holds as much as it may (`MAX_HELD`).
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.thread().count.load(Ordering::Relaxed) >= MAX_HELD
    }

    /// Begins to take or to leave a cell: if the thread dies from now on, the kernel looks at it
    /// whether it is in the list or not. Ends with `end`.
    #[inline]
    pub(crate) fn begin(self, cell: &RobustCell) {
        self.thread().set_pending(cell.link());
    }

    /// Ends what `begin` began.
    #[inline]
    pub(crate) fn end(self) {
        self.thread().set_pending(0);
    }

    /// Puts a cell that this thread has taken into its list.
    #[inline]
    pub(crate) fn enlist(self, cell: &RobustCell) {
        self.thread().push(cell);
    }

    /// Takes a cell out of this thread's list; whether it was in it.
    #[inline]
    pub(crate) fn delist(self, cell: &RobustCell) -> bool {
        self.thread().remove(cell)
    }
}

impl RobustCell {
    /// The address of its link, by which lists know it.
    #[inline]
    fn link(&self) -> usize {
        ptr::from_ref(&self.next).addr()
    }
}

impl Thread {
    /// Returns `true` if it was made ready in this process, and not in one that this is a copy of.
    #[inline]
    fn is_ready(&self) -> bool {
        self.generation.get().is_some_and(Generation::is_current)
    }

    /// Makes the thread ready in this process: its number, the head, the sentinels in the list.
    ///
    /// 1. Between the sentinels is nothing; `last` leads on to what the C library has in the list.
    /// 2. The C library's first mutex leads back to `last`.
    /// 3. One store: the head leads to `first`. Killed before it, the kernel walks the list as it
    ///    was.
    #[cold]
    fn prepare(&self, generation: Generation) {
        self.pid.set(crate::sys::per_process::pid());
        let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        self.tid.store(tid, Ordering::Relaxed);
        self.count.store(0, Ordering::Relaxed);
        self.last.next.store(0, Ordering::Relaxed);
        self.generation.set(Some(generation));
        let head = list_head::find(WORD_OFFSET);
        self.head.set(head);
        // SAFETY: null, or the head that this thread registered, in the C library's part of the
        // thread's own memory.
        let Some(head) = (unsafe { head.as_ref() }) else { return };
        // A forked copy holds none of its original's locks, and finds an empty list. What it has
        // put there since stays.
        let rest = head.first.get();
        self.last.next.store(rest as u64, Ordering::Relaxed);
        self.first.previous.store(ptr::from_ref(head).addr() as u64, Ordering::Relaxed);
        self.first.next.store(self.last.link() as u64, Ordering::Relaxed);
        if rest != ptr::from_ref(head).addr() {
            // SAFETY: the link of a mutex of the C library that this thread holds; the word before
            // a link is its way back (`__prev`), which the C library sets so itself when it puts a
            // mutex before another.
            unsafe { ((rest & !1) as *const AtomicU64).sub(1).as_ref() }
                .inspect(|previous| previous.store(self.last.link() as u64, Ordering::Relaxed));
        }
        compiler_fence(Ordering::SeqCst);
        head.first.set(self.first.link());
    }

    /// Announces a cell to the kernel, or nothing (0). The kernel reads it once, when the thread
    /// has ended.
    #[inline]
    fn set_pending(&self, link: usize) {
        // SAFETY: null, or the head of this thread (see `prepare`), which no other thread uses.
        if let Some(head) = unsafe { self.head.get().as_ref() } {
            compiler_fence(Ordering::SeqCst);
            // SAFETY: in a living cell of ours. Volatile: the kernel reads it.
            unsafe { head.pending.as_ptr().write_volatile(link) };
            compiler_fence(Ordering::SeqCst);
        }
    }

    /// Where the address of the held cell at a place of the order stands, the oldest being 0.
    fn slot(&self, place: usize) -> Option<&AtomicPtr<RobustCell>> {
        if let Some(few) = self.few.get(place) {
            return Some(few);
        }
        // SAFETY: null, or never freed.
        unsafe { self.many.load(Ordering::Acquire).as_ref() }?.get(place - INLINE)
    }

    /// The held cell at a place of the order.
    fn held(&self, place: usize) -> *const RobustCell {
        self.slot(place).map_or(ptr::null(), |slot| slot.load(Ordering::Relaxed))
    }

    /// Puts an address where `held` finds it.
    #[inline]
    fn set_held(&self, place: usize, cell: *const RobustCell) {
        if place == INLINE && self.many.load(Ordering::Relaxed).is_null() {
            self.make_room_for_many();
        }
        if let Some(slot) = self.slot(place) {
            slot.store(cell.cast_mut(), Ordering::Relaxed);
        }
    }

    #[cold]
    fn make_room_for_many(&self) {
        let many: Many = [const { AtomicPtr::new(ptr::null_mut()) }; ROBUST_LIST_LIMIT - INLINE];
        self.many.store(Box::leak(Box::new(many)), Ordering::Release);
    }

    /// Returns `true` if a lock that it holds lies in this memory.
    fn holds_in(&self, memory: &Range<usize>) -> bool {
        let count = self.count.load(Ordering::Relaxed).min(ROBUST_LIST_LIMIT);
        (0..count).any(|place| memory.contains(&self.held(place).addr()))
    }

    /// The link of what stands behind the held cell at `place`.
    fn behind(&self, place: usize) -> u64 {
        if place == 0 {
            return self.last.link() as u64;
        }
        // SAFETY: held cells are alive: their memory stays mapped, even if a guard was forgotten
        // (`leads_into`).
        unsafe { &*self.held(place - 1) }.link() as u64
    }

    /// Puts a cell in front of our locks.
    ///
    /// 1. Its link leads to the youngest one.
    /// 2. Our own record has it.
    /// 3. One store: `first` leads to it.
    ///
    /// Killed before 3, the list is as it was, and the announcement covers the cell.
    #[inline]
    fn push(&self, cell: &RobustCell) {
        if self.count.load(Ordering::Relaxed) != 0 {
            return self.push_before_others(cell);
        }
        cell.next.store(self.last.link() as u64, Ordering::Relaxed);
        self.few[0].store(ptr::from_ref(cell).cast_mut(), Ordering::Relaxed);
        self.lead_to(cell, 1);
    }

    /// `push`, for a thread that holds others, and perhaps this one.
    #[inline(never)]
    fn push_before_others(&self, cell: &RobustCell) {
        let count = self.count.load(Ordering::Relaxed);
        if (0..count).any(|place| ptr::eq(self.held(place), cell)) {
            return;
        }
        cell.next.store(self.behind(count), Ordering::Relaxed);
        self.set_held(count, cell);
        self.lead_to(cell, count + 1);
    }

    /// The last step of `push`.
    #[inline]
    fn lead_to(&self, cell: &RobustCell, count: usize) {
        self.count.store(count, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.first.next.store(cell.link() as u64, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Takes a cell out; mostly it is the only one.
    #[inline]
    fn remove(&self, cell: &RobustCell) -> bool {
        if self.count.load(Ordering::Relaxed) != 1
            || !ptr::eq(self.few[0].load(Ordering::Relaxed), cell)
        {
            return self.remove_any(cell);
        }
        self.first.next.store(self.last.link() as u64, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.count.store(0, Ordering::Relaxed);
        true
    }

    /// Takes any cell out: one store to the link of the one before it, then our own record moves
    /// up.
    #[inline(never)]
    fn remove_any(&self, cell: &RobustCell) -> bool {
        let count = self.count.load(Ordering::Relaxed);
        let Some(place) = (0..count).rev().find(|place| ptr::eq(self.held(*place), cell)) else {
            return false;
        };
        let before = match place + 1 < count {
            // SAFETY: as in `behind`.
            true => unsafe { &*self.held(place + 1) },
            false => &self.first,
        };
        before.next.store(self.behind(place), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        for later in place + 1..count {
            self.set_held(later - 1, self.held(later));
        }
        self.count.store(count - 1, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
#[path = "robust_tests.rs"]
mod tests;
