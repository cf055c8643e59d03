//! Waits until a point in time say a time-out as those for a time do; many things are waited for at
//! once, and again and again.

mod support;

#[path = "misfortune/common.rs"]
mod common;
#[path = "waits/sets.rs"]
mod sets;

use std::time::{Duration, Instant};

use multiproc::{
    Address, Barrier, BoundedSemaphore, Condition, Connection, Descriptor, Event, JoinableQueue,
    Listener, Lock, Pool, Process, Queue, QueueReceiver, RLock, Receiver, RwLock, Semaphore,
    SharedValue, WaitSet, connect, connection_with_capacity, current_process, pipe_with_capacity,
    wait,
};

use support::{Test, for_each_method};

fn main() {
    support::run(&[TESTS, sets::TESTS].concat());
}

const TESTS: &[Test] = tests![
    waits_until_a_point_in_time,
    joins_until_a_point_in_time,
    room_is_waited_for,
    room_of_who_is_killed,
    room_or_value_whichever_comes_first,
    each_of_two_who_wait_for_room_is_told,
    room_goes_on_while_descriptors_lie_unread,
    tasks_are_waited_for,
    maps_are_waited_for,
    lazy_maps_are_waited_for,
];

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

const LONG: Option<Duration> = Some(Duration::from_secs(60));
const NOW: Option<Duration> = Some(Duration::ZERO);

/// Takes one value from each channel each time that it is told to.
fn takes(
    turns: Queue<()>,
    mut pipe: Receiver<[u64; 8]>,
    mut ring: Connection<[u64; 8]>,
    mut stream: Connection<Vec<u8>>,
    queue: Queue<u32>,
    half: QueueReceiver<u32>,
    jobs: JoinableQueue<u32>,
) {
    for turn in &turns {
        turn.expect("a turn");
        pipe.recv().expect("a value");
        ring.recv().expect("a value");
        stream.recv().expect("a value");
        queue.get().expect("a value");
        half.get().expect("a value");
        jobs.get().expect("a value");
    }
}

fn room_is_waited_for() {
    for_each_method(|method| {
        let turns = Queue::new().expect("queue");
        let (mut pipe, pipe_end) = pipe_with_capacity(4096).expect("pipe");
        let (mut ring, ring_end) = connection_with_capacity(4096).expect("connection");
        let mut listener = Listener::bind(Address::fresh().expect("address")).expect("listener");
        let mut stream: Connection<Vec<u8>> = connect(listener.address()).expect("connect");
        let stream_end = listener.accept().expect("accept");
        let queue = Queue::bounded(2).expect("queue");
        let (half, half_end) = Queue::bounded(2).expect("queue").split().expect("split");
        let jobs = JoinableQueue::bounded(2).expect("queue");
        let ends =
            (turns.clone(), pipe_end, ring_end, stream_end, queue.clone(), half_end, jobs.clone());
        let child = Process::new(takes, ends).start_method(method).start().expect("start");
        while pipe.try_send([1; 8]).is_ok() {}
        while ring.try_send([1; 8]).is_ok() {}
        while stream.try_send(vec![1; 200_000]).is_ok() {}
        while queue.try_put(1).is_ok() {}
        while half.try_put(1).is_ok() {}
        while jobs.try_put(1).is_ok() {}
        for _ in 0..3 {
            let all = (pipe.room(), ring.room(), queue.room(), half.room(), jobs.room());
            let list: [&dyn multiproc::Waitable; 5] = [&all.0, &all.1, &all.2, &all.3, &all.4];
            assert!(wait(&list, NOW).expect("wait").is_empty(), "{method}: there is room");
            turns.put(()).expect("room");
            for thing in list {
                assert_eq!(wait(&[thing], LONG).expect("wait"), [0], "{method}: {all:?}");
            }
            drop(all);
            assert_eq!(wait(&[&stream.room()], LONG).expect("wait"), [0]);
            pipe.try_send([1; 8]).expect("room");
            ring.try_send([1; 8]).expect("room");
            queue.try_put(1).expect("room");
            half.try_put(1).expect("room");
            jobs.try_put(1).expect("room");
            while stream.try_send(vec![1; 200_000]).is_ok() {}
        }
        turns.shutdown();
        child.join().expect("join");
        // Whoever will never receive does not keep anybody waiting.
        assert_eq!(wait(&[&pipe.room()], LONG).expect("wait"), [0]);
        assert_eq!(wait(&[&ring.room()], LONG).expect("wait"), [0]);
        assert_eq!(wait(&[&stream.room()], LONG).expect("wait"), [0]);
        assert_eq!(wait(&[&half.room()], LONG).expect("wait"), [0]);
        assert!(pipe.try_send([1; 8]).expect_err("gone").is_disconnected());
        assert!(half.try_put(1).expect_err("gone").is_disconnected());
        assert!(wait(&[&queue.room(), &jobs.room()], NOW).expect("wait").is_empty());
        queue.shutdown();
        assert_eq!(wait(&[&queue.room(), &jobs.room()], LONG).expect("wait"), [0]);
    });
}

fn room_of_who_is_killed() {
    fn holds(_: Receiver<[u8; 3000]>, _: Connection<[u8; 100]>, _: QueueReceiver<u8>) {
        idle();
    }
    for_each_method(|method| {
        let (mut pipe, pipe_end) = pipe_with_capacity(4096).expect("pipe");
        let (mut ring, ring_end) = connection_with_capacity(4096).expect("connection");
        let (half, half_end) = Queue::bounded(1).expect("queue").split().expect("split");
        let ends = (pipe_end, ring_end, half_end);
        let child = Process::new(holds, ends).start_method(method).start().expect("start");
        while pipe.send_bytes_timeout(&[0; 3000], Duration::ZERO).is_ok() {}
        while ring.send_bytes_timeout(&[0; 3000], Duration::ZERO).is_ok() {}
        while half.try_put(1).is_ok() {}
        let rooms = (pipe.room(), ring.room(), half.room());
        let list: [&dyn multiproc::Waitable; 3] = [&rooms.0, &rooms.1, &rooms.2];
        assert!(wait(&list, NOW).expect("wait").is_empty());
        child.kill().expect("kill");
        child.join().expect_err("killed");
        assert_eq!(wait(&list, LONG).expect("wait"), [0, 1, 2], "{method}");
    });
}

fn room_or_value_whichever_comes_first() {
    let (mut near, mut far) = connection_with_capacity::<u64, u64>(4096).expect("connection");
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("listener");
    let mut client: Connection<Vec<u8>> = connect(listener.address()).expect("connect");
    let mut served: Connection<Vec<u8>> = listener.accept().expect("accept");
    while near.try_send(1).is_ok() {}
    while client.try_send(vec![1; 100_000]).is_ok() {}
    for round in 0..100 {
        assert!(wait(&[&near.room_or_value(), &client.room_or_value()], NOW).unwrap().is_empty());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if round % 2 == 0 {
                    far.send(7).expect("send");
                } else {
                    far.recv().expect("a value");
                }
            });
            assert_eq!(wait(&[&near.room_or_value()], LONG).expect("wait"), [0]);
        });
        if round % 2 == 0 {
            assert!(near.try_send(1).expect_err("no room").is_full());
            assert_eq!(near.try_recv(), Ok(7));
        } else {
            assert!(near.try_recv().expect_err("no value").is_empty());
            near.try_send(1).expect("room");
        }
    }
    served.send(vec![2]).expect("send");
    assert_eq!(wait(&[&client.room_or_value()], LONG).expect("wait"), [0]);
    assert_eq!(client.recv(), Ok(vec![2]));
}

/// Waiting costs no wake-up of another, whoever takes the token.
fn each_of_two_who_wait_for_room_is_told() {
    let queue = Queue::bounded(1).expect("queue");
    queue.put(0).expect("room");
    std::thread::scope(|scope| {
        let put = |value: u32| {
            let queue = queue.clone();
            move || loop {
                assert_eq!(wait(&[&queue.room()], LONG).expect("wait"), [0]);
                if queue.try_put(value).is_ok() {
                    return;
                }
            }
        };
        (1..=4).for_each(|value| drop(scope.spawn(put(value))));
        let mut got: Vec<u32> = (0..5).map(|_| queue.get().expect("a value")).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

/// The socket that tells of room has descriptors in it that who waits does not take.
fn room_goes_on_while_descriptors_lie_unread() {
    let (mut near, mut far) =
        connection_with_capacity::<u64, Option<Descriptor>>(4096).expect("connection");
    for _ in 0..3 {
        let null = std::fs::File::open("/dev/null").expect("open");
        far.send(Some(Descriptor(null.into()))).expect("send");
    }
    while near.try_send(1).is_ok() {}
    assert!(wait(&[&near.room()], Some(Duration::from_millis(20))).expect("wait").is_empty());
    std::thread::scope(|scope| {
        scope.spawn(|| far.recv().expect("a value"));
        assert_eq!(wait(&[&near.room()], LONG).expect("wait"), [0]);
    });
    near.try_send(1).expect("room");
    assert_eq!(near.try_iter().filter(|value| matches!(value, Ok(Some(_)))).count(), 3);
}

fn tasks_are_waited_for() {
    for_each_method(|method| {
        let pool = Pool::builder().processes(2).start_method(method).build().expect("pool");
        let slow = pool.submit(idle, ());
        let quick = pool.submit(|n: u32| n + 1, (1,));
        assert_eq!(wait(&[&slow, &quick], LONG).expect("wait"), [1]);
        // It stays ready until it is joined, and an outcome that is taken is ready, too.
        assert_eq!(wait(&[&slow, &quick], LONG).expect("wait"), [1]);
        assert_eq!(quick.try_join().expect("done"), Some(2));
        assert_eq!(wait(&[&quick], LONG).expect("wait"), [0]);
        assert!(wait(&[&slow], Some(Duration::from_millis(20))).expect("wait").is_empty());
        assert!(slow.cancel());
        assert_eq!(wait(&[&slow], LONG).expect("wait"), [0]);
        // One that is done before anybody asks.
        let done = pool.submit(|| (), ());
        assert!(done.wait(Duration::from_secs(60)));
        assert_eq!(wait(&[&done, &slow], NOW).expect("wait"), [0, 1]);
        let called = pool.submit(|n: u32| n, (1,)).on_done(|_| ());
        assert_eq!(wait(&[&called], LONG).expect("wait"), [0]);
        pool.terminate();
        assert!(pool.join_timeout(Duration::from_secs(60)).expect("it ends"));
    });
}

/// Gives its number back when it is told to.
fn echoes((number, go): (u32, Queue<()>)) -> u32 {
    go.get().expect("told");
    number
}

fn maps_are_waited_for() {
    for_each_method(|method| {
        let pool = Pool::builder().processes(2).start_method(method).build().expect("pool");
        let goes = [Queue::new().expect("queue"), Queue::new().expect("queue")];
        let inputs = (0..).zip(goes.clone());
        let map = pool.tasks().chunk_size(1).map_async(echoes, inputs);
        let mut set = WaitSet::new().expect("set");
        set.add(1, &map).expect("add");
        assert!(wait(&[&map], NOW).expect("wait").is_empty(), "{method}");
        goes[1].put(()).expect("put");
        // One is done, which is not all of it, and keeps nobody awake.
        while map.done() < 1 {
            assert!(set.wait_timeout(Duration::from_millis(5)).expect("wait").is_empty());
        }
        assert!(wait(&[&map], Some(Duration::from_millis(20))).expect("wait").is_empty());
        goes[0].put(()).expect("put");
        assert_eq!(set.wait_timeout(Duration::from_secs(60)).expect("wait"), [1], "{method}");
        assert_eq!(wait(&[&map], LONG).expect("wait"), [0]);
        drop(set);
        assert_eq!(map.join().expect("join"), [0, 1]);
        // None at all is done at once.
        let none = pool.tasks().map_async(|n: u32| n, 0..0);
        assert_eq!(wait(&[&none], NOW).expect("wait"), [0]);
    });
}

fn lazy_maps_are_waited_for() {
    for_each_method(|method| {
        let pool = Pool::builder().processes(2).start_method(method).build().expect("pool");
        for is_ordered in [true, false] {
            let goes = [Queue::new().expect("queue"), Queue::new().expect("queue")];
            let inputs = (0..).zip(goes.clone());
            let tasks = pool.tasks().chunk_size(1);
            let (ordered, unordered) = match is_ordered {
                true => (Some(tasks.imap(echoes, inputs)), None),
                false => (None, Some(tasks.imap_unordered(echoes, inputs))),
            };
            let mut map = ordered.or(unordered).expect("one of them");
            assert_eq!(wait(&[&map], NOW).expect("wait"), [0], "{method}: nothing is under way");
            assert!(map.next_timeout(Duration::ZERO).is_err(), "nobody was told to go on");
            assert!(wait(&[&map], NOW).expect("wait").is_empty());
            // The second one is done first.
            goes[1].put(()).expect("put");
            if is_ordered {
                assert!(wait(&[&map], Some(Duration::from_millis(20))).expect("wait").is_empty());
                goes[0].put(()).expect("put");
            }
            assert_eq!(wait(&[&map], LONG).expect("wait"), [0]);
            let first = map.next_timeout(Duration::ZERO).expect("it is here").expect("some");
            assert_eq!(first.expect("outcome"), if is_ordered { 0 } else { 1 });
            goes[0].put(()).expect("put");
            assert_eq!(wait(&[&map], LONG).expect("wait"), [0]);
            assert!(map.next_timeout(Duration::ZERO).expect("it is here").is_some());
            // The end.
            assert_eq!(wait(&[&map], NOW).expect("wait"), [0]);
            assert!(map.next().is_none());
        }
        // All of a long one, waiting for each.
        let mut map = pool.imap(|n: u64| n, 0..10_000);
        let mut sum = 0;
        loop {
            match map.next_timeout(Duration::ZERO) {
                Ok(Some(outcome)) => sum += outcome.expect("outcome"),
                Ok(None) => break,
                Err(_) => assert_eq!(wait(&[&map], LONG).expect("wait"), [0], "{method}"),
            }
        }
        assert_eq!(sum, 9_999 * 10_000 / 2);
    });
}
