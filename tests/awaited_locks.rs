//! Locks and the like that are awaited: under several executors, beside other processes.

mod support;

#[path = "misfortune/common.rs"]
mod common;
#[path = "awaited_locks/falls_back.rs"]
mod falls_back;
#[path = "awaited_locks/members.rs"]
mod members;

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use multiproc::{AcquireError, Event, Lock, Process, RwLock, Semaphore};

use support::Test;

fn main() {
    support::run(&[TESTS, members::TESTS, falls_back::TESTS].concat());
}

const TESTS: &[Test] = tests![
    another_process_holds_it_and_lets_go,
    a_holder_that_is_killed_is_told_of,
    a_hundred_tasks_at_one_lock,
    a_future_that_is_dropped_loses_nothing,
    whatever_is_dropped_is_left_to_the_next,
    an_executor_goes_on_with_other_tasks,
    readers_and_writers_wait_for_each_other,
    permits_come_back,
    an_event_that_is_cleared_again_is_not_missed,
    hundreds_of_events_take_few_threads,
    an_event_is_set_and_cleared_while_many_come_and_go,
];

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Runs the future under each executor, one after the other.
fn under_each<F: Future<Output = ()>>(make: impl Fn() -> F) {
    async_io::block_on(make());
    smol::block_on(make());
    let mut current = tokio::runtime::Builder::new_current_thread();
    current.enable_time().build().expect("a runtime").block_on(make());
    let mut many = tokio::runtime::Builder::new_multi_thread();
    many.worker_threads(2).enable_time().build().expect("a runtime").block_on(make());
}

fn holds(lock: Lock, held: Event, go: Event) {
    let _guard = lock.acquire().expect("acquire");
    held.set();
    go.wait();
}

/// Polls once, with a waker that counts.
fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>, calls: &Arc<Calls>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(calls))))
}

#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Calls {
    /// Waits until the waker was called.
    fn wait(&self) {
        let began = Instant::now();
        while self.0.load(Ordering::SeqCst) == 0 {
            assert!(began.elapsed() < LONG, "nobody called");
            std::thread::yield_now();
        }
    }
}

fn another_process_holds_it_and_lets_go() {
    under_each(|| async {
        let (lock, held, go) =
            (Lock::new().expect("new"), Event::new().expect("new"), Event::new().expect("new"));
        let child = Process::new(holds, (lock.clone(), held.clone(), go.clone()));
        let child = child.start().expect("start");
        held.wait_async().await;
        let calls = Arc::new(Calls::default());
        let mut waiting = Box::pin(lock.acquire_async());
        assert!(poll_once(waiting.as_mut(), &calls).is_pending());
        go.set();
        let guard = waiting.await.expect("acquire");
        drop(guard);
        child.join().expect("join");
    });
}

fn a_holder_that_is_killed_is_told_of() {
    under_each(|| async {
        let (lock, held, go) =
            (Lock::new().expect("new"), Event::new().expect("new"), Event::new().expect("new"));
        let child = Process::new(holds, (lock.clone(), held.clone(), go.clone()));
        let child = child.start().expect("start");
        held.wait_async().await;
        let calls = Arc::new(Calls::default());
        let mut waiting = Box::pin(lock.acquire_async());
        assert!(poll_once(waiting.as_mut(), &calls).is_pending());
        child.kill().expect("kill");
        let Err(AcquireError::Poisoned(poisoned)) = waiting.await else { panic!("no poison") };
        assert_eq!(poisoned.pid(), child.pid());
        drop(poisoned);
        child.join().expect_err("killed");
    });
}

/// Checks that of two futures in line, the second gets the object whenever the first is dropped:
/// after so many polls, and before or after it was called. `$held` is what both wait for.
macro_rules! is_left_to_the_next {
    ($held:expr, $wait:expr) => {
        for polls in 0..3 {
            for is_called in [false, polls > 0] {
                let held = $held;
                let (first_calls, calls) = (Arc::new(Calls::default()), Arc::default());
                let mut first = Box::pin($wait);
                for _ in 0..polls {
                    assert!(poll_once(first.as_mut(), &first_calls).is_pending());
                }
                let mut second = Box::pin($wait);
                assert!(poll_once(second.as_mut(), &calls).is_pending());
                if is_called {
                    drop(held);
                    first_calls.wait();
                    drop(first);
                } else {
                    drop(first);
                    drop(held);
                }
                let late = async {
                    async_io::Timer::after(LONG).await;
                    panic!("nothing is left after {polls} polls, called: {is_called}");
                };
                let got = async { drop(second.await) };
                async_io::block_on(futures_lite::future::or(got, late));
            }
        }
    };
}

fn whatever_is_dropped_is_left_to_the_next() {
    let lock = Lock::new().expect("new");
    is_left_to_the_next!(lock.acquire().expect("acquire"), lock.acquire_async());
    let semaphore = Semaphore::new(1).expect("new");
    is_left_to_the_next!(semaphore.acquire().expect("acquire"), semaphore.acquire_async());
    let gate = RwLock::new().expect("new");
    is_left_to_the_next!(gate.write().expect("write"), gate.write_async());
    is_left_to_the_next!(gate.write().expect("write"), gate.read_async());
    is_left_to_the_next!(gate.read().expect("read"), gate.write_async());
}

/// Takes the lock again and again, beside us.
fn takes_often(lock: Lock, times: u32) {
    for _ in 0..times {
        drop(lock.acquire().expect("acquire"));
    }
}

fn a_hundred_tasks_at_one_lock() {
    let lock = Lock::new().expect("new");
    let child = Process::new(takes_often, (lock.clone(), 20_000)).start().expect("start");
    // One thread, guards over an await: the others are polled while one holds it.
    let (inside, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let executor = smol::LocalExecutor::new();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (lock, inside, done) = (lock.clone(), Rc::clone(&inside), Rc::clone(&done));
            executor.spawn(async move {
                let guard = lock.acquire_async().await.expect("acquire");
                assert_eq!(inside.replace(1), 0, "two at once");
                smol::future::yield_now().await;
                inside.set(0);
                done.set(done.get() + 1);
                drop(guard);
            })
        })
        .collect();
    async_io::block_on(executor.run(async {
        for task in tasks {
            task.await;
        }
    }));
    assert_eq!(done.get(), 100);
    child.join().expect("join");
    // Several threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    let runtime = runtime.expect("a runtime");
    let count = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (lock, count) = (lock.clone(), Arc::clone(&count));
            runtime.spawn(async move {
                for _ in 0..20 {
                    let _guard = lock.acquire_async().await.expect("acquire");
                    let before = count.load(Ordering::Relaxed);
                    std::hint::spin_loop();
                    count.store(before + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("task");
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 2000);
}

fn tries(lock: Lock) -> bool {
    lock.acquire_timeout(LONG).is_ok()
}

fn a_future_that_is_dropped_loses_nothing() {
    let lock = Lock::new().expect("new");
    for was_called in [false, true] {
        let (first, second) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let guard = lock.acquire().expect("acquire");
        let mut dropped = Box::pin(lock.acquire_async());
        let mut other = pin!(lock.acquire_async());
        assert!(poll_once(dropped.as_mut(), &first).is_pending());
        assert!(poll_once(other.as_mut(), &second).is_pending());
        if was_called {
            drop(guard);
            first.wait();
            drop(dropped);
        } else {
            drop(dropped);
            drop(guard);
        }
        // Another process is not kept out, and the other task is called.
        assert!(Process::new(tries, (lock.clone(),)).start().expect("start").join().expect("join"));
        second.wait();
        drop(async_io::block_on(other).expect("acquire"));
    }
    // Never polled, and ready.
    drop(lock.acquire_async());
    drop(async_io::block_on(lock.acquire_async()));
    assert!(Process::new(tries, (lock.clone(),)).start().expect("start").join().expect("join"));
}

fn an_executor_goes_on_with_other_tasks() {
    let lock = Lock::new().expect("new");
    let guard = lock.acquire().expect("acquire");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        // The executor's own limit, which only ends the wait if the thread is not blocked.
        let limit = Duration::from_millis(50);
        assert!(tokio::time::timeout(limit, lock.acquire_async()).await.is_err());
        drop(guard);
        let acquired = tokio::time::timeout(LONG, lock.acquire_async()).await;
        drop(acquired.expect("in time").expect("acquire"));
    });
}

fn readers_and_writers_wait_for_each_other() {
    under_each(|| async {
        let lock = RwLock::new().expect("new");
        let calls = Arc::new(Calls::default());
        let reader = lock.read_async().await.expect("read");
        drop(lock.read_async().await.expect("read"));
        let mut writing = Box::pin(lock.write_async());
        assert!(poll_once(writing.as_mut(), &calls).is_pending());
        drop(reader);
        let writer = writing.await.expect("write");
        let mut reading = Box::pin(lock.read_async());
        assert!(poll_once(reading.as_mut(), &calls).is_pending());
        drop(writer);
        drop(reading.await.expect("read"));
        assert!(!lock.is_poisoned());
    });
}

fn permits_come_back() {
    under_each(|| async {
        let slots = Semaphore::new(1).expect("new");
        let calls = Arc::new(Calls::default());
        let permit = slots.acquire_async().await.expect("acquire");
        let mut waiting = Box::pin(slots.acquire_async());
        assert!(poll_once(waiting.as_mut(), &calls).is_pending());
        drop(permit);
        waiting.await.expect("acquire").forget();
        // What another process gives.
        let mut waiting = Box::pin(slots.acquire_async());
        assert!(poll_once(waiting.as_mut(), &calls).is_pending());
        let child = Process::new(|slots: Semaphore| slots.release(), (slots.clone(),));
        let child = child.start().expect("start");
        drop(waiting.await.expect("acquire"));
        child.join().expect("join");
    });
}

fn an_event_that_is_cleared_again_is_not_missed() {
    under_each(|| async {
        let event = Event::new().expect("new");
        let calls = Arc::new(Calls::default());
        let (unpolled, mut polled) = (event.wait_async(), Box::pin(event.wait_async()));
        assert!(poll_once(polled.as_mut(), &calls).is_pending());
        event.set();
        event.clear();
        unpolled.await;
        polled.await;
        let mut after = Box::pin(event.wait_async());
        assert!(poll_once(after.as_mut(), &calls).is_pending());
    });
}

fn hundreds_of_events_take_few_threads() {
    let events: Vec<_> = (0..300).map(|_| Event::new().expect("new")).collect();
    let mut waiting: Vec<_> = Vec::new();
    for event in &events {
        // Two tasks at each.
        for _ in 0..2 {
            let (mut future, calls) = (Box::pin(event.wait_async()), Arc::new(Calls::default()));
            assert!(poll_once(future.as_mut(), &calls).is_pending());
            waiting.push((future, calls));
        }
    }
    // Beside this one, one for each 127 events.
    let threads = std::fs::read_dir("/proc/self/task").expect("tasks").count();
    assert_eq!(threads, 1 + 3);
    // Some are dropped, and their objects given up.
    let mut dropped = 0;
    waiting.retain(|_| {
        dropped += 1;
        dropped % 5 != 0
    });
    let (by_us, by_others) = events.split_at(200);
    let set = |events: Vec<Event>| events.iter().for_each(Event::set);
    let child = Process::new(set, (by_others.to_vec(),)).start().expect("start");
    by_us.iter().rev().for_each(Event::set);
    for (future, calls) in waiting {
        calls.wait();
        async_io::block_on(future);
    }
    child.join().expect("join");
}

/// Whoever has looked while it was not set goes on, however soon it is cleared again.
fn an_event_is_set_and_cleared_while_many_come_and_go() {
    let event = Event::new().expect("new");
    let calls = Arc::new(Calls::default());
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let event = event.clone();
            std::thread::spawn(move || {
                for _ in 0..2000 {
                    futures_lite::future::block_on(event.wait_async());
                }
            })
        })
        .collect();
    let began = Instant::now();
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        assert!(began.elapsed() < LONG, "somebody was not called");
        // One that comes and goes.
        let mut passing = Box::pin(event.wait_async());
        let _ = poll_once(passing.as_mut(), &calls);
        event.set();
        event.clear();
        drop(passing);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("join"));
}
