//! Where no thread can be made, and in forked copies.

use std::sync::Arc;

use multiproc::{AcquireError, Barrier, BarrierError, Condition, Event, Lock, Process};

use crate::common::in_copy;
use crate::support::Test;
use crate::{Calls, LONG, holds, poll_once, tests};

pub(crate) const TESTS: &[Test] = tests![
    without_a_thread_they_look_again_in_rounds,
    without_a_deputy_nobody_waits,
    a_forked_copy_has_lines_of_its_own,
    a_forked_copy_has_no_deputy,
];

/// Bounds what this process can map, so that no stack of a thread has room.
fn have_no_room_for_threads() {
    let mapped = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = mapped.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    let most = pages * 4096 + (1 << 20);
    crate::common::limit(libc::RLIMIT_AS, most);
    std::thread::Builder::new().spawn(|| ()).expect_err("a thread has room");
}

/// A child that holds the lock until it may go.
fn held() -> (Lock, Event, multiproc::Child<()>) {
    let (lock, held, go) =
        (Lock::new().expect("new"), Event::new().expect("new"), Event::new().expect("new"));
    let child = Process::new(holds, (lock.clone(), held.clone(), go.clone()));
    let child = child.start().expect("start");
    held.wait();
    (lock, go, child)
}

fn without_a_thread_they_look_again_in_rounds() {
    let (lock, go, child) = held();
    // The reactor has its thread before there is no room for one.
    async_io::block_on(async_io::Timer::after(std::time::Duration::from_millis(1)));
    have_no_room_for_threads();
    let calls = Arc::new(Calls::default());
    let mut waiting = Box::pin(lock.acquire_async());
    assert!(poll_once(waiting.as_mut(), &calls).is_pending());
    let mut told = Box::pin(go.wait_async());
    assert!(poll_once(told.as_mut(), &calls).is_pending());
    // One that is dropped leaves nothing behind.
    let mut other = Box::pin(lock.acquire_async());
    assert!(poll_once(other.as_mut(), &calls).is_pending());
    drop(other);
    go.set();
    let late = async {
        async_io::Timer::after(LONG).await;
        panic!("nobody looks again");
    };
    let both = async {
        told.await;
        waiting.await
    };
    let got = async_io::block_on(futures_lite::future::or(both, late));
    drop(got.expect("acquire"));
    child.join().expect("join");
}

fn without_a_deputy_nobody_waits() {
    let (condition, barrier) = (Condition::new().expect("new"), Barrier::new(2).expect("new"));
    have_no_room_for_threads();
    let guard = condition.acquire().expect("acquire");
    let refused = futures_lite::future::block_on(condition.wait_async(guard)).map(drop);
    assert!(matches!(refused, Err(AcquireError::TooMany)));
    assert!(!condition.lock().locked());
    assert_eq!(futures_lite::future::block_on(barrier.wait_async()), Err(BarrierError::TooMany));
    assert!(!barrier.broken());
}

fn a_forked_copy_has_lines_of_its_own() {
    let (lock, go, child) = held();
    let calls = Arc::new(Calls::default());
    let mut waiting = Box::pin(lock.acquire_async());
    assert!(poll_once(waiting.as_mut(), &calls).is_pending());
    let mut told = Box::pin(go.wait_async());
    assert!(poll_once(told.as_mut(), &calls).is_pending());
    let mut waiting = Some((waiting, told));
    // Beside the thread of the line: the copy makes nothing of what that one may hold.
    in_copy(|| {
        let (mut inherited, mut told) = waiting.take().expect("the copy's");
        assert!(poll_once(told.as_mut(), &Arc::default()).is_pending());
        let mut fresh = Box::pin(lock.acquire_async());
        for future in [&mut inherited, &mut fresh] {
            assert!(poll_once(future.as_mut(), &Arc::default()).is_pending());
        }
        go.set();
        futures_lite::future::block_on(told);
        drop(futures_lite::future::block_on(inherited).expect("acquire"));
        drop(futures_lite::future::block_on(fresh).expect("acquire"));
    });
    let (waiting, told) = waiting.expect("the copy took its own");
    futures_lite::future::block_on(told);
    drop(futures_lite::future::block_on(waiting).expect("acquire"));
    child.join().expect("join");
}

fn a_forked_copy_has_no_deputy() {
    let (condition, barrier) = (Condition::new().expect("new"), Barrier::new(2).expect("new"));
    let calls = Arc::new(Calls::default());
    let guard = condition.acquire().expect("acquire");
    let mut waiting = Some(Box::pin(condition.wait_async(guard)));
    let mut party = Some(Box::pin(barrier.wait_async()));
    let began = std::time::Instant::now();
    while condition.lock().locked() {
        assert!(began.elapsed() < LONG, "it does not wait");
        let future = waiting.as_mut().expect("there").as_mut();
        assert!(poll_once(future, &calls).is_pending());
    }
    assert!(poll_once(party.as_mut().expect("there").as_mut(), &calls).is_pending());
    in_copy(|| {
        // Woken for no reason, with the lock.
        let waiting = waiting.take().expect("the copy's");
        drop(futures_lite::future::block_on(waiting).expect("acquire"));
        let party = party.take().expect("the copy's");
        assert_eq!(futures_lite::future::block_on(party), Err(BarrierError::Broken));
        // One of the copy's own has a deputy of the copy's.
        let both = futures_lite::future::zip(barrier.wait_async(), std::future::ready(()));
        let (own, ()) = futures_lite::future::block_on(both);
        own.expect("with the original's");
    });
    // Theirs goes on: the party in the copy was the second.
    let party = party.expect("the copy took its own");
    futures_lite::future::block_on(party).expect("wait");
    condition.notify_one();
    let waiting = waiting.expect("the copy took its own");
    drop(futures_lite::future::block_on(waiting).expect("acquire"));
}
