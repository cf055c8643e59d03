//! A kernel with its processes, which are threads here, each with a number, a robust list, and
//! perhaps a step at which it dies.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backend::{self, Condvar, JoinHandle, Mutex};
use crate::sys::wait::robust::{self, RobustCell};

/// What all processes of one run share.
pub(crate) struct World {
    pub(crate) kernel: Mutex<Kernel>,
    pub(crate) changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Kernel {
    /// In the order in which they went to sleep.
    pub(crate) sleepers: Vec<Sleeper>,
    pub(crate) youngest: usize,
    /// The deadlines that have come.
    pub(crate) over: Vec<usize>,
    /// The processes that have ended.
    ends: Vec<(u32, End)>,
}

pub(crate) struct Sleeper {
    pub(crate) number: usize,
    /// The addresses of the words.
    pub(crate) words: Vec<usize>,
    pub(crate) is_woken: bool,
}

pub(crate) struct Process {
    world: RefCell<Option<Arc<World>>>,
    pub(crate) tid: Cell<u32>,
    steps: Cell<usize>,
    dies_at: Cell<usize>,
    is_dead: Cell<bool>,
    pub(crate) pending: Cell<*const RobustCell>,
    pub(crate) held: RefCell<Vec<*const RobustCell>>,
}

backend::thread_local! {
    static PROCESS: Process = Process {
        world: RefCell::new(None),
        tid: Cell::new(0),
        steps: Cell::new(0),
        dies_at: Cell::new(0),
        is_dead: Cell::new(false),
        pending: Cell::new(std::ptr::null()),
        held: RefCell::new(Vec::new()),
    };
}

struct Death;

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// It died. So many of its cells the kernel marked, and so many of them were those of members
    /// with the value 0.
    Died {
        marked: usize,
        members: usize,
    },
}

pub(crate) fn process<R>(f: impl FnOnce(&Process) -> R) -> R {
    PROCESS.with(|process| f(process))
}

pub(crate) fn world() -> Arc<World> {
    process(|process| process.world.borrow().clone()).expect("a process of a world")
}

/// The next effect of this process; false if it is dead and only unwinds. It may die here.
pub(crate) fn step() -> bool {
    let dies = process(|process| {
        if process.is_dead.get() {
            return None;
        }
        process.steps.set(process.steps.get() + 1);
        process.is_dead.set(process.steps.get() == process.dies_at.get());
        Some(process.is_dead.get())
    });
    if dies == Some(true) {
        // Without the panic hook.
        resume_unwind(Box::new(Death));
    }
    dies.is_some()
}

pub(crate) fn is_dead() -> bool {
    process(|process| process.is_dead.get())
}

impl World {
    /// A new one; the thread that makes it is its first process, number 1.
    pub(crate) fn new() -> Arc<World> {
        let world =
            Arc::new(World { kernel: Mutex::new(Kernel::default()), changed: Condvar::new() });
        world.adopt(1, 0);
        world
    }

    fn adopt(self: &Arc<World>, tid: u32, dies_at: usize) {
        process(|process| {
            process.world.replace(Some(Arc::clone(self)));
            process.tid.set(tid);
            process.steps.set(0);
            process.dies_at.set(dies_at);
            process.is_dead.set(false);
            process.pending.set(std::ptr::null());
            process.held.borrow_mut().clear();
        });
    }

    /// A process that lives as long as it likes.
    pub(crate) fn process(
        self: &Arc<World>,
        tid: u32,
        body: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<End> {
        self.victim(tid, 0, body)
    }

    /// A process that dies before its effect number `dies_at`, if it comes to that. What `body`
    /// shares with others must outlive it.
    pub(crate) fn victim(
        self: &Arc<World>,
        tid: u32,
        dies_at: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<End> {
        let world = Arc::clone(self);
        backend::spawn(move || {
            world.adopt(tid, dies_at);
            let end = match catch_unwind(AssertUnwindSafe(body)) {
                Ok(()) => End::Done,
                Err(panic) if panic.is::<Death>() => robust::walk_list(),
                Err(panic) => resume_unwind(panic),
            };
            world.kernel.lock().expect("the kernel").ends.push((tid, end));
            world.changed.notify_all();
            end
        })
    }

    /// Waits until `count` processes sleep or have ended.
    pub(crate) fn settle(&self, count: usize) {
        let mut kernel = self.kernel.lock().expect("the kernel");
        while kernel.sleepers.iter().filter(|sleeper| !sleeper.is_woken).count() + kernel.ends.len()
            < count
        {
            kernel = self.changed.wait(kernel).expect("the kernel");
        }
    }

    /// Waits until `flag` was raised by [`World::raise`], or a process has ended.
    pub(crate) fn wait_for(&self, flag: &AtomicBool) {
        let mut kernel = self.kernel.lock().expect("the kernel");
        while !flag.load(Ordering::SeqCst) && kernel.ends.is_empty() {
            kernel = self.changed.wait(kernel).expect("the kernel");
        }
    }

    /// Raises a flag for whoever waits for it.
    pub(crate) fn raise(&self, flag: &AtomicBool) {
        let kernel = self.kernel.lock().expect("the kernel");
        flag.store(true, Ordering::SeqCst);
        drop(kernel);
        self.changed.notify_all();
    }

    /// Waits until a process has ended; which one was the first, and how.
    pub(crate) fn first_end(&self) -> (u32, End) {
        let mut kernel = self.kernel.lock().expect("the kernel");
        loop {
            match kernel.ends.first() {
                Some(first) => return *first,
                None => kernel = self.changed.wait(kernel).expect("the kernel"),
            }
        }
    }
}
