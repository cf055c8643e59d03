//! The robust list of a thread: locks that the kernel looks after when their owner dies.
//!
//! A thread tells the kernel once where its list of held locks begins. When the thread ends,
//! however that happens, the kernel walks the list, and marks each lock that has the thread's
//! number as left by a dead owner and wakes one who waits for it.
//!
//! There is one list per thread, and the C library's robust mutexes are in it, too. Both share it
//! thus: two sentinels of ours, in the thread's own memory, stand in the C library's list like two
//! of its mutexes that are held for ever. It changes only the outer sides of them, we only what is
//! between:
//!
//! ```text
//! head -> (the C library's) -> first -> our locks, the youngest first -> last
//!      -> (the C library's) -> head
//! ```
//!
//! The links of the list lie in the locks, so in memory that other processes may write to. We never
//! follow them: which locks this thread holds, and in which order, is in its own memory.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};

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

// SAFETY: atomics only, `repr(C)`.
unsafe impl Layout for RobustCell {}

/// Of a word: threads sleep on it (`FUTEX_WAITERS`).
pub(crate) const WAITERS: u32 = 0x8000_0000;
/// Of a word: the kernel saw its owner die (`FUTEX_OWNER_DIED`).
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
/// Of a word: the number of the owner's thread.
pub(crate) const OWNER: u32 = 0x3fff_ffff;

/// `struct robust_list_head` of `linux/futex.h`
#[repr(C)]
struct Head {
    first: Cell<usize>,
    word_offset: Cell<isize>,
    pending: Cell<usize>,
}

/// The most locks that a thread may hold, of the `ROBUST_LIST_LIMIT` of 2048 that the kernel looks
/// at: the rest is for our sentinels, for locks inside of our own and for the C library's.
const MAX_HELD: usize = 1900;

/// Number of locks that are held without memory from the allocator.
const INLINE: usize = 8;

/// The state of a thread's own list. In its own memory, which no other process can write to.
struct Thread {
    /// The process that what follows is of: a forked copy holds nothing.
    generation: Cell<Option<Generation>>,
    /// Its number, as the kernel puts it into words.
    tid: Cell<u32>,
    pid: Cell<u32>,
    /// The head that the C library registered; null if it has another form than we know.
    head: Cell<*const Head>,
    /// The sentinel in front of our locks.
    first: RobustCell,
    /// The sentinel behind them.
    last: RobustCell,
    /// The locks held, the oldest first: up to `INLINE` here, the younger ones in `many`.
    count: Cell<usize>,
    few: [Cell<*const RobustCell>; INLINE],
    many: RefCell<Vec<*const RobustCell>>,
}

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
    // The kernel walks it after the last instruction of the thread, so nothing of it may be gone by
    // then: it is never dropped, and a thread's own memory outlives the walk.
    static THREAD: std::mem::ManuallyDrop<Thread> = const {
        std::mem::ManuallyDrop::new(Thread {
            generation: Cell::new(None),
            tid: Cell::new(0),
            pid: Cell::new(0),
            head: Cell::new(ptr::null()),
            first: SENTINEL,
            last: SENTINEL,
            count: Cell::new(0),
            few: [const { Cell::new(ptr::null()) }; INLINE],
            many: RefCell::new(Vec::new()),
        })
    };
}

/// This thread as one that holds locks. It stays in the thread (a raw pointer is not `Send`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own(*const Thread);

/// This thread, made ready in this process.
#[inline]
pub(crate) fn own() -> Own {
    THREAD.with(|thread| {
        let generation = Generation::current();
        if thread.generation.get() != Some(generation) {
            thread.prepare(generation);
        }
        Own(&raw const **thread)
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

/// [`Own::pid`] of this thread.
pub(crate) fn pid() -> u32 {
    own().pid()
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
        // SAFETY: of this thread, as `Own` is not `Send`, and never dropped: it is there as long as
        // the thread runs.
        unsafe { &*self.0 }
    }

    /// The number by which the kernel knows this thread as an owner.
    #[inline]
    pub(crate) fn tid(self) -> u32 {
        self.thread().tid.get()
    }

    /// The number of this thread's process, without asking the kernel.
    #[inline]
    pub(crate) fn pid(self) -> u32 {
        self.thread().pid.get()
    }

    /// Returns `true` if this thread holds as much as it may (`MAX_HELD`).
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.thread().count.get() >= MAX_HELD
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
    /// Makes the thread ready in this process: its number, the head, the sentinels in the list.
    ///
    /// 1. Between the sentinels is nothing; `last` leads on to what the C library has in the list.
    /// 2. The C library's first mutex leads back to `last`.
    /// 3. One store: the head leads to `first`. Killed before it, the kernel walks the list as it
    ///    was.
    #[cold]
    fn prepare(&self, generation: Generation) {
        self.pid.set(crate::sys::per_process::pid());
        self.tid.set(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        self.count.set(0);
        self.many.take();
        self.last.next.store(0, Ordering::Relaxed);
        self.generation.set(Some(generation));
        let head = find_head();
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

    /// The held cell at a place of the order, the oldest being 0.
    fn held(&self, place: usize) -> *const RobustCell {
        match self.few.get(place) {
            Some(few) => few.get(),
            None => self.many.borrow().get(place - INLINE).copied().unwrap_or(ptr::null()),
        }
    }

    /// The link of what stands behind the held cell at `place`.
    fn behind(&self, place: usize) -> u64 {
        if place == 0 {
            return self.last.link() as u64;
        }
        // SAFETY: held cells are alive: their memory is pinned, even if a guard was forgotten.
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
        let count = self.count.get();
        if (0..count).any(|place| ptr::eq(self.held(place), cell)) {
            return;
        }
        cell.next.store(self.behind(count), Ordering::Relaxed);
        match self.few.get(count) {
            Some(few) => few.set(cell),
            None => self.push_to_many(cell),
        }
        self.count.set(count + 1);
        compiler_fence(Ordering::SeqCst);
        self.first.next.store(cell.link() as u64, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// The ninth and later: memory from the allocator.
    #[cold]
    fn push_to_many(&self, cell: &RobustCell) {
        self.many.borrow_mut().push(cell);
    }

    /// Takes a cell out: mostly the youngest, by one store to `first`.
    #[inline]
    fn remove(&self, cell: &RobustCell) -> bool {
        let count = self.count.get();
        // Mostly the youngest, of few.
        match self.few.get(count.wrapping_sub(1)) {
            Some(youngest) if ptr::eq(youngest.get(), cell) => {
                self.first.next.store(self.behind(count - 1), Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                self.count.set(count - 1);
                true
            }
            _ => self.remove_any(cell),
        }
    }

    /// Takes any cell out: one store to the link of the one before it, then our own record moves
    /// up.
    #[cold]
    fn remove_any(&self, cell: &RobustCell) -> bool {
        let count = self.count.get();
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
            let moved = self.held(later);
            match self.few.get(later - 1) {
                Some(few) => few.set(moved),
                None => self.many.borrow_mut()[later - 1 - INLINE] = moved,
            }
        }
        self.count.set(count - 1);
        if count > INLINE {
            let mut many = self.many.borrow_mut();
            many.pop();
            if many.is_empty() {
                // Nobody drops it at the end of the thread.
                many.shrink_to_fit();
            }
        }
        true
    }
}

/// The head of the list of this thread, as the C library registered it; null if it has another form
/// than we know.
fn find_head() -> *const Head {
    let head = registered_head();
    if !head.is_null() {
        return head;
    }
    // musl registers the list of a thread with the first robust mutex that it takes.
    take_a_robust_mutex();
    registered_head()
}

/// Asks the kernel for the head of this thread's list (`get_robust_list(2)`); null if its length or
/// the distance of the word is not what we know.
fn registered_head() -> *const Head {
    let mut head: *const Head = ptr::null();
    let mut length = 0_usize;
    // SAFETY: the kernel writes a pointer and a size.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length) };
    let expected =
        offset_of!(RobustCell, word).cast_signed() - offset_of!(RobustCell, next).cast_signed();
    // SAFETY: what this thread registered is its C library's head, which lives as long as the
    // thread.
    let fits = result == 0
        && length == size_of::<Head>()
        && unsafe { head.as_ref() }.is_some_and(|head| head.word_offset.get() == expected);
    if fits { head } else { ptr::null() }
}

/// Takes and leaves a robust mutex of the C library that processes could share: in its list are
/// only such.
fn take_a_robust_mutex() {
    // SAFETY: all zeroes is where both begin; they are initialised before use, and nobody else
    // knows of the mutex, which is unlocked and destroyed before it goes.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&raw mut attributes);
        libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
        let mut mutex: libc::pthread_mutex_t = std::mem::zeroed();
        if libc::pthread_mutex_init(&raw mut mutex, &raw const attributes) == 0 {
            if libc::pthread_mutex_lock(&raw mut mutex) == 0 {
                libc::pthread_mutex_unlock(&raw mut mutex);
            }
            libc::pthread_mutex_destroy(&raw mut mutex);
        }
        libc::pthread_mutexattr_destroy(&raw mut attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list as the kernel would walk it, between the sentinels.
    fn walk() -> Vec<usize> {
        THREAD.with(|thread| {
            let mut links = Vec::new();
            let mut link = thread.first.next.load(Ordering::Relaxed) as usize;
            while link != thread.last.link() {
                links.push(link);
                assert!(links.len() < 100, "the list does not end");
                // SAFETY: a link of a cell of the test.
                link = unsafe { &*(link as *const AtomicU64) }.load(Ordering::Relaxed) as usize;
            }
            links
        })
    }

    #[test]
    fn the_list_follows_what_is_held_in_any_order() {
        check().expect("robust lists");
        let cells: Vec<RobustCell> = (0..20).map(|_| SENTINEL).collect();
        for cell in &cells {
            begin(cell);
            enlist(cell);
            end();
        }
        let mut links: Vec<usize> = cells.iter().rev().map(RobustCell::link).collect();
        assert_eq!(walk(), links);
        for gone in [7, 19, 0, 12, 3] {
            delist(&cells[gone]);
            links.retain(|link| *link != cells[gone].link());
            assert_eq!(walk(), links);
        }
        cells.iter().for_each(|cell| {
            assert!(
                delist(cell) || [7, 19, 0, 12, 3].iter().any(|gone| ptr::eq(cell, &cells[*gone]))
            )
        });
        assert!(walk().is_empty());
    }

    #[test]
    fn taking_a_mutex_leaves_the_list_as_it_is() {
        let before = registered_head();
        assert!(!find_head().is_null());
        take_a_robust_mutex();
        assert!(before.is_null() || before == find_head());
        check().expect("robust lists");
        take_a_robust_mutex();
        assert!(walk().is_empty());
    }

    #[test]
    fn nothing_is_in_the_list_twice() {
        check().expect("robust lists");
        let cells: Vec<RobustCell> = (0..12).map(|_| SENTINEL).collect();
        cells.iter().chain(&cells).for_each(enlist);
        assert_eq!(walk().len(), cells.len());
        cells.iter().for_each(|cell| assert!(delist(cell)));
        assert!(walk().is_empty());
        assert!(!delist(&cells[0]));
    }

    #[test]
    fn the_kernel_marks_what_a_thread_held_and_leaves_what_it_did_not() {
        let cells: Vec<RobustCell> = (0..12).map(|_| SENTINEL).collect();
        // Joined: the end of a scope waits for its closures, not for the ends of its threads.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let tid = tid();
                for cell in &cells {
                    cell.word.store(tid | WAITERS, Ordering::Relaxed);
                    enlist(cell);
                }
                delist(&cells[5]);
                // Half-way through taking it.
                begin(&cells[5]);
            });
            thread.join().expect("join");
        });
        for cell in &cells {
            assert_eq!(cell.word.load(Ordering::Relaxed), OWNER_DIED | WAITERS);
        }
    }

    #[test]
    fn the_c_library_s_robust_mutexes_go_on_working_beside_ours() {
        struct Mutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);
        // SAFETY: a mutex is for threads.
        unsafe impl Sync for Mutex {}
        let make = || {
            // SAFETY: all zeroes is where both begin; then they are initialised.
            unsafe {
                let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
                libc::pthread_mutexattr_init(&raw mut attributes);
                libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
                let mutex = Mutex(std::cell::UnsafeCell::new(std::mem::zeroed()));
                libc::pthread_mutex_init(mutex.0.get(), &raw const attributes);
                mutex
            }
        };
        let theirs: Vec<Mutex> = (0..4).map(|_| make()).collect();
        let ours: Vec<RobustCell> = (0..4).map(|_| SENTINEL).collect();
        // SAFETY: initialised mutexes, locked and unlocked by one thread.
        let lock = |mutex: &Mutex| unsafe { libc::pthread_mutex_lock(mutex.0.get()) };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                assert_eq!(lock(&theirs[0]), 0);
                for (mutex, cell) in theirs[1..].iter().zip(&ours) {
                    cell.word.store(tid(), Ordering::Relaxed);
                    enlist(cell);
                    assert_eq!(lock(mutex), 0);
                }
                // SAFETY: this thread holds them.
                unsafe {
                    libc::pthread_mutex_unlock(theirs[0].0.get());
                    libc::pthread_mutex_unlock(theirs[2].0.get());
                }
                delist(&ours[1]);
                ours[1].word.store(0, Ordering::Relaxed);
            });
            thread.join().expect("join");
        });
        assert_eq!(
            [0, 1, 2, 3].map(|i| lock(&theirs[i])),
            [0, libc::EOWNERDEAD, 0, libc::EOWNERDEAD]
        );
        assert_eq!(
            [0, 1, 2].map(|i| ours[i].word.load(Ordering::Relaxed)),
            [OWNER_DIED, 0, OWNER_DIED]
        );
        for mutex in &theirs {
            // SAFETY: this thread holds all four.
            unsafe {
                libc::pthread_mutex_consistent(mutex.0.get());
                libc::pthread_mutex_unlock(mutex.0.get());
            }
        }
    }
}
