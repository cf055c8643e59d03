//! Conditions and barriers, where a thread of the library waits in a task's place.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multiproc::{Barrier, BarrierError, Condition, Event, Lock, LockGuard, Process};

use crate::support::Test;
use crate::{Calls, LONG, poll_once, tests, under_each};

pub(crate) const TESTS: &[Test] = tests![
    another_process_notifies,
    a_hundred_tasks_wait_at_one_condition,
    a_notification_is_passed_on_whenever_its_future_is_dropped,
    a_notification_is_passed_on_by_who_is_killed,
    a_guard_of_another_lock_is_refused,
    parties_are_tasks_and_processes,
    a_party_that_is_dropped_breaks_the_barrier,
    a_party_that_is_dropped_late_breaks_nothing,
    a_party_that_is_killed_breaks_the_barrier,
];

/// The future of a wait.
type Waiting<'a> = Pin<Box<dyn Future<Output = LockGuard<'a>> + 'a>>;

/// Waits at the condition, having taken its lock.
fn wait_at(condition: &Condition) -> Waiting<'_> {
    Box::pin(async {
        let guard = condition.lock().acquire_async().await.expect("acquire");
        condition.wait_async(guard).await.expect("wait")
    })
}

/// Polls until it is so.
fn poll_until<F: Future + ?Sized>(future: &mut Pin<Box<F>>, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "it is not so");
        assert!(poll_once(future.as_mut(), &Arc::default()).is_pending());
        std::thread::yield_now();
    }
}

/// Polls until it is the last of so many that wait, and has released the lock.
fn poll_until_waits(future: &mut Waiting<'_>, condition: &Condition, count: usize) {
    poll_until(future, || count_at(condition) == count && !condition.lock().locked());
}

fn count_at(condition: &Condition) -> usize {
    let text = condition.to_string();
    let count = text.rsplit(", ").next().and_then(|rest| rest.strip_suffix(")>"));
    count.and_then(|count| count.parse().ok()).expect("a number of those who wait")
}

fn done_in_time<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        async_io::Timer::after(LONG).await;
        panic!("it is not done");
    };
    async_io::block_on(futures_lite::future::or(future, late))
}

/// In turns: each waits until the other has changed the flag.
fn another_process_notifies() {
    const TURNS: u32 = 20;
    fn set_in_turn(condition: Condition, changed: Event) {
        let mut guard = condition.acquire().expect("acquire");
        for _ in 0..TURNS {
            condition.wait_for(&mut guard, || !changed.is_set()).expect("wait");
            changed.set();
            condition.notify_all();
        }
    }
    under_each(|| async {
        let (condition, changed) = (Condition::new().expect("new"), Event::new().expect("new"));
        let child = Process::new(set_in_turn, (condition.clone(), changed.clone()));
        let child = child.start().expect("start");
        let mut guard = condition.lock().acquire_async().await.expect("acquire");
        for _ in 0..TURNS {
            while !changed.is_set() {
                guard = condition.wait_async(guard).await.expect("wait");
                assert!(condition.lock().locked());
            }
            changed.clear();
            condition.notify_all();
        }
        drop(guard);
        child.join().expect("join");
    });
}

fn a_hundred_tasks_wait_at_one_condition() {
    let condition = Condition::new().expect("new");
    let mut tasks: Vec<_> = (0..100).map(|_| wait_at(&condition)).collect();
    for (before, task) in tasks.iter_mut().enumerate() {
        poll_until_waits(task, &condition, before + 1);
    }
    let guard = condition.acquire().expect("acquire");
    condition.notify(60);
    condition.notify(40);
    drop(guard);
    for task in tasks {
        drop(done_in_time(task));
    }
    assert_eq!(count_at(&condition), 0);
}

/// Two wait, and one notification comes: wherever the first is dropped, the second has it.
fn a_notification_is_passed_on_whenever_its_future_is_dropped() {
    for moment in 0..4 {
        let condition = Condition::new().expect("new");
        let (mut first, mut second) = (wait_at(&condition), wait_at(&condition));
        let calls = Arc::new(Calls::default());
        poll_until_waits(&mut first, &condition, 1);
        assert!(poll_once(first.as_mut(), &calls).is_pending());
        poll_until_waits(&mut second, &condition, 2);
        match moment {
            // Before: it does not count, or passes it on.
            0 => {
                drop(first);
                condition.notify_one();
            }
            // Notified, and not polled.
            1 => {
                condition.notify_one();
                drop(first);
            }
            2 => {
                condition.notify_one();
                calls.wait();
                drop(first);
            }
            // Notified, and in line for the lock.
            _ => {
                let guard = condition.acquire().expect("acquire");
                condition.notify_one();
                calls.wait();
                assert!(poll_once(first.as_mut(), &calls).is_pending());
                drop(first);
                drop(guard);
            }
        }
        drop(done_in_time(second));
        // The lock goes with a future that is dropped while it holds it.
        let mut third = Box::pin(condition.wait_async(condition.acquire().expect("acquire")));
        assert!(poll_once(third.as_mut(), &calls).is_pending());
        drop(third);
        assert!(!condition.lock().locked());
    }
}

fn a_notification_is_passed_on_by_who_is_killed() {
    fn wait(condition: Condition) {
        drop(done_in_time(wait_at(&condition)));
    }
    let condition = Condition::new().expect("new");
    let child = Process::new(wait, (condition.clone(),)).start().expect("start");
    let began = Instant::now();
    while count_at(&condition) == 0 || condition.lock().locked() {
        assert!(began.elapsed() < LONG, "it does not wait");
        std::thread::yield_now();
    }
    let mut second = wait_at(&condition);
    poll_until_waits(&mut second, &condition, 2);
    // It cannot go on with the lock in our hands, and dies with the notification in its.
    let guard = condition.acquire().expect("acquire");
    condition.notify_one();
    child.kill().expect("kill");
    child.join().expect_err("killed");
    drop(guard);
    drop(done_in_time(second));
}

fn a_guard_of_another_lock_is_refused() {
    let (condition, other) = (Condition::new().expect("new"), Lock::new().expect("new"));
    let guard = other.acquire().expect("acquire");
    let refused = done_in_time(condition.wait_async(guard)).map(drop);
    assert!(matches!(refused, Err(multiproc::AcquireError::OtherLock)));
    assert!(!other.locked());
}

fn parties_are_tasks_and_processes() {
    const ROUNDS: usize = 30;
    fn step(barrier: Barrier) -> Vec<usize> {
        (0..ROUNDS).map(|_| barrier.wait().expect("wait")).collect()
    }
    under_each(|| async {
        let barrier = Barrier::new(3).expect("new");
        let child = Process::new(step, (barrier.clone(),)).start().expect("start");
        let mut own = Vec::new();
        for _ in 0..ROUNDS {
            let both = futures_lite::future::zip(barrier.wait_async(), barrier.wait_async()).await;
            own.push([both.0.expect("wait"), both.1.expect("wait")]);
        }
        for (theirs, ours) in child.join().expect("join").into_iter().zip(own) {
            let all: BTreeSet<_> = ours.into_iter().chain([theirs]).collect();
            assert_eq!(all, BTreeSet::from([0, 1, 2]));
        }
    });
}

fn a_party_that_is_dropped_breaks_the_barrier() {
    let barrier = Barrier::new(2).expect("new");
    // Never polled, it has not come.
    drop(barrier.wait_async());
    let mut party = Box::pin(barrier.wait_async());
    poll_until(&mut party, || barrier.n_waiting() == 1);
    drop(party);
    let began = Instant::now();
    while !barrier.broken() {
        assert!(began.elapsed() < LONG, "it is not broken");
        std::thread::yield_now();
    }
    assert_eq!(done_in_time(barrier.wait_async()), Err(BarrierError::Broken));
    barrier.reset();
    let both = futures_lite::future::zip(barrier.wait_async(), barrier.wait_async());
    assert!(matches!(done_in_time(both), (Ok(_), Ok(_))));
    let limited = barrier.timeout(Duration::from_millis(1));
    assert_eq!(done_in_time(limited.wait_async()), Err(BarrierError::TimedOut));
}

fn a_party_that_is_dropped_late_breaks_nothing() {
    let barrier = Barrier::new(2).expect("new");
    for _ in 0..50 {
        let calls = Arc::new(Calls::default());
        let mut party = Box::pin(barrier.wait_async());
        assert!(poll_once(party.as_mut(), &calls).is_pending());
        barrier.wait_timeout(LONG).expect("wait");
        // The round is complete, whether the future knows it or not.
        drop(party);
        assert!(!barrier.broken());
    }
}

fn a_party_that_is_killed_breaks_the_barrier() {
    fn wait(barrier: Barrier) {
        let _ = done_in_time(barrier.wait_async());
    }
    let barrier = Barrier::new(3).expect("new");
    let child = Process::new(wait, (barrier.clone(),)).start().expect("start");
    let mut party = Box::pin(barrier.wait_async());
    poll_until(&mut party, || barrier.n_waiting() == 2);
    child.kill().expect("kill");
    child.join().expect_err("killed");
    assert_eq!(done_in_time(party), Err(BarrierError::Broken));
}
