//! Holders and waiters of locks are killed; the others go on.
#![expect(unsafe_code, reason = "forks beside a guard")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use multiproc::{
    AcquireError, Barrier, BoundedSemaphore, Child, Condition, Event, Lock, Poisoned, Process,
    RLock, RwLock, Semaphore, Signal,
};
use serde::{Deserialize, Serialize};

use crate::dice::{Dice, own_rounds};
use crate::support::{METHODS, is_running, open_fds, tempfile, until, wait_at_most, zombies};

/// What the processes of a round share.
#[derive(Clone, Serialize, Deserialize)]
struct Kit {
    stop: Event,
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    condition: Condition,
    barrier: Barrier,
    rwlock: RwLock,
    /// A file in which the holder of a lock writes who it is.
    book: String,
}

const PERMITS: u32 = 2;
const WORKERS: u32 = 4;

type Work = fn(&Kit, &Dice, &File);

/// By number, since a variable of a type `fn` does not cross.
const WORKS: [Work; 5] = [lock, permit, condition, barrier, read_or_write];

fn worker(kit: Kit, work: usize, seed: u64) {
    let dice = Dice::new(seed);
    let book = File::options().read(true).write(true).open(&kit.book).expect("open the book");
    while !kit.stop.is_set() {
        WORKS[work](&kit, &dice, &book);
    }
}

/// Whoever writes here is alone.
fn alone(book: &File, place: u64) {
    let own = std::process::id().to_le_bytes();
    book.write_all_at(&own, 4 * place).expect("write");
    let mut read = [0; 4];
    book.read_exact_at(&mut read, 4 * place).expect("read");
    assert_eq!(read, own, "not alone");
}

/// The guard, also after somebody who died; that one is dead indeed.
fn whatever<G>(acquired: Result<G, AcquireError<G>>) -> Option<G> {
    match acquired {
        Ok(guard) => Some(guard),
        Err(AcquireError::Poisoned(poisoned)) => {
            assert_dead(&poisoned);
            Some(poisoned.into_inner())
        }
        Err(AcquireError::Busy) => None,
        Err(error) => panic!("{error}"),
    }
}

fn assert_dead<G>(poisoned: &Poisoned<G>) {
    assert!(poisoned.is_owner_dead());
    // The kernel releases its locks a moment before it is gone.
    let pid = poisoned.pid();
    assert!(
        wait_at_most(Duration::from_secs(30), || (!is_running(pid)).then_some(())).is_some(),
        "{pid} is alive"
    );
}

fn lock(kit: &Kit, dice: &Dice, book: &File) {
    match dice.below(8) {
        0 => {
            if let Some(_guard) =
                whatever(kit.lock.acquire_timeout(Duration::from_micros(dice.below(300))))
            {
                alone(book, 0);
                kit.lock.clear_poison();
            }
        }
        1 => {
            let outer = whatever(kit.rlock.acquire()).expect("it waits as long as it takes");
            let inner = whatever(kit.rlock.acquire()).expect("it has it");
            alone(book, 1);
            drop((outer, inner));
        }
        2 => drop(whatever(kit.lock.try_acquire())),
        3..6 => drop(whatever(kit.lock.acquire())),
        _ => {
            let _guard = whatever(kit.lock.acquire()).expect("it waits as long as it takes");
            alone(book, 0);
        }
    }
}

fn permit(kit: &Kit, dice: &Dice, _: &File) {
    match dice.below(4) {
        0 => drop(kit.semaphore.acquire_timeout(Duration::from_micros(dice.below(300)))),
        1 => drop(kit.semaphore.try_acquire()),
        _ => {
            let _permit = kit.semaphore.acquire().expect("acquire");
            if dice.below(2) == 0 {
                std::thread::yield_now();
            }
            assert!(kit.semaphore.value() < u64::from(PERMITS));
        }
    }
}

fn condition(kit: &Kit, dice: &Dice, _: &File) {
    let Some(mut guard) = whatever(kit.condition.acquire()) else {
        panic!("it waits as long as it takes")
    };
    kit.condition.lock().clear_poison();
    let waited = match dice.below(4) {
        0 => kit
            .condition
            .wait_timeout(&mut guard, Duration::from_micros(dice.below(2000)))
            .map(drop),
        1 if !kit.stop.is_set() => kit.condition.wait(&mut guard),
        2 => {
            kit.condition.notify(usize::try_from(dice.below(3)).expect("a few"));
            Ok(())
        }
        _ => {
            kit.condition.notify_all();
            Ok(())
        }
    };
    assert!(matches!(waited, Ok(()) | Err(AcquireError::Poisoned(_))), "{waited:?}");
    assert!(kit.condition.lock().locked());
}

fn barrier(kit: &Kit, dice: &Dice, _: &File) {
    let passed = match dice.below(3) {
        0 => kit.barrier.wait_with(std::thread::yield_now),
        1 => kit.barrier.wait_timeout(Duration::from_millis(dice.below(3))),
        _ => kit.barrier.wait(),
    };
    if passed.is_err() && !kit.stop.is_set() {
        kit.barrier.reset();
    }
}

fn read_or_write(kit: &Kit, dice: &Dice, book: &File) {
    match dice.below(4) {
        0 => {
            let _guard = whatever(kit.rwlock.write()).expect("it waits as long as it takes");
            alone(book, 2);
            kit.rwlock.clear_poison();
        }
        1 => drop(whatever(kit.rwlock.write_timeout(Duration::from_micros(dice.below(300))))),
        2 => drop(whatever(kit.rwlock.try_read())),
        _ => drop(whatever(kit.rwlock.read())),
    }
}

/// Kills workers, starts others, then lets all end, round after round.
fn rounds(work: usize, all_is_well: fn(&Kit)) {
    for method in METHODS {
        Process::new(|| (), ()).start_method(method).start().expect("start").join().expect("join");
    }
    let descriptors = open_fds().len();
    for round in 0..own_rounds() {
        let dice = Dice::of_round(round);
        let book = tempfile();
        let kit = Kit {
            stop: Event::new().expect("an event"),
            lock: Lock::new().expect("a lock"),
            rlock: RLock::new().expect("a lock"),
            semaphore: Semaphore::new(PERMITS).expect("a semaphore"),
            condition: Condition::new().expect("a condition"),
            barrier: Barrier::new(WORKERS - 1).expect("a barrier"),
            rwlock: RwLock::new().expect("a lock"),
            book: format!("/proc/{}/fd/{}", std::process::id(), book.as_raw_fd()),
        };
        let start = || {
            let process = Process::new(worker, (kit.clone(), work, dice.seed()));
            process.start_method(dice.one_of(&METHODS)).start().expect("start")
        };
        let mut children: Vec<Child<()>> = (0..WORKERS).map(|_| start()).collect();
        for _ in 0..12 {
            dice.pause(Duration::from_millis(dice.one_of(&[1, 4, 10])));
            let victim = children
                .swap_remove(usize::try_from(dice.below(u64::from(WORKERS))).expect("a place"));
            victim.kill().expect("kill");
            let error = victim.join().expect_err("it works until it is told to stop");
            assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
            children.push(start());
        }
        kit.stop.set();
        for child in children {
            let ended = wait_at_most(Duration::from_secs(30), || {
                // Who waits for what nobody will do any more.
                kit.condition.notify_all();
                kit.barrier.abort();
                child.join_timeout(Duration::from_millis(5)).expect("join")
            });
            assert!(ended.is_some(), "{child:?} hangs");
        }
        all_is_well(&kit);
        drop((kit, book));
        until("no zombie is left", || zombies().is_empty());
        assert_eq!(open_fds().len(), descriptors, "descriptors: {:?}", open_fds());
    }
}

pub(crate) fn locks_outlast_their_holders() {
    rounds(0, |kit| {
        assert!(!kit.lock.locked() && !kit.rlock.locked());
        assert!(
            whatever(kit.lock.try_acquire()).is_some()
                && whatever(kit.rlock.try_acquire()).is_some()
        );
    });
}

pub(crate) fn permits_come_back_from_the_dead() {
    rounds(1, |kit| {
        assert_eq!(kit.semaphore.value(), u64::from(PERMITS));
        let _all: Vec<_> =
            (0..PERMITS).map(|_| kit.semaphore.try_acquire().expect("a permit")).collect();
        assert!(kit.semaphore.try_acquire().is_err());
    });
}

pub(crate) fn conditions_outlast_who_waits() {
    rounds(2, |kit| {
        assert!(kit.condition.to_string().ends_with(", 0)>"), "{}", kit.condition);
        assert!(!kit.condition.lock().locked());
    });
}

pub(crate) fn barriers_break_for_the_living() {
    rounds(3, |kit| {
        kit.barrier.reset();
        assert_eq!((kit.barrier.n_waiting(), kit.barrier.broken()), (0, false));
    });
}

pub(crate) fn readers_and_writers_go_on() {
    rounds(4, |kit| {
        assert!(whatever(kit.rwlock.try_write()).is_some());
        assert_eq!(kit.rwlock.to_string(), "<RwLock(free)>");
    });
}

/// A thread that ends with what it forgot to release.
pub(crate) fn threads_that_end_holding() {
    let (lock, rlock, rwlock) = (
        Lock::new().expect("a lock"),
        RLock::new().expect("a lock"),
        RwLock::new().expect("a lock"),
    );
    let (semaphore, bounded) =
        (Semaphore::new(1).expect("a semaphore"), BoundedSemaphore::new(1).expect("a semaphore"));
    let own = std::process::id();
    for _ in 0..3 {
        let forgetful = || {
            std::mem::forget(lock.acquire().expect("acquire"));
            std::mem::forget([
                rlock.acquire().expect("acquire"),
                rlock.acquire().expect("acquire"),
            ]);
            std::mem::forget(rwlock.write().expect("acquire"));
            std::mem::forget(semaphore.acquire().expect("acquire"));
            std::mem::forget(bounded.acquire().expect("acquire"));
        };
        // Who waits meanwhile is woken.
        let waiter = semaphore.clone();
        std::thread::scope(|scope| {
            let thread = scope.spawn(forgetful);
            scope.spawn(move || drop(waiter.acquire().expect("acquire")));
            thread.join().expect("join");
        });
        match lock.acquire() {
            Err(AcquireError::Poisoned(poisoned)) => {
                assert_eq!((poisoned.pid(), poisoned.is_owner_dead()), (own, true))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(rlock.acquire(), Err(AcquireError::Poisoned(_))));
        match rwlock.read() {
            Err(AcquireError::Poisoned(poisoned)) => {
                assert_eq!((poisoned.pid(), poisoned.is_owner_dead()), (own, true))
            }
            other => panic!("{other:?}"),
        }
        lock.clear_poison();
        rlock.clear_poison();
        rwlock.clear_poison();
        assert_eq!((semaphore.value(), bounded.value()), (1, 1));
        assert!(!lock.locked() && !rlock.locked());
    }
}

/// What the kernel still knows of stays where it is.
pub(crate) fn forgotten_guards_outlive_their_locks() {
    for _ in 0..50 {
        let (lock, semaphore) =
            (Lock::new().expect("a lock"), Semaphore::new(1).expect("a semaphore"));
        std::mem::forget(lock.acquire().expect("acquire"));
        std::mem::forget(semaphore.acquire().expect("acquire"));
        drop((lock, semaphore));
        // Memory at the same place, perhaps.
        let next = Lock::new().expect("a lock");
        let (outer, other) = (next.acquire().expect("acquire"), Lock::new().expect("a lock"));
        let inner = other.acquire().expect("acquire");
        drop(outer);
        drop(inner);
        assert!(!next.locked() && !other.locked());
    }
    // As many as the kernel would look at, and no more.
    let locks = Lock::many(3000).expect("locks");
    let mut held = Vec::new();
    let full = locks.iter().find_map(|lock| lock.acquire().map(|guard| held.push(guard)).err());
    assert!(matches!(full, Some(AcquireError::TooMany)), "{full:?}");
    assert!(held.len() > 1500);
    drop(held);
    assert!(locks.iter().all(|lock| !lock.locked()));
    // Those of a process that is killed come free to the last.
    let hold = |locks: Vec<Lock>, ready: Event| {
        let held: Vec<_> = locks.iter().map_while(|lock| lock.acquire().ok()).collect();
        ready.set();
        std::thread::park();
        drop(held);
    };
    let ready = Event::new().expect("an event");
    let child = Process::new(hold, (locks.clone(), ready.clone())).start().expect("start");
    ready.wait();
    assert!(locks.iter().filter(|lock| lock.locked()).count() > 1500);
    child.kill().expect("kill");
    child.join().expect_err("killed");
    assert!(locks.iter().all(|lock| !lock.locked()));
}

/// A fork has the guards of its original, which hold nothing there.
pub(crate) fn copies_of_guards_release_nothing() {
    let (lock, rlock, rwlock) = (
        Lock::new().expect("a lock"),
        RLock::new().expect("a lock"),
        RwLock::new().expect("a lock"),
    );
    let semaphore = Semaphore::new(1).expect("a semaphore");
    let guards = (
        lock.acquire().expect("acquire"),
        rlock.acquire().expect("acquire"),
        rwlock.write().expect("acquire"),
        semaphore.acquire().expect("acquire"),
    );
    // SAFETY: a test has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let own = Lock::new().expect("a lock");
        let guard = own.acquire().expect("acquire");
        drop(guards);
        let held = own.locked() && lock.locked() && rlock.locked() && semaphore.value() == 0;
        drop(guard);
        let free = !own.locked() && lock.try_acquire().is_err() && rwlock.try_read().is_err();
        // SAFETY: ends this copy.
        unsafe { libc::_exit(if held && free { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of ours; the status is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the copy released something");
    assert!(lock.locked() && rlock.locked() && rwlock.try_read().is_err());
    assert_eq!(semaphore.value(), 0);
    drop(guards);
    assert!(!lock.locked() && !rlock.locked() && rwlock.try_read().is_ok());
    assert_eq!(semaphore.value(), 1);
    assert!(!lock.is_poisoned() && !rwlock.is_poisoned());
}
