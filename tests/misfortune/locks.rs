//! Locks whose memory others write to as they like, and locks without descriptors.

use std::fs::{File, read_dir, read_link};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiproc::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Process, RLock, RwLock, Semaphore,
};

use crate::common::Hoard;
use crate::support::{for_each_method, until};

/// The shared memory of this process's locks, opened as anybody with the descriptor could.
fn memory() -> Vec<File> {
    let entries = read_dir("/proc/self/fd").expect("read /proc/self/fd");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_ours = |path: &std::path::PathBuf| {
        read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:multiproc-"))
    };
    let open = |path| File::options().read(true).write(true).open(path).expect("open");
    paths.filter(is_ours).map(open).collect()
}

/// Numbers from a seed (xorshift64*).
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Words that mean something, and words that mean nothing.
fn word(state: &mut u64, tid: u32) -> u32 {
    let random = u32::try_from(next(state) >> 32).expect("half of it");
    match random % 8 {
        0 => 0,
        1 => tid,
        2 => tid | 0x8000_0000,
        3 => 0x4000_0000,
        4 => 0xc000_0000,
        5 => 1,
        6 => u32::MAX,
        _ => random,
    }
}

/// Writes over the memory until it is told to stop. `spared` bytes at the beginning stay as they
/// are.
fn scribble(files: &[File], stop: &AtomicBool, tid: u32, spared: u64) {
    let mut state = 0x1234_5678_9abc_def1;
    while !stop.load(Ordering::Relaxed) {
        for file in files {
            let length = file.metadata().expect("stat").len().min(64 * 200);
            if length < spared + 4 {
                continue;
            }
            let place = spared + next(&mut state) % ((length - spared) / 4) * 4;
            file.write_all_at(&word(&mut state, tid).to_le_bytes(), place).expect("write");
        }
    }
}

/// The longest that a call with a short deadline may take: what locks inside wait for somebody who
/// holds them.
const LIMIT: Duration = Duration::from_secs(12);

fn timed<T>(what: &str, call: impl FnOnce() -> T) {
    let started = Instant::now();
    let _ = call();
    let took = started.elapsed();
    assert!(took < LIMIT, "{what} took {took:?}");
}

/// Everything that has a deadline, or needs none, while others write.
fn use_all(spared: u64) {
    const SHORT: Duration = Duration::from_millis(2);
    let (lock, rlock, rwlock) =
        (Lock::new().unwrap(), RLock::new().unwrap(), RwLock::new().unwrap());
    let (semaphore, bounded) = (Semaphore::new(2).unwrap(), BoundedSemaphore::new(2).unwrap());
    let (barrier, event) = (Barrier::new(3).unwrap(), Event::new().unwrap());
    let condition = Condition::with_lock(&Lock::new().unwrap()).unwrap();
    let files = memory();
    assert_eq!(files.len(), 9);
    let (stop, tid) = (AtomicBool::new(false), std::process::id());
    std::thread::scope(|scope| {
        scope.spawn(|| scribble(&files, &stop, tid, spared));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            timed("lock", || lock.acquire_timeout(SHORT).is_ok());
            timed("lock", || lock.try_acquire().is_ok());
            timed("rlock", || {
                let one = rlock.acquire_timeout(SHORT);
                let other = rlock.acquire_timeout(SHORT);
                drop(one);
                drop(other);
            });
            timed("printed", || format!("{lock} {rlock}"));
            timed("event", || event.wait_timeout(SHORT));
            event.set();
            event.clear();
            timed("semaphore", || semaphore.acquire_timeout(SHORT).is_ok());
            timed("semaphore", || semaphore.try_acquire().is_ok());
            timed("semaphore", || semaphore.value());
            timed("bounded", || bounded.acquire_timeout(SHORT).is_ok());
            timed("rwlock", || rwlock.read_timeout(SHORT).is_ok());
            timed("rwlock", || rwlock.write_timeout(SHORT).is_ok());
            timed("barrier", || barrier.wait_timeout(SHORT));
            timed("barrier", || (barrier.n_waiting(), barrier.broken()));
            timed("condition", || {
                // What waits for the lock again has no deadline: only as long as nobody writes
                // there.
                condition.to_string()
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}

pub(crate) fn garbage_all_over_the_memory_of_locks() {
    for_each_method(|method| {
        let child = Process::new(use_all, (0,)).start_method(method).start().expect("start");
        child.join().expect("it goes on");
    });
}

pub(crate) fn garbage_in_the_tables_of_locks() {
    for_each_method(|method| {
        // The lock in front of each table stays in order.
        let child = Process::new(use_all, (40,)).start_method(method).start().expect("start");
        child.join().expect("it goes on");
    });
}

pub(crate) fn locks_without_descriptors() {
    let hoard = Hoard::all_but(0);
    let errors = [
        Lock::new().map(drop),
        RLock::new().map(drop),
        Lock::many(5).map(drop),
        Semaphore::new(1).map(drop),
        BoundedSemaphore::new(1).map(drop),
        Condition::new().map(drop),
        Event::new().map(drop),
        Barrier::new(2).map(drop),
        RwLock::new().map(drop),
    ];
    drop(hoard);
    for error in errors {
        let text = error.expect_err("no descriptor").to_string();
        assert!(text.contains("shared memory") && text.contains("Too many open files"), "{text}");
    }
    let lock = Lock::new().expect("a lock");
    let hoard = Hoard::all_but(0);
    drop(lock.acquire().expect("it needs no more"));
    drop(hoard);
}

/// Holds the lock again and again without a pause, until it is told to stop.
fn hog(lock: RwLock, stop: Event, started: Semaphore) {
    started.release();
    while !stop.is_set() {
        let _guard = lock.write().expect("the lock");
        // Held for a while: without fairness, whoever is woken finds it taken again.
        let until = Instant::now() + Duration::from_millis(3);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}

pub(crate) fn nobody_waits_for_ever_behind_those_who_come_back_at_once() {
    let (lock, stop, started) =
        (RwLock::new().unwrap(), Event::new().unwrap(), Semaphore::new(0).unwrap());
    let arguments = || (lock.clone(), stop.clone(), started.clone());
    let hogs: Vec<_> =
        (0..3).map(|_| Process::new(hog, arguments()).start().expect("start")).collect();
    (0..3).for_each(|_| started.acquire_timeout(LIMIT).expect("it works").forget());
    for _ in 0..20 {
        drop(lock.read_timeout(LIMIT).expect("a reader has its turn"));
        drop(lock.write_timeout(LIMIT).expect("a writer has its turn"));
    }
    stop.set();
    hogs.iter().for_each(|hog| hog.join().expect("join"));
}

/// Reads while the lock is read all the time by others, until a writer has been there.
fn reads_on(lock: RwLock, stop: Event) {
    while !stop.is_set() {
        let _one = lock.read().expect("the lock");
        // Before the first is gone, so that the lock is never without a reader of this process's.
        let _other = lock.read().expect("the lock, again");
        std::thread::yield_now();
    }
}

pub(crate) fn readers_keep_no_writer_out_and_may_read_again() {
    let (lock, stop) = (RwLock::new().unwrap(), Event::new().unwrap());
    let readers: Vec<_> = (0..4)
        .map(|_| Process::new(reads_on, (lock.clone(), stop.clone())).start().expect("start"))
        .collect();
    for _ in 0..50 {
        drop(lock.write_timeout(LIMIT).expect("a writer has its turn"));
    }
    stop.set();
    readers.iter().for_each(|reader| reader.join().expect("join"));
    assert_eq!(lock.to_string(), "<RwLock(free)>");
    // This thread reads, and a writer waits for it.
    let outer = lock.read().expect("the lock");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| drop(lock.write_timeout(LIMIT).expect("the lock")));
        // Another thread cannot read any more, but this one can.
        until("the writer waits", || {
            std::thread::scope(|scope| scope.spawn(|| lock.try_read().is_err()).join()).unwrap()
        });
        drop(lock.read().expect("the lock, again"));
        drop(outer);
        writer.join().expect("join");
    });
}

pub(crate) fn permits_are_counted_whatever_is_given_and_forgotten() {
    // Signals: more than there are cells for, taken by two processes.
    let signals = Semaphore::new(0).unwrap();
    let takes = |signals: Semaphore, count: u32| {
        (0..count).for_each(|_| signals.acquire_timeout(LIMIT).expect("a signal").forget());
    };
    let child = Process::new(takes, (signals.clone(), 10_000)).start().expect("start");
    (0..20_000).for_each(|_| signals.release());
    takes(signals.clone(), 10_000);
    child.join().expect("join");
    assert_eq!(signals.value(), 0);
    assert!(signals.try_acquire().unwrap_err().is_busy());
    // Taken out from the middle, and given back.
    let permits = Semaphore::new(40).unwrap();
    let mut held: Vec<_> = (0..40).map(|_| permits.try_acquire().expect("a permit")).collect();
    for round in 1..=30 {
        held.swap_remove(round % held.len()).forget();
        assert_eq!(permits.value(), 0);
    }
    (0..15).for_each(|_| permits.release());
    drop(held);
    assert_eq!(permits.value(), 25);
    let all: Vec<_> = std::iter::from_fn(|| permits.try_acquire().ok()).collect();
    assert_eq!(all.len(), 25);
    drop(all);
    // As many as there can be.
    let many = Semaphore::new(u32::MAX).unwrap();
    let one = many.acquire().expect("a permit");
    assert_eq!(many.value(), u64::from(u32::MAX) - 1);
    one.forget();
    many.release();
    many.release();
    assert_eq!(many.value(), u64::from(u32::MAX) + 1);
}
