//! Waits until a point in time say a time-out as those for a time do.

mod support;

use std::time::{Duration, Instant};

use multiproc::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Pool, Process, RLock, RwLock, Semaphore,
    SharedValue, current_process,
};

use support::for_each_method;

suite!(waits_until_a_point_in_time, joins_until_a_point_in_time);

fn idle() {
    while !current_process().wait_stop(Duration::from_secs(3600)) {}
}

/// A point in time that is over, and one that is far.
fn times() -> (Instant, Instant) {
    let now = Instant::now();
    (now, now + Duration::from_secs(600))
}

fn waits_until_a_point_in_time() {
    let (over, far) = times();
    let lock = Lock::new().expect("lock");
    let held = lock.acquire_deadline(far).expect("it is free");
    let other = lock.clone();
    let is_refused = std::thread::spawn(move || other.acquire_deadline(over).is_err());
    assert!(is_refused.join().expect("joined"), "it is held");
    drop(held);
    let rlock = RLock::new().expect("lock");
    drop(rlock.acquire_deadline(far).expect("it is free"));
    let shared = RwLock::new().expect("lock");
    let read = shared.read_deadline(far).expect("it is free");
    assert!(shared.write_deadline(over).is_err(), "it is read");
    drop(read);
    drop(shared.write_deadline(far).expect("it is free"));
    let semaphore = Semaphore::new(1).expect("semaphore");
    let permit = semaphore.acquire_deadline(far).expect("there is one");
    assert!(semaphore.acquire_deadline(over).is_err(), "there is none left");
    drop(permit);
    let bounded = BoundedSemaphore::new(1).expect("semaphore");
    drop(bounded.acquire_deadline(far).expect("there is one"));
    let value = SharedValue::new(7_u32).expect("value");
    assert_eq!(*value.lock_deadline(far).expect("it is free"), 7);
    let event = Event::new().expect("event");
    assert!(!event.wait_deadline(over), "it is not set");
    event.set();
    assert!(event.wait_deadline(far), "it is set");
    let condition = Condition::new().expect("condition");
    let mut guard = condition.lock().acquire().expect("it is free");
    assert!(!condition.wait_deadline(&mut guard, over).expect("waited"));
    assert!(!condition.wait_for_deadline(&mut guard, over, || false).expect("waited"));
    assert!(condition.wait_for_deadline(&mut guard, far, || true).expect("waited"));
    drop(guard);
    assert!(Barrier::new(2).expect("barrier").wait_deadline(over).is_err(), "nobody else comes");
}

fn joins_until_a_point_in_time() {
    for_each_method(|method| {
        let (over, far) = times();
        let child = Process::new(idle, ()).start_method(method).start().expect("start");
        assert!(child.join_deadline(over).expect("it runs").is_none());
        assert!(!child.handle().join_deadline(over).expect("it runs"));
        child.kill().expect("kill");
        assert!(child.join_deadline(far).is_err(), "{method}: it was killed");
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        let task = pool.submit(idle, ());
        assert!(task.join_deadline(over).expect("it runs").is_none());
        let mut outcomes = pool.imap(|n: u32| n, 0..1);
        assert!(outcomes.next_deadline(over).is_err(), "the worker is at another task");
        drop(outcomes);
        pool.terminate();
        assert!(task.join_deadline(far).is_err());
        assert!(pool.join_deadline(far).expect("it ends"));
    });
}
