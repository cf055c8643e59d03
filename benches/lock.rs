//! What it costs to acquire and release a lock, beside what the kernel and the C library offer.
//!
//!     cargo bench --bench lock                                  everything
//!     cargo bench --bench lock -- --quick                       a look whether it works
//!     cargo bench --bench lock -- uncontended threads           some sections
//!
//! The measure is the C library's robust mutex between processes, which does the same. CPython
//! takes part if there is a `python3`.
#![expect(unsafe_code, reason = "the C library's mutex, shared memory for it, and forks")]

mod support;

use std::cell::UnsafeCell;
use std::process::Command;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use multiproc::{Lock, RLock, RwLock, Semaphore};
use support::{Contender, Goal, Options, Table, in_turns, seconds, time};

fn main() {
    let options = Options::from_arguments();
    let python = python();
    for (section, crowd) in [
        ("uncontended", Crowd::Alone),
        ("threads", Crowd::TwoThreads),
        ("processes", Crowd::Processes(2)),
    ] {
        if options.wants(section) {
            println!("{}", table(&options, crowd, python));
        }
    }
    if options.wants("readers") {
        println!("{}", readers(&options));
    }
}

/// Who uses the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crowd {
    Alone,
    TwoThreads,
    Processes(u32),
}

/// What both sides of a measurement have in common, wherever they run.
#[repr(C)]
struct Page {
    ready: AtomicU32,
    futex: AtomicU32,
    mutex: UnsafeCell<libc::pthread_mutex_t>,
}

// SAFETY: a mutex is for threads, the rest is atomic.
unsafe impl Sync for Page {}

impl Page {
    /// In memory that a fork shares with its original.
    fn new() -> &'static Page {
        // SAFETY: new memory, all zero, which is where a page begins; it stays for the program's
        // life. Then the mutex is initialised, once.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let address =
                libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(address, libc::MAP_FAILED, "map memory");
            let page = &*address.cast::<Page>();
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            assert_eq!(
                libc::pthread_mutex_init(page.mutex.get(), &raw const attributes),
                0,
                "make a mutex"
            );
            page
        }
    }

    /// Lock and unlock of a lock that is nothing but a futex.
    fn raw(&self) {
        let word = &self.futex;
        let mut seen = word
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .unwrap_or_else(|seen| seen);
        while seen != 0 {
            if seen == 2 || word.swap(2, Ordering::Acquire) != 0 {
                // SAFETY: the word is alive; no timeout.
                unsafe {
                    libc::syscall(
                        libc::SYS_futex,
                        word.as_ptr(),
                        libc::FUTEX_WAIT,
                        2,
                        ptr::null::<u8>(),
                    )
                };
            } else {
                break;
            }
            seen = word.swap(2, Ordering::Acquire);
        }
        if word.swap(0, Ordering::Release) == 2 {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }

    fn pthread(&self) {
        // SAFETY: an initialised mutex, unlocked by the thread that locked it.
        unsafe {
            libc::pthread_mutex_lock(self.mutex.get());
            libc::pthread_mutex_unlock(self.mutex.get());
        }
    }

    /// Waits until so many have come.
    fn meet(&self, count: u32) {
        self.ready.fetch_add(1, Ordering::AcqRel);
        while self.ready.load(Ordering::Acquire) < count {
            std::hint::spin_loop();
        }
    }
}

/// Runs `once` so many times in each of the crowd; the seconds for one time.
fn measure(page: &Page, crowd: Crowd, count: u32, once: impl Fn() + Sync) -> f64 {
    let all = || (0..count).for_each(|_| once());
    page.ready.store(0, Ordering::Release);
    let each = f64::from(count);
    match crowd {
        Crowd::Alone => seconds(all) / each,
        Crowd::TwoThreads => std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                page.meet(2);
                all();
            });
            page.meet(2);
            seconds(|| {
                all();
                other.join().expect("join");
            }) / (2.0 * each)
        }),
        Crowd::Processes(processes) => {
            let others: Vec<libc::pid_t> = (1..processes)
                .map(|_| {
                    // SAFETY: this program has one thread.
                    let pid = unsafe { libc::fork() };
                    if pid == 0 {
                        page.meet(processes);
                        all();
                        // SAFETY: ends this copy.
                        unsafe { libc::_exit(0) };
                    }
                    pid
                })
                .collect();
            page.meet(processes);
            seconds(|| {
                all();
                for pid in others {
                    // SAFETY: a child of ours; no status is asked for.
                    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                }
            }) / (f64::from(processes) * each)
        }
    }
}

/// What one that reads takes, and each of several that read at the same time: the time of a
/// processor, of which there may be fewer than readers.
fn readers(options: &Options) -> Table {
    let (turns, count) = options.pick((3, 5_000), (31, 20_000));
    let page = Page::new();
    let rwlock = RwLock::new().expect("a lock");
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = u32::try_from(processors).unwrap_or(1);
    let crowds = [1, 2, 10];
    let mut contenders: Vec<Contender<'_>> = crowds
        .iter()
        .map(|readers| {
            let (page, rwlock) = (&page, &rwlock);
            Contender::new(format!("multiproc RwLock, {readers} reading"), move || {
                let crowd = Crowd::Processes(*readers);
                let once = || drop(rwlock.read());
                let share = f64::from(processors.min(*readers));
                vec![measure(page, crowd, count, once) * share]
            })
        })
        .collect();
    let samples = in_turns(&mut contenders, turns);
    let mut table =
        Table::new("Read + release by several at once (readers): processor time of each");
    for (contender, taken) in contenders.iter().zip(&samples) {
        table.row(
            &contender.name,
            time(taken.median()),
            Some((taken.ratio_to(&samples[0]), "one reader")),
            Some(Goal::AtMost(1.5)),
        );
    }
    table
}

/// Polls once, as an executor does that has the task at hand. It sleeps only if that is in vain: what
/// it costs to set up an executor is not counted for a free lock.
#[cfg(feature = "async")]
fn awaited(lock: &Lock) {
    let mut acquiring = std::pin::pin!(lock.acquire_async());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match acquiring.as_mut().poll(&mut context) {
        std::task::Poll::Ready(acquired) => drop(acquired),
        std::task::Poll::Pending => drop(async_io::block_on(acquiring)),
    }
}

fn table(options: &Options, crowd: Crowd, python: Option<(f64, f64)>) -> Table {
    let (turns, count) = options.pick((3, 20_000), (31, 200_000));
    let page = Page::new();
    let lock = Lock::new().expect("a lock");
    let rlock = RLock::new().expect("a lock");
    let rwlock = RwLock::new().expect("a lock");
    let semaphore = Semaphore::new(1).expect("a semaphore");
    let mutex = Mutex::new(());
    let run = |once: &(dyn Fn() + Sync), count| vec![measure(page, crowd, count, once)];
    let mut contenders = vec![
        Contender::new("pthread, robust, between processes", || run(&|| page.pthread(), count)),
        Contender::new("multiproc Lock", || run(&|| drop(lock.acquire()), count)),
        Contender::new("multiproc RLock", || run(&|| drop(rlock.acquire()), count)),
        Contender::new("multiproc Semaphore", || run(&|| drop(semaphore.acquire()), count)),
        Contender::new("multiproc RwLock, reading", || run(&|| drop(rwlock.read()), count)),
        Contender::new("multiproc RwLock, writing", || run(&|| drop(rwlock.write()), count)),
        Contender::new("a bare futex, not robust", || run(&|| page.raw(), count)),
    ];
    #[cfg(feature = "async")]
    contenders.push(Contender::new("multiproc Lock, awaited", || run(&|| awaited(&lock), count)));
    if crowd != Crowd::Processes(2) {
        contenders.push(Contender::new("std Mutex, within a process", || {
            run(&|| drop(mutex.lock()), count)
        }));
    }
    let samples = in_turns(&mut contenders, turns);
    let mut table = Table::new(match crowd {
        Crowd::Alone => "Acquire + release, nobody else there (uncontended)",
        Crowd::TwoThreads => "Acquire + release, two threads at it all the time (threads)",
        Crowd::Processes(_) => "Acquire + release, two processes at it all the time (processes)",
    });
    for (contender, taken) in contenders.iter().zip(&samples) {
        let goal = goal(&contender.name, crowd).map(Goal::AtMost);
        table.row(
            &contender.name,
            time(taken.median()),
            Some((taken.ratio_to(&samples[0]), "pthread")),
            goal,
        );
    }
    let theirs = match crowd {
        Crowd::Alone => python.map(|(alone, _)| alone),
        Crowd::TwoThreads => None,
        Crowd::Processes(_) => python.map(|(_, two)| two),
    };
    if let Some(theirs) = theirs {
        let ratio = theirs / samples[0].median();
        table.row("CPython Lock", time(theirs), Some((ratio, "pthread")), None);
    }
    table
}

/// How many times what the C library's mutex takes.
fn goal(contender: &str, crowd: Crowd) -> Option<f64> {
    let is_alone = crowd == Crowd::Alone;
    match contender {
        "multiproc Lock" => Some(if is_alone { 1.3 } else { 1.5 }),
        "multiproc Semaphore" => Some(if is_alone { 2.0 } else { 4.0 }),
        "multiproc RwLock, writing" if !is_alone => Some(3.0),
        _ => None,
    }
}

/// What CPython takes, alone and with two processes.
fn python() -> Option<(f64, f64)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/lock.py");
    let output = Command::new("python3")
        .arg(script)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (alone, two) = text.trim().split_once(' ')?;
    Some((alone.parse().ok()?, two.parse().ok()?))
}
