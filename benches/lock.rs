//! What it costs to acquire and release a lock, beside what the kernel and the C library offer.
//!
//!     cargo bench --bench lock                          everything cargo bench --bench lock --
//!     --quick               a look whether it works cargo bench --bench lock -- uncontended
//!     threads   some sections
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
        ("processes", Crowd::TwoProcesses),
    ] {
        if options.wants(section) {
            println!("{}", table(&options, crowd, python));
        }
    }
}

/// Who uses the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crowd {
    Alone,
    TwoThreads,
    TwoProcesses,
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
        Crowd::TwoProcesses => {
            // SAFETY: this program has one thread.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                page.meet(2);
                all();
                // SAFETY: ends this copy.
                unsafe { libc::_exit(0) };
            }
            page.meet(2);
            seconds(|| {
                all();
                // SAFETY: a child of ours; no status is asked for.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            }) / (2.0 * each)
        }
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
    let few = count / 10;
    let mut contenders = vec![
        Contender::new("pthread, robust, between processes", || run(&|| page.pthread(), count)),
        Contender::new("multiproc Lock", || run(&|| drop(lock.acquire()), count)),
        Contender::new("multiproc RLock", || run(&|| drop(rlock.acquire()), count)),
        Contender::new("multiproc Semaphore", || run(&|| drop(semaphore.acquire()), few)),
        Contender::new("multiproc RwLock, writing", || run(&|| drop(rwlock.write()), few)),
        Contender::new("a bare futex, not robust", || run(&|| page.raw(), count)),
    ];
    if crowd != Crowd::TwoProcesses {
        contenders.push(Contender::new("std Mutex, within a process", || {
            run(&|| drop(mutex.lock()), count)
        }));
    }
    let samples = in_turns(&mut contenders, turns);
    let mut table = Table::new(match crowd {
        Crowd::Alone => "Acquire + release, nobody else there (uncontended)",
        Crowd::TwoThreads => "Acquire + release, two threads at it all the time (threads)",
        Crowd::TwoProcesses => "Acquire + release, two processes at it all the time (processes)",
    });
    for (contender, taken) in contenders.iter().zip(&samples) {
        let goal = (contender.name == "multiproc Lock").then_some(Goal::AtMost(1.3));
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
        Crowd::TwoProcesses => python.map(|(_, two)| two),
    };
    if let Some(theirs) = theirs {
        let ratio = theirs / samples[0].median();
        table.row("CPython Lock", time(theirs), Some((ratio, "pthread")), None);
    }
    table
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
