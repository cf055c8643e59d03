//! Group G, 79 to 87 and 107: locks and semaphores.

use std::time::{Duration, Instant};

use multiproc::{
    AcquireError, BoundedSemaphore, Lock, LockGuard, Process, RLock, Semaphore, StartMethod,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::for_each_method;

/// What a child says.
#[track_caller]
fn ask<T: Serialize + DeserializeOwned>(method: StartMethod, process: Process<T>) -> T {
    process.start_method(method).start().expect("start").join().expect("join")
}

fn try_lock(lock: Lock) -> bool {
    lock.try_acquire().is_ok()
}

fn try_rlock(lock: RLock) -> bool {
    lock.try_acquire().is_ok()
}

pub(crate) fn g79_lock() {
    for_each_method(|method| {
        let lock = Lock::new().expect("a lock");
        assert!(!lock.locked());
        let guard = lock.acquire().expect("acquire");
        assert!(lock.locked());
        assert!(matches!(lock.try_acquire(), Err(AcquireError::Busy)));
        assert!(matches!(lock.acquire(), Err(AcquireError::Deadlock)), "it waited for itself");
        assert!(matches!(
            lock.acquire_timeout(Duration::ZERO),
            Err(AcquireError::Deadlock | AcquireError::Busy)
        ));
        assert!(!ask(method, Process::new(try_lock, (lock.clone(),))));
        drop(guard);
        assert!(!lock.locked());
        assert!(ask(method, Process::new(try_lock, (lock.clone(),))));
        assert!(!lock.locked());
    });
}

pub(crate) fn g80_locked_is_seen_by_others() {
    for_each_method(|method| {
        let (lock, rlock) = (Lock::new().expect("a lock"), RLock::new().expect("a lock"));
        let ask_both = || {
            let process = Process::new(
                |a: Lock, b: RLock| (a.locked(), b.locked()),
                (lock.clone(), rlock.clone()),
            );
            ask(method, process)
        };
        assert_eq!(ask_both(), (false, false));
        let guards = (lock.acquire().expect("acquire"), rlock.acquire().expect("acquire"));
        assert_eq!(ask_both(), (true, true));
        drop(guards);
        assert_eq!(ask_both(), (false, false));
    });
}

pub(crate) fn g81_rlock() {
    for_each_method(|method| {
        let lock = RLock::new().expect("a lock");
        let guards: Vec<_> = (0..3).map(|_| lock.acquire().expect("acquire")).collect();
        for guard in guards {
            assert!(lock.locked());
            assert!(!ask(method, Process::new(try_rlock, (lock.clone(),))));
            drop(guard);
        }
        assert!(!lock.locked());
        assert!(ask(method, Process::new(try_rlock, (lock.clone(),))));
    });
}

pub(crate) fn g82_guards_are_scopes() {
    for_each_method(|method| {
        let (lock, rlock) = (Lock::new().expect("a lock"), RLock::new().expect("a lock"));
        {
            let _outer = lock.acquire().expect("acquire");
            let _inner = rlock.acquire().expect("acquire");
            assert!(lock.locked() && rlock.locked());
        }
        // A child that returns from the middle of a scope.
        fn early(lock: Lock, rlock: RLock) -> bool {
            let (_one, _other) = (lock.acquire().unwrap(), rlock.acquire().unwrap());
            lock.locked() && rlock.locked()
        }
        assert!(ask(method, Process::new(early, (lock.clone(), rlock.clone()))));
        assert!(!lock.locked() && !rlock.locked());
        assert!(!lock.is_poisoned() && !rlock.is_poisoned());
    });
}

pub(crate) fn g83_printed_lock() {
    fn in_a_child(lock: Lock) -> [String; 2] {
        let foreign = lock.to_string();
        let own = Lock::new().unwrap();
        let _guard = own.acquire().unwrap();
        [foreign, own.to_string()]
    }
    for_each_method(|method| {
        let lock = Lock::new().expect("a lock");
        assert_eq!(lock.to_string(), "<Lock(owner=None)>");
        let guard = lock.acquire().expect("acquire");
        assert_eq!(lock.to_string(), "<Lock(owner=MainProcess)>");
        assert_eq!(format!("{lock:?}"), lock.to_string());
        let process = Process::new(in_a_child, (lock.clone(),)).name("Looks");
        assert_eq!(ask(method, process), ["<Lock(owner=SomeOtherProcess)>", "<Lock(owner=Looks)>"]);
        drop(guard);
    });
    let lock = Lock::new().expect("a lock");
    let other = lock.clone();
    let (held, seen) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("T1".to_owned());
        let body = || {
            let _guard = other.acquire().expect("acquire");
            assert_eq!(other.to_string(), "<Lock(owner=MainProcess|T1)>");
            held.wait();
            seen.wait();
        };
        let thread = thread.spawn_scoped(scope, body).expect("a thread");
        held.wait();
        assert_eq!(lock.to_string(), "<Lock(owner=SomeOtherThread)>");
        seen.wait();
        thread.join().expect("join");
    });
    assert_eq!(lock.to_string(), "<Lock(owner=None)>");
}

pub(crate) fn g84_printed_rlock() {
    for_each_method(|method| {
        let lock = RLock::new().expect("a lock");
        assert_eq!(lock.to_string(), "<RLock(None, 0)>");
        let outer = lock.acquire().expect("acquire");
        assert_eq!(lock.to_string(), "<RLock(MainProcess, 1)>");
        let inner = lock.acquire().expect("acquire");
        assert_eq!(lock.to_string(), "<RLock(MainProcess, 2)>");
        let print = Process::new(|lock: RLock| lock.to_string(), (lock.clone(),));
        assert_eq!(ask(method, print), "<RLock(SomeOtherProcess, nonzero)>");
        drop(outer);
        assert_eq!(lock.to_string(), "<RLock(MainProcess, 1)>");
        drop(inner);
        assert_eq!(lock.to_string(), "<RLock(None, 0)>");
    });
    let lock = RLock::new().expect("a lock");
    let (held, seen) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("T1".to_owned());
        let body = || {
            let _guard = lock.acquire().expect("acquire");
            assert_eq!(lock.to_string(), "<RLock(MainProcess|T1, 1)>");
            held.wait();
            seen.wait();
        };
        let thread = thread.spawn_scoped(scope, body).expect("a thread");
        held.wait();
        assert_eq!(lock.to_string(), "<RLock(SomeOtherThread, nonzero)>");
        seen.wait();
        thread.join().expect("join");
    });
}

pub(crate) fn g85_semaphore() {
    for_each_method(|method| {
        let semaphore = Semaphore::new(2).expect("a semaphore");
        assert_eq!(semaphore.value(), 2);
        let first = semaphore.acquire().expect("acquire");
        assert_eq!(semaphore.value(), 1);
        let second = semaphore.acquire().expect("acquire");
        assert_eq!(semaphore.value(), 0);
        assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
        let value =
            Process::new(|s: Semaphore| (s.value(), s.try_acquire().is_ok()), (semaphore.clone(),));
        assert_eq!(ask(method, value), (0, false));
        drop(first);
        assert_eq!(semaphore.value(), 1);
        drop(second);
        assert_eq!(semaphore.value(), 2);
        semaphore.release();
        let release = Process::new(|s: Semaphore| s.release(), (semaphore.clone(),));
        ask(method, release);
        assert_eq!(semaphore.value(), 4, "it may go above the start value");
        // One takes what the other gives.
        let empty = Semaphore::new(0).expect("a semaphore");
        let take = Process::new(|s: Semaphore| s.acquire().unwrap().forget(), (empty.clone(),));
        let child = take.start_method(method).start().expect("start");
        empty.release();
        child.join().expect("join");
        assert_eq!(empty.value(), 0);
    });
}

pub(crate) fn g86_bounded_semaphore() {
    for_each_method(|method| {
        let semaphore = BoundedSemaphore::new(2).expect("a semaphore");
        assert_eq!(semaphore.value(), 2);
        let first = semaphore.acquire().expect("acquire");
        assert_eq!(semaphore.value(), 1);
        let second = semaphore.acquire().expect("acquire");
        assert_eq!(semaphore.value(), 0);
        assert!(semaphore.try_acquire().is_err_and(|error| error.is_busy()));
        second.forget();
        drop(first);
        assert_eq!(semaphore.value(), 1);
        let release = || {
            Process::new(
                |s: BoundedSemaphore| s.release().map_err(|e| e.to_string()),
                (semaphore.clone(),),
            )
        };
        assert_eq!(ask(method, release()), Ok(()));
        assert_eq!(semaphore.value(), 2);
        let refused = ask(method, release()).expect_err("released too often");
        assert!(refused.contains("released too many times"), "{refused}");
        assert_eq!(semaphore.value(), 2);
    });
}

pub(crate) fn g87_timeouts() {
    const SHORT: Duration = Duration::from_millis(60);
    fn timed(acquire: impl FnOnce() -> bool) -> Duration {
        let started = Instant::now();
        assert!(!acquire(), "acquired what others hold");
        started.elapsed()
    }
    fn in_a_child(lock: Lock, rlock: RLock, semaphore: Semaphore, bounded: BoundedSemaphore) {
        let waited = [
            timed(|| lock.acquire_timeout(SHORT).is_ok()),
            timed(|| rlock.acquire_timeout(SHORT).is_ok()),
            timed(|| semaphore.acquire_timeout(SHORT).is_ok()),
            timed(|| bounded.acquire_timeout(SHORT).is_ok()),
        ];
        assert!(
            waited.iter().all(|waited| (SHORT..Duration::from_secs(30)).contains(waited)),
            "{waited:?}"
        );
        let at_once = [
            timed(|| lock.try_acquire().is_ok()),
            timed(|| rlock.acquire_timeout(Duration::ZERO).is_ok()),
            timed(|| semaphore.try_acquire().is_ok()),
            timed(|| bounded.acquire_timeout(Duration::ZERO).is_ok()),
        ];
        assert!(at_once.iter().min() < Some(&SHORT), "{at_once:?}");
    }
    for_each_method(|method| {
        let (lock, rlock) = (Lock::new().expect("a lock"), RLock::new().expect("a lock"));
        let semaphore = Semaphore::new(1).expect("a semaphore");
        let bounded = BoundedSemaphore::new(1).expect("a semaphore");
        let held = (lock.acquire().expect("acquire"), rlock.acquire().expect("acquire"));
        let permits = (semaphore.acquire().expect("acquire"), bounded.acquire().expect("acquire"));
        let arguments = (lock.clone(), rlock.clone(), semaphore.clone(), bounded.clone());
        ask(method, Process::new(in_a_child, arguments));
        drop((held, permits));
        assert!(lock.acquire_timeout(Duration::ZERO).is_ok(), "free, and there is no time");
        assert!(
            semaphore.acquire_timeout(Duration::MAX).is_ok(),
            "free, and there is all the time"
        );
    });
}

/// A lock that counts how often it was taken: what a subclass is in Rust.
#[derive(Clone, Serialize, Deserialize)]
struct Counted {
    lock: Lock,
    taken: Semaphore,
}

impl Counted {
    fn acquire(&self) -> LockGuard<'_> {
        self.taken.release();
        self.lock.acquire().expect("acquire")
    }
}

pub(crate) fn g107_lock_of_a_type_of_ones_own() {
    for_each_method(|method| {
        let counted = Counted {
            lock: Lock::new().expect("a lock"),
            taken: Semaphore::new(0).expect("a semaphore"),
        };
        drop(counted.acquire());
        ask(method, Process::new(|counted: Counted| drop(counted.acquire()), (counted.clone(),)));
        assert_eq!(counted.taken.value(), 2);
        assert!(!counted.lock.locked());
    });
}
