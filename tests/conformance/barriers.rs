//! Group G, 97 to 106: barriers.

use std::time::{Duration, Instant};

use multiproc::{Barrier, BarrierError, Child, Process, Semaphore, StartMethod, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::{for_each_method, until};

/// How many take part, this process included.
const PARTIES: u32 = 5;

fn start<T: Serialize + DeserializeOwned>(
    method: StartMethod,
    function: impl Target<(Barrier, Semaphore), Output = T> + Copy + Send,
    barrier: &Barrier,
    counter: &Semaphore,
) -> Vec<Child<T>> {
    let one = |_| {
        let process = Process::new(function, (barrier.clone(), counter.clone()));
        process.start_method(method).start().expect("start")
    };
    (1..PARTIES).map(one).collect()
}

fn join<T: DeserializeOwned>(children: Vec<Child<T>>) -> Vec<T> {
    children.into_iter().map(|child| child.join().expect("join")).collect()
}

fn barrier() -> (Barrier, Semaphore) {
    (Barrier::new(PARTIES).expect("a barrier"), Semaphore::new(0).expect("a semaphore"))
}

/// Counts up and passes, `rounds` times; nobody is a round ahead or behind.
fn lockstep(barrier: &Barrier, counter: &Semaphore, rounds: u64) {
    let parties = u64::from(PARTIES);
    for round in 0..rounds {
        assert!(counter.value() < (round + 1) * parties);
        counter.release();
        barrier.wait().expect("pass");
        assert!(counter.value() >= (round + 1) * parties, "somebody is behind");
        barrier.wait().expect("pass");
    }
}

fn passes(
    method: StartMethod,
    rounds: u64,
    function: impl Target<(Barrier, Semaphore), Output = ()> + Copy + Send,
) {
    let (barrier, counter) = barrier();
    let children = start(method, function, &barrier, &counter);
    lockstep(&barrier, &counter, rounds);
    join(children);
    assert_eq!(counter.value(), rounds * u64::from(PARTIES));
    assert_eq!((barrier.n_waiting(), barrier.broken(), barrier.parties()), (0, false, 5));
}

pub(crate) fn g97_barrier() {
    for_each_method(|method| {
        passes(method, 1, |barrier: Barrier, counter: Semaphore| lockstep(&barrier, &counter, 1));
        passes(method, 10, |barrier: Barrier, counter: Semaphore| lockstep(&barrier, &counter, 10));
    });
}

pub(crate) fn g98_order_of_arrival() {
    for_each_method(|method| {
        let (barrier, counter) = barrier();
        let children = start(
            method,
            |barrier: Barrier, _: Semaphore| barrier.wait().expect("pass"),
            &barrier,
            &counter,
        );
        let mut places = vec![barrier.wait().expect("pass")];
        places.extend(join(children));
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4]);
    });
}

pub(crate) fn g99_action() {
    fn take_part(barrier: Barrier, counter: Semaphore) {
        barrier.wait_with(|| counter.release()).expect("pass");
        assert_eq!(counter.value(), 1, "released before the action, or the action ran twice");
        barrier.wait().expect("pass");
    }
    for_each_method(|method| {
        let (barrier, counter) = barrier();
        let children = start(method, take_part, &barrier, &counter);
        take_part(barrier.clone(), counter.clone());
        join(children);
        assert_eq!(counter.value(), 1);
        // A panic in it breaks the barrier.
        let one = Barrier::new(1).expect("a barrier");
        let panicked = std::panic::catch_unwind(|| one.wait_with(|| panic!("on purpose")));
        assert!(panicked.is_err() && one.broken());
    });
}

pub(crate) fn g100_abort() {
    fn take_part(barrier: Barrier, broken: Semaphore) {
        assert_eq!(barrier.wait(), Err(BarrierError::Broken));
        broken.release();
        assert_eq!(barrier.wait(), Err(BarrierError::Broken), "it stays so");
    }
    for_each_method(|method| {
        let (barrier, broken) = barrier();
        let children = start(method, take_part, &barrier, &broken);
        until("the others wait", || barrier.n_waiting() == 4);
        barrier.abort();
        assert!(barrier.broken());
        assert_eq!(barrier.to_string(), "<Barrier(broken)>");
        join(children);
        assert_eq!((broken.value(), barrier.n_waiting()), (4, 0));
    });
}

/// Is broken off, then passes.
fn broken_then_passes(barrier: Barrier, broken: Semaphore) {
    assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    broken.release();
    until("all are told", || broken.value() >= 4);
    until("it is as new", || !barrier.broken());
    barrier.wait().expect("pass");
}

pub(crate) fn g101_reset() {
    for_each_method(|method| {
        let (barrier, broken) = barrier();
        let children = start(method, broken_then_passes, &barrier, &broken);
        until("the others wait", || barrier.n_waiting() == 4);
        assert_eq!(barrier.to_string(), "<Barrier(waiters 4/5)>");
        barrier.reset();
        assert!(!barrier.broken());
        barrier.wait().expect("pass");
        join(children);
        assert_eq!((broken.value(), barrier.broken()), (4, false));
    });
}

pub(crate) fn g102_abort_and_reset() {
    for_each_method(|method| {
        let (barrier, broken) = barrier();
        let children = start(method, broken_then_passes, &barrier, &broken);
        until("the others wait", || barrier.n_waiting() == 4);
        barrier.abort();
        until("all are told", || broken.value() == 4);
        barrier.reset();
        barrier.wait().expect("pass");
        join(children);
        assert_eq!((barrier.n_waiting(), barrier.broken()), (0, false));
    });
}

/// Three wait, a fourth is in a hurry, the fifth does not come.
fn hurry(
    method: StartMethod,
    barrier: &Barrier,
    hasty: impl FnOnce() -> Result<usize, BarrierError>,
) {
    let wait = |barrier: Barrier| {
        barrier.wait_timeout(Duration::from_secs(60)) == Err(BarrierError::Broken)
    };
    let start =
        |_| Process::new(wait, (barrier.clone(),)).start_method(method).start().expect("start");
    let children: Vec<_> = (0..3).map(start).collect();
    until("the others wait", || barrier.n_waiting() == 3);
    let started = Instant::now();
    assert_eq!(hasty(), Err(BarrierError::TimedOut));
    assert!((SHORT..Duration::from_secs(30)).contains(&started.elapsed()));
    assert_eq!(join(children), [true; 3], "others were not told");
    assert!(barrier.broken());
    assert_eq!(barrier.wait(), Err(BarrierError::Broken));
}

const SHORT: Duration = Duration::from_millis(60);

pub(crate) fn g103_late_party() {
    for_each_method(|method| {
        let (barrier, _) = barrier();
        hurry(method, &barrier, || barrier.wait_timeout(SHORT));
    });
}

pub(crate) fn g104_default_timeout() {
    for_each_method(|method| {
        let barrier = Barrier::new(PARTIES).expect("a barrier").timeout(SHORT);
        hurry(method, &barrier, || barrier.wait());
        // It crosses with the barrier.
        let alone = |barrier: Barrier| barrier.wait() == Err(BarrierError::TimedOut);
        let barrier = Barrier::new(2).expect("a barrier").timeout(SHORT);
        let child = Process::new(alone, (barrier,)).start_method(method).start().expect("start");
        assert!(child.join().expect("join"));
    });
}

pub(crate) fn g105_one_party() {
    for_each_method(|method| {
        let alone = |barrier: Barrier| (0..3).map(|_| barrier.wait().expect("pass")).sum::<usize>();
        let barrier = Barrier::new(1).expect("a barrier");
        assert_eq!(alone(barrier.clone()), 0);
        let child = Process::new(alone, (barrier,)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), 0);
        assert!(Barrier::new(0).is_err());
    });
}

pub(crate) fn g106_a_thousand_passes() {
    for_each_method(|method| {
        passes(method, 500, |barrier: Barrier, counter: Semaphore| {
            lockstep(&barrier, &counter, 500)
        })
    });
}
