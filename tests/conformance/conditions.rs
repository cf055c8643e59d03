//! Group G, 88 to 96: conditions and events.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multiproc::{Condition, Event, Lock, Process, Semaphore, StartMethod};

use crate::support::{for_each_method, send_signal, until};
use crate::tools::{self, SIGNALS};

/// How many wait at a condition, as it prints it.
fn waiting(condition: &Condition) -> usize {
    let text = condition.to_string();
    let number = text
        .strip_suffix(")>")
        .and_then(|text| text.rsplit(' ').next())
        .expect("a printed condition");
    number.parse().expect("a number")
}

/// Waits once, says that it woke.
fn sleeper(condition: Condition, woken: Semaphore, timeout: Option<Duration>) -> bool {
    let mut guard = condition.acquire().unwrap();
    let notified = match timeout {
        Some(timeout) => condition.wait_timeout(&mut guard, timeout).unwrap(),
        None => condition.wait(&mut guard).map(|()| true).unwrap(),
    };
    woken.release();
    notified
}

/// Three processes and three threads that wait, and `body` with them, which has to wake all.
fn with_six(method: StartMethod, body: impl FnOnce(&Condition, &Semaphore)) {
    let condition = Condition::new().expect("a condition");
    let woken = Semaphore::new(0).expect("a semaphore");
    let start = |_| {
        let process = Process::new(sleeper, (condition.clone(), woken.clone(), None));
        process.start_method(method).start().expect("start")
    };
    let children: Vec<_> = (0..3).map(start).collect();
    until("three wait", || waiting(&condition) == 3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (condition, woken) = (condition.clone(), woken.clone());
            scope.spawn(move || sleeper(condition, woken, None));
        }
        until("six wait", || waiting(&condition) == 6);
        body(&condition, &woken);
        assert_eq!(waiting(&condition), 0);
    });
    for child in children {
        assert!(child.join().expect("join"));
    }
    assert_eq!(woken.value(), 6);
}

/// So many, and no more in a while.
#[track_caller]
fn exactly(woken: &Semaphore, count: u64) {
    until("those who were notified wake", || woken.value() >= count);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(woken.value(), count);
}

pub(crate) fn g88_notify() {
    for_each_method(|method| {
        with_six(method, |condition, woken| {
            for count in 1..=6 {
                let guard = condition.acquire().expect("acquire");
                condition.notify_one();
                drop(guard);
                exactly(woken, count);
            }
        });
    });
}

pub(crate) fn g89_notify_all() {
    for_each_method(|method| {
        with_six(method, |condition, woken| {
            // Some give up first.
            let start = |_| {
                let late = Process::new(
                    sleeper,
                    (condition.clone(), woken.clone(), Some(Duration::from_millis(50))),
                );
                late.start_method(StartMethod::Forkserver).start().expect("start")
            };
            let late: Vec<_> = (0..2).map(start).collect();
            for child in late {
                assert!(!child.join().expect("join"), "nobody had notified it");
            }
            assert_eq!((woken.value(), waiting(condition)), (2, 6));
            for _ in 0..2 {
                woken.acquire().expect("acquire").forget();
            }
            let guard = condition.acquire().expect("acquire");
            condition.notify_all();
            drop(guard);
            exactly(woken, 6);
        });
    });
}

pub(crate) fn g90_notify_some() {
    for_each_method(|method| {
        with_six(method, |condition, woken| {
            for (count, woken_now) in [(1, 1), (2, 3), (0, 3), (usize::MAX, 6), (3, 6)] {
                let guard = condition.acquire().expect("acquire");
                condition.notify(count);
                drop(guard);
                exactly(woken, woken_now);
            }
        });
        // Nothing is kept for those who come later.
        let condition = Condition::new().expect("a condition");
        condition.notify_all();
        let mut guard = condition.acquire().expect("acquire");
        assert!(!condition.wait_timeout(&mut guard, Duration::from_millis(1)).expect("wait"));
    });
}

pub(crate) fn g91_wait_with_timeout() {
    const SHORT: Duration = Duration::from_millis(60);
    fn in_a_child(condition: Condition) {
        let started = Instant::now();
        let mut guard = condition.acquire().unwrap();
        assert!(!condition.wait_timeout(&mut guard, SHORT).unwrap());
        assert!((SHORT..Duration::from_secs(30)).contains(&started.elapsed()));
        assert!(condition.lock().locked(), "the lock was not acquired again");
        drop(guard);
        assert!(!condition.lock().locked());
    }
    for_each_method(|method| {
        let condition = Condition::new().expect("a condition");
        let process = Process::new(in_a_child, (condition.clone(),));
        process.start_method(method).start().expect("start").join().expect("join");
        // A guard of another lock is no ground to wait on.
        let other = Lock::new().expect("a lock");
        let mut guard = other.acquire().expect("acquire");
        assert!(condition.wait(&mut guard).is_err());
    });
}

pub(crate) fn g92_wait_for() {
    fn count_up(condition: Condition, state: Semaphore) {
        for _ in 0..4 {
            let _guard = condition.acquire().unwrap();
            state.release();
            condition.notify_one();
        }
    }
    for_each_method(|method| {
        let lock = Lock::new().expect("a lock");
        let condition = Condition::with_lock(&lock).expect("a condition");
        let state = Semaphore::new(0).expect("a semaphore");
        let process = Process::new(count_up, (condition.clone(), state.clone()));
        let child = process.start_method(method).start().expect("start");
        let mut guard = lock.acquire().expect("acquire");
        condition.wait_for(&mut guard, || state.value() == 4).expect("wait");
        assert_eq!(state.value(), 4);
        drop(guard);
        child.join().expect("join");
    });
}

pub(crate) fn g93_wait_for_with_timeout() {
    const SHORT: Duration = Duration::from_millis(60);
    fn never(condition: Condition) -> bool {
        let started = Instant::now();
        let mut guard = condition.acquire().unwrap();
        let was = condition.wait_for_timeout(&mut guard, SHORT, || false).unwrap();
        assert!((SHORT..Duration::from_secs(30)).contains(&started.elapsed()));
        was
    }
    for_each_method(|method| {
        let condition = Condition::new().expect("a condition");
        let child =
            Process::new(never, (condition.clone(),)).start_method(method).start().expect("start");
        // Notified all the time, and still not before its time.
        for _ in 0..30 {
            condition.notify_all();
            std::thread::sleep(Duration::from_millis(3));
        }
        assert!(!child.join().expect("join"));
        let mut guard = condition.acquire().expect("acquire");
        assert!(condition.wait_for_timeout(&mut guard, Duration::ZERO, || true).expect("wait"));
    });
}

pub(crate) fn g94_result_of_waiting() {
    /// An interrupt runs its handler, and the wait goes on.
    fn interrupted(condition: Condition, ready: Event) -> (bool, u32) {
        tools::count(libc::SIGINT);
        let mut guard = condition.acquire().unwrap();
        ready.set();
        let notified = condition.wait_timeout(&mut guard, Duration::from_secs(60)).unwrap();
        (notified, SIGNALS.load(Ordering::Relaxed))
    }
    for_each_method(|method| {
        let condition = Condition::new().expect("a condition");
        let ready = Event::new().expect("an event");
        let mut guard = condition.acquire().expect("acquire");
        assert!(!condition.wait_timeout(&mut guard, Duration::ZERO).expect("wait"));
        assert!(!condition.wait_timeout(&mut guard, Duration::from_millis(10)).expect("wait"));
        drop(guard);
        let process = Process::new(interrupted, (condition.clone(), ready.clone()));
        let child = process.start_method(method).start().expect("start");
        ready.wait();
        until("it waits", || waiting(&condition) == 1);
        send_signal(child.pid(), libc::SIGINT);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(waiting(&condition), 1, "the signal ended the wait");
        condition.notify_one();
        assert_eq!(child.join().expect("join"), (true, 1));
    });
}

pub(crate) fn g95_event() {
    const SHORT: Duration = Duration::from_millis(60);
    for_each_method(|method| {
        let event = Event::new().expect("an event");
        assert!(!event.is_set());
        assert!(!event.wait_timeout(Duration::ZERO));
        let started = Instant::now();
        assert!(!event.wait_timeout(SHORT));
        assert!((SHORT..Duration::from_secs(30)).contains(&started.elapsed()));
        event.set();
        assert!(event.is_set());
        event.wait();
        assert!(event.wait_timeout(Duration::ZERO) && event.wait_timeout(Duration::from_secs(60)));
        event.set();
        event.clear();
        assert!(!event.is_set());
        event.clear();
        let process = Process::new(|event: Event| event.set(), (event.clone(),));
        let child = process.start_method(method).start().expect("start");
        event.wait();
        assert!(event.is_set());
        child.join().expect("join");
        // Many wait, and all go on, however soon it is unset.
        event.clear();
        let ready = Semaphore::new(0).expect("a semaphore");
        let wait = |event: Event, ready: Semaphore| {
            ready.release();
            event.wait();
        };
        let start = |_| {
            Process::new(wait, (event.clone(), ready.clone()))
                .start_method(method)
                .start()
                .expect("start")
        };
        let children: Vec<_> = (0..3).map(start).collect();
        until("all are on their way", || ready.value() == 3);
        std::thread::sleep(Duration::from_millis(50));
        event.set();
        event.clear();
        // Whoever was late.
        std::thread::sleep(Duration::from_millis(50));
        event.set();
        for child in children {
            child.join().expect("join");
        }
    });
    static WOKEN: AtomicU32 = AtomicU32::new(0);
    let event = Event::new().expect("an event");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                event.wait();
                WOKEN.fetch_add(1, Ordering::Relaxed);
            });
        }
        event.set();
    });
    assert_eq!(WOKEN.load(Ordering::Relaxed), 3);
}

pub(crate) fn g96_printed_event() {
    for_each_method(|method| {
        let event = Event::new().expect("an event");
        assert_eq!([event.to_string(), format!("{event:?}")], ["<Event unset>", "<Event unset>"]);
        event.set();
        let process = Process::new(|event: Event| event.to_string(), (event.clone(),));
        let printed = process.start_method(method).start().expect("start").join().expect("join");
        assert_eq!(printed, "<Event set>");
        event.clear();
        assert_eq!(event.to_string(), "<Event unset>");
    });
}
