//! Group F: queues.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiproc::{
    Event, JoinableQueue, Lock, Process, Queue, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, SimpleQueue, TryRecvError, TrySendError, Waitable, wait,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{METHODS, for_each_method};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn d47_queues_and_locks_go_to_children_of_any_method() {
    fn passes_on(queue: Queue<String>, lock: Lock, method: String) {
        {
            let _guard = lock.acquire().expect("lock");
            queue.put(format!("child before {method}")).expect("room");
        }
        let child = Process::new(
            |queue: Queue<String>, lock: Lock| {
                let _guard = lock.acquire().expect("lock");
                queue.put("grandchild".to_owned()).expect("room");
            },
            (queue, lock),
        );
        child
            .start_method(method.parse().expect("a method"))
            .start()
            .expect("start")
            .join()
            .expect("join");
    }
    for_each_method(|method| {
        for inner in METHODS {
            let (queue, lock) = (Queue::new().expect("queue"), Lock::new().expect("lock"));
            let child = Process::new(passes_on, (queue.clone(), lock.clone(), inner.to_string()));
            child.start_method(method).start().expect("start").join().expect("join");
            assert_eq!(queue.try_get().expect("a value"), format!("child before {inner}"));
            assert_eq!(queue.try_get().expect("a value"), "grandchild");
            assert!(!lock.locked());
        }
    });
}

pub(crate) fn f65_put_into_a_bounded_queue() {
    fn empties(queue: Queue<u32>, may_start: Event, done: Event) -> Vec<u32> {
        may_start.wait();
        let got = (0..6).map(|_| queue.get_timeout(LONG).expect("a value")).collect();
        done.set();
        got
    }
    for_each_method(|method| {
        let queue = Queue::bounded(6).expect("queue");
        let (may_start, done) = (Event::new().expect("event"), Event::new().expect("event"));
        let arguments = (queue.clone(), may_start.clone(), done.clone());
        let child = Process::new(empties, arguments).start_method(method).start().expect("start");
        assert!(queue.is_empty() && !queue.is_full());
        queue.put(1).expect("room");
        queue.put_timeout(2, LONG).expect("room");
        queue.try_put(3).expect("room");
        queue.put(4).expect("room");
        queue.put(5).expect("room");
        assert!(!queue.is_full());
        queue.put(6).expect("room");
        assert!(queue.is_full() && !queue.is_empty());
        assert!(matches!(queue.try_put(7), Err(TrySendError::Full(7))));
        assert!(matches!(queue.put_timeout(8, Duration::ZERO), Err(SendTimeoutError::Timeout(8))));
        let before = Instant::now();
        assert!(matches!(queue.put_timeout(9, SHORT), Err(SendTimeoutError::Timeout(9))));
        assert!(before.elapsed() >= SHORT);
        may_start.set();
        assert!(done.wait_timeout(LONG));
        assert!(queue.is_empty() && !queue.is_full());
        assert_eq!(child.join().expect("join"), [1, 2, 3, 4, 5, 6]);
    });
}

pub(crate) fn f66_get_in_order_and_from_an_empty_queue() {
    fn fills(queue: Queue<u32>) {
        (1..=5).for_each(|number| queue.put(number).expect("room"));
    }
    for_each_method(|method| {
        let queue = Queue::new().expect("queue");
        assert!(matches!(queue.try_get(), Err(TryRecvError::Empty)));
        Process::new(fills, (queue.clone(),))
            .start_method(method)
            .start()
            .expect("start")
            .join()
            .expect("join");
        assert!(!queue.is_empty());
        assert_eq!(queue.get().expect("a value"), 1);
        assert_eq!(queue.try_get().expect("a value"), 2);
        assert_eq!(queue.get_timeout(LONG).expect("a value"), 3);
        assert_eq!(queue.iter().take(2).collect::<Result<Vec<_>, _>>().expect("values"), [4, 5]);
        assert!(queue.is_empty());
        assert!(matches!(queue.try_get(), Err(TryRecvError::Empty)));
        assert!(matches!(queue.get_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
    });
}

pub(crate) fn f67_a_queue_in_use_goes_to_a_child() {
    fn adds(queue: Queue<u32>) {
        (10..20).for_each(|number| queue.put(number).expect("room"));
    }
    for_each_method(|method| {
        let queue = Queue::new().expect("queue");
        (0..10).for_each(|number| queue.put(number).expect("room"));
        let child =
            Process::new(adds, (queue.clone(),)).start_method(method).start().expect("start");
        let got: Vec<u32> = (0..20).map(|_| queue.get_timeout(LONG).expect("a value")).collect();
        assert!(got.into_iter().eq(0..20), "not in order");
        assert!(matches!(queue.try_get(), Err(TryRecvError::Empty)));
        child.join().expect("join");
    });
}

pub(crate) fn f68_qsize_follows() {
    for_each_method(|method| {
        let queue = Queue::new().expect("queue");
        assert_eq!(queue.len(), 0);
        queue.put(1).expect("room");
        assert_eq!(queue.len(), 1);
        let child = Process::new(|queue: Queue<u8>| queue.put(2).expect("room"), (queue.clone(),));
        child.start_method(method).start().expect("start").join().expect("join");
        assert_eq!(queue.len(), 2);
        let _ = (queue.get().expect("a value"), queue.get().expect("a value"));
        assert_eq!(queue.len(), 0);
    });
}

pub(crate) fn f69_join_waits_for_all_tasks() {
    fn works(jobs: JoinableQueue<Option<u32>>, results: Queue<u32>) {
        while let Some(job) = jobs.get().expect("a value") {
            results.put(job).expect("room");
            jobs.task_done().expect("one in hand");
        }
        jobs.task_done().expect("one in hand");
    }
    for_each_method(|method| {
        let (jobs, results) = (JoinableQueue::new().expect("queue"), Queue::new().expect("queue"));
        let worker =
            || Process::new(works, (jobs.clone(), results.clone())).start_method(method).start();
        let workers: Vec<_> = (0..4).map(|_| worker().expect("start")).collect();
        (0..50).for_each(|job| jobs.put(Some(job)).expect("room"));
        assert!(jobs.join_timeout(LONG));
        assert_eq!(results.len(), 50, "join returned before the work was done");
        assert_eq!(jobs.unfinished(), 0);
        (0..4).for_each(|_| jobs.put(None).expect("room"));
        assert!(jobs.join_timeout(LONG));
        for worker in workers {
            worker.join().expect("join");
        }
        let got: BTreeSet<u32> = (0..50).map(|_| results.get().expect("a value")).collect();
        assert_eq!(got.len(), 50);
        assert!(jobs.task_done().is_err(), "nothing was in hand");
        // Without a worker, it does not return.
        jobs.put(None).expect("room");
        assert!(!jobs.join_timeout(SHORT));
        jobs.get().expect("a value");
        assert!(!jobs.join_timeout(SHORT));
        jobs.task_done().expect("one in hand");
        assert!(jobs.join_timeout(LONG));
    });
}

pub(crate) fn f71_get_waits_as_long_as_it_is_told() {
    let queue = Queue::<u8>::new().expect("queue");
    let before = Instant::now();
    assert!(matches!(
        queue.get_timeout(Duration::from_millis(200)),
        Err(RecvTimeoutError::Timeout)
    ));
    assert!(before.elapsed() >= Duration::from_millis(200));
}

/// Encodes only while it is told to.
#[derive(Debug, Deserialize)]
struct Shy;

static IS_SHY: AtomicBool = AtomicBool::new(true);

impl Serialize for Shy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if IS_SHY.load(Ordering::Relaxed) {
            return Err(serde::ser::Error::custom("too shy"));
        }
        serializer.serialize_unit_struct("Shy")
    }
}

pub(crate) fn f72_what_cannot_be_encoded_comes_back() {
    let queue = Queue::bounded(2).expect("queue");
    for _ in 0..10 {
        match queue.put(Shy) {
            Err(SendError::Encode { value: Shy, reason, .. }) => {
                assert!(reason.contains("Shy"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(queue.len(), 0);
    IS_SHY.store(false, Ordering::Relaxed);
    queue.put(Shy).expect("room");
    queue.get().expect("a value");
    // The other way round: what is not of the type is lost, the queue is not.
    let queue = Queue::new().expect("queue");
    queue.put(Liar).expect("room");
    queue.put(Liar).expect("room");
    assert!(matches!(queue.get(), Err(RecvError::Decode(reason)) if reason.contains("Liar")));
    assert_eq!(queue.len(), 1);
}

/// Encodes as what it does not decode from.
#[derive(Debug)]
struct Liar;

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(200)
    }
}

impl<'de> Deserialize<'de> for Liar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Liar, D::Error> {
        bool::deserialize(deserializer).map(|_| Liar)
    }
}

pub(crate) fn f74_a_queue_goes_with_its_last_holder() {
    for_each_method(|_| {
        // That it is let go of is checked by the count of descriptors.
        Queue::<u8>::new().expect("queue").close();
        let queue = Queue::new().expect("queue");
        queue.put(1).expect("room");
        let other = queue.clone();
        queue.close();
        assert_eq!(other.get().expect("a value"), 1);
    });
}

pub(crate) fn f75_put_and_get_after_the_shutdown() {
    fn waits(queue: Queue<u8>, waiting: Event) -> bool {
        waiting.set();
        queue.get().is_err_and(|error| error.is_disconnected())
    }
    fn waits_for_room(queue: Queue<u8>, waiting: Event) -> bool {
        waiting.set();
        queue.put(9).is_err_and(|error| error.is_disconnected())
    }
    for_each_method(|method| {
        let queue = Queue::new().expect("queue");
        queue.put(1).expect("room");
        queue.shutdown();
        assert!(queue.is_shut_down());
        assert!(matches!(queue.put(2), Err(SendError::Disconnected(2))));
        assert_eq!(queue.get().expect("what was in it"), 1);
        assert!(matches!(queue.get(), Err(RecvError::Disconnected)));
        assert!(matches!(queue.try_get(), Err(TryRecvError::Disconnected)));
        let queue = Queue::new().expect("queue");
        queue.put(1).expect("room");
        queue.shutdown_now();
        assert!(matches!(queue.get(), Err(RecvError::Disconnected)));
        // Those who wait are told.
        let (queue, full) = (Queue::new().expect("queue"), Queue::bounded(1).expect("queue"));
        full.put(1).expect("room");
        let waiting: Vec<Event> = (0..3).map(|_| Event::new().expect("event")).collect();
        let getters = waiting[..2].iter().map(|event| {
            Process::new(waits, (queue.clone(), event.clone()))
                .start_method(method)
                .start()
                .expect("start")
        });
        let getters: Vec<_> = getters.collect();
        let putter = Process::new(waits_for_room, (full.clone(), waiting[2].clone()));
        let putter = putter.start_method(method).start().expect("start");
        assert!(waiting.iter().all(|event| event.wait_timeout(LONG)));
        queue.shutdown();
        full.shutdown();
        for child in getters.into_iter().chain([putter]) {
            assert!(child.join_timeout(LONG).expect("join").expect("told"));
        }
        assert_eq!(full.get().expect("what was in it"), 1);
    });
}

pub(crate) fn f76_simple_queue_is_closed_by_letting_go() {
    for_each_method(|_| SimpleQueue::<u8>::new().expect("queue").close());
}

pub(crate) fn f77_simple_queue_is_empty_in_parent_and_child() {
    fn looks(queue: SimpleQueue<bool>, may_look: Event, looked: Event) {
        assert!(may_look.wait_timeout(LONG));
        queue.put(queue.is_empty()).expect("room");
        queue.put(queue.is_empty()).expect("room");
        looked.set();
    }
    for_each_method(|method| {
        let queue = SimpleQueue::new().expect("queue");
        let (may_look, looked) = (Event::new().expect("event"), Event::new().expect("event"));
        let arguments = (queue.clone(), may_look.clone(), looked.clone());
        let child = Process::new(looks, arguments).start_method(method).start().expect("start");
        assert!(queue.is_empty());
        may_look.set();
        assert!(looked.wait_timeout(LONG));
        assert!(!queue.is_empty());
        assert_eq!((queue.get().expect("a value"), queue.get().expect("a value")), (true, false));
        assert!(queue.is_empty());
        child.join().expect("join");
    });
}

pub(crate) fn f78_every_holder_of_a_simple_queue_lets_go_by_itself() {
    for_each_method(|_| {
        let queue = SimpleQueue::new().expect("queue");
        let other = queue.clone();
        queue.close();
        other.put(1).expect("room");
        assert_eq!(other.get().expect("a value"), 1);
        other.close();
    });
}

pub(crate) fn deviation_a_child_is_joined_before_its_queue_is_emptied() {
    const MANY: u32 = 100_000;
    for_each_method(|method| {
        let queue = Queue::new().expect("queue");
        let child = Process::new(
            |queue: Queue<(u32, Vec<u8>)>| {
                for number in 0..MANY {
                    queue.put((number, vec![1; 100])).expect("room");
                }
                queue.put((MANY, vec![2; 20 << 20])).expect("room");
            },
            (queue.clone(),),
        );
        child.start_method(method).start().expect("start").join().expect("join");
        assert_eq!(queue.len(), MANY as usize + 1);
        for number in 0..MANY {
            assert_eq!(queue.get().expect("a value"), (number, vec![1; 100]));
        }
        let (number, big) = queue.get().expect("a value");
        assert!(number == MANY && big == vec![2; 20 << 20]);
        // It works on as at first.
        queue.put((0, Vec::new())).expect("room");
        assert_eq!(queue.get().expect("a value"), (0, Vec::new()));
    });
}

pub(crate) fn deviation_queues_go_through_queues() {
    fn answers(questions: Queue<(u32, Queue<u32>)>) {
        for question in &questions {
            let (number, answer) = question.expect("a question");
            answer.put(number * 2).expect("room");
        }
    }
    for_each_method(|method| {
        let questions = Queue::new().expect("queue");
        let child = Process::new(answers, (questions.clone(),))
            .start_method(method)
            .start()
            .expect("start");
        for number in 0..200 {
            let answer = Queue::new().expect("queue");
            questions.put((number, answer.clone())).expect("room");
            assert_eq!(answer.get_timeout(LONG).expect("an answer"), number * 2);
        }
        questions.shutdown();
        child.join().expect("join");
    });
}

pub(crate) fn deviation_many_producers_and_consumers() {
    const EACH: u64 = 5_000;
    fn produces(queue: Queue<(u64, u64)>, own: u64) {
        (0..EACH).for_each(|number| queue.put((own, number)).expect("room"));
    }
    fn consumes(queue: Queue<(u64, u64)>) -> Vec<(u64, u64)> {
        queue.iter().collect::<Result<_, _>>().expect("values")
    }
    for_each_method(|method| {
        for queue in [Queue::new().expect("queue"), Queue::bounded(7).expect("queue")] {
            let start = |own| {
                Process::new(produces, (queue.clone(), own))
                    .start_method(method)
                    .start()
                    .expect("start")
            };
            let consume = || {
                Process::new(consumes, (queue.clone(),))
                    .start_method(method)
                    .start()
                    .expect("start")
            };
            let consumers: Vec<_> = (0..3).map(|_| consume()).collect();
            for producer in (0..3).map(start).collect::<Vec<_>>() {
                producer.join().expect("join");
            }
            queue.shutdown();
            let mut all = Vec::new();
            for consumer in consumers {
                let got = consumer.join().expect("join");
                for own in 0..3 {
                    let of_one: Vec<u64> = got
                        .iter()
                        .filter(|(by, _)| *by == own)
                        .map(|(_, number)| *number)
                        .collect();
                    assert!(of_one.is_sorted(), "values of one producer came in another order");
                }
                all.extend(got);
            }
            all.sort_unstable();
            let expected = (0..3).flat_map(|own| (0..EACH).map(move |number| (own, number)));
            assert!(all.into_iter().eq(expected), "values were lost or came twice");
        }
    });
}

pub(crate) fn deviation_a_dead_worker_has_nothing_in_hand() {
    for_each_method(|method| {
        let jobs = JoinableQueue::new().expect("queue");
        jobs.put(1).expect("room");
        let got = Event::new().expect("event");
        let child = Process::new(
            |jobs: JoinableQueue<u8>, got: Event| {
                jobs.get().expect("a value");
                got.set();
                crate::tools::stay();
            },
            (jobs.clone(), got.clone()),
        );
        let child = child.start_method(method).start().expect("start");
        assert!(got.wait_timeout(LONG));
        assert_eq!(jobs.unfinished(), 1);
        assert!(!jobs.join_timeout(SHORT));
        std::thread::scope(|scope| {
            if method == multiproc::StartMethod::Fork {
                child.kill().expect("kill");
            } else {
                scope.spawn(|| child.kill().expect("kill"));
            }
            assert!(jobs.join_timeout(LONG));
        });
        let _ = child.join();
    });
}

pub(crate) fn e61_wait_for_queues() {
    fn feeds(first: Queue<u8>, second: JoinableQueue<u8>, go: Event, on: Event) {
        assert!(go.wait_timeout(LONG));
        first.put(1).expect("room");
        assert!(on.wait_timeout(LONG));
        second.put(2).expect("room");
        second.queue().shutdown();
    }
    for_each_method(|method| {
        let (first, second) = (Queue::new().expect("queue"), JoinableQueue::new().expect("queue"));
        let (go, on) = (Event::new().expect("event"), Event::new().expect("event"));
        let arguments = (first.clone(), second.clone(), go.clone(), on.clone());
        let child = Process::new(feeds, arguments).start_method(method).start().expect("start");
        let mix: [&dyn Waitable; 3] = [&first, &child, &second];
        assert_eq!(wait(&mix, Some(Duration::ZERO)).expect("wait"), []);
        assert_eq!(wait(&mix, Some(SHORT)).expect("wait"), []);
        go.set();
        assert_eq!(wait(&mix, Some(LONG)).expect("wait"), [0]);
        // It is ready as long as something is in it.
        assert_eq!(wait(&mix, Some(LONG)).expect("wait"), [0]);
        assert_eq!(first.try_get().expect("a value"), 1);
        assert_eq!(wait(&mix, Some(SHORT)).expect("wait"), []);
        on.set();
        let ready = wait(&[&second], Some(LONG)).expect("wait");
        assert_eq!(ready, [0]);
        assert_eq!(second.try_get().expect("a value"), 2);
        // Its end is something to be told, too.
        assert_eq!(wait(&[&second], Some(LONG)).expect("wait"), [0]);
        child.join().expect("join");
        assert_eq!(wait(&mix, Some(LONG)).expect("wait"), [1, 2]);
    });
}

pub(crate) fn deviation_the_descriptor_of_a_queue_tells() {
    for_each_method(|method| {
        let queue = Queue::new().expect("queue");
        let readable = |time| !wait(&[&queue.as_fd()], Some(time)).expect("wait").is_empty();
        assert!(!queue.poll_ready() && !readable(Duration::ZERO));
        let child = Process::new(|queue: Queue<u8>| queue.put(1).expect("room"), (queue.clone(),));
        child.start_method(method).start().expect("start").join().expect("join");
        assert!(readable(LONG));
        assert!(queue.poll_ready());
        assert_eq!(queue.get().expect("a value"), 1);
        // What it told of is gone; asked again, it is quiet until there is more.
        assert!(!queue.poll_ready() && !readable(Duration::ZERO));
        queue.put(2).expect("room");
        assert!(readable(LONG) && queue.poll_ready());
    });
}
