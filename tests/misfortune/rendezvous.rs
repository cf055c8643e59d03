//! Queues that hand values over, and processes that are killed in the middle of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use multiproc::{
    JoinableQueue, Process, Queue, QueueReceiver, QueueSender, RecvError, SendError,
    SendTimeoutError, TryRecvError, TrySendError, wait,
};

use crate::support::{for_each_method, until};

const LONG: Duration = Duration::from_secs(60);

/// Time for another process to fall asleep in a call; nothing depends on it.
const MOMENT: Duration = Duration::from_millis(30);

fn puts(queue: Queue<u32>, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| queue.put(number).expect("handed over"));
}

/// What is on offer when the one who put it is killed is got once or not at all, and the next one
/// who puts is not kept waiting.
pub(crate) fn who_puts_is_killed() {
    for_each_method(|method| {
        let queue = Queue::bounded(0).expect("queue");
        for round in 0..5 {
            let child = Process::new(puts, (queue.clone(), 1..2)).start_method(method);
            let child = child.start().expect("start");
            until("the offer", || queue.poll_ready());
            child.kill().expect("kill");
            child.join().expect_err("killed");
            if round % 2 == 0 {
                // Nobody has put since: it can still be had.
                assert_eq!(queue.get_timeout(LONG), Ok(1));
            }
            let other = Process::new(puts, (queue.clone(), 2..4)).start_method(method);
            let other = other.start().expect("start");
            until("the offer of the other", || other.handle().is_alive());
            let first = queue.get_timeout(LONG).expect("a value");
            if first == 1 {
                assert_eq!(queue.get_timeout(LONG), Ok(2));
            } else {
                assert_eq!(first, 2);
            }
            assert_eq!(queue.get_timeout(LONG), Ok(3));
            assert_eq!(queue.try_get(), Err(TryRecvError::Empty));
            other.join().expect("join");
        }
    });
}

/// Whoever gets is killed while it waits: the offer goes to the next one.
pub(crate) fn who_waits_to_get_is_killed() {
    fn gets(queue: Queue<u32>, ready: Queue<()>) {
        ready.put(()).expect("room");
        let _ = queue.get();
    }
    for_each_method(|method| {
        let (queue, ready) = (Queue::bounded(0).expect("queue"), Queue::new().expect("queue"));
        for _ in 0..5 {
            let child = Process::new(gets, (queue.clone(), ready.clone())).start_method(method);
            let child = child.start().expect("start");
            ready.get().expect("it is about to get");
            std::thread::sleep(MOMENT);
            child.kill().expect("kill");
            child.join().expect_err("killed");
            // It waits no longer, so nobody takes it, however often one tries.
            assert_eq!(queue.put_timeout(1, MOMENT), Err(SendTimeoutError::Timeout(1)));
            assert_eq!(queue.try_put(1), Err(TrySendError::Full(1)));
            let other = Process::new(gets, (queue.clone(), ready.clone())).start_method(method);
            let other = other.start().expect("start");
            ready.get().expect("it is about to get");
            queue.put_timeout(2, LONG).expect("handed over");
            other.join().expect("join");
        }
    });
}

/// Some put, some get, and one after the other is killed wherever it is: each value is got once, or
/// it was in the hand of one who was killed.
pub(crate) fn processes_are_killed_at_any_moment() {
    fn gets(queue: Queue<u32>, got: Queue<u32>) {
        for number in queue.iter() {
            got.put(number.expect("a value")).expect("room");
        }
    }
    for_each_method(|method| {
        let (queue, got) = (Queue::bounded(0).expect("queue"), Queue::new().expect("queue"));
        let put = |from: u32| {
            let process = Process::new(puts, (queue.clone(), from..from + 2000));
            process.start_method(method).start().expect("start")
        };
        let get = || {
            let process = Process::new(gets, (queue.clone(), got.clone()));
            process.start_method(method).start().expect("start")
        };
        let getters = [get(), get(), get()];
        let putters = [put(0), put(10_000), put(20_000)];
        for (place, victim) in
            [&getters[0], &putters[0], &getters[1], &putters[1]].iter().enumerate()
        {
            std::thread::sleep(Duration::from_millis(3 + 2 * place as u64));
            victim.kill().expect("kill");
        }
        let [_, _, whole] = putters;
        assert_eq!(whole.join_timeout(LONG).expect("it is not hurt"), Some(()));
        queue.shutdown();
        for getter in getters {
            let _ = getter.join_timeout(LONG);
        }
        let all: Vec<u32> = got.try_iter().collect::<Result<_, _>>().expect("values");
        let once: BTreeSet<u32> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len(), "{method}: a value was got twice");
        let missing = (20_000..22_000).filter(|number| !once.contains(number)).count();
        assert!(missing <= 2, "{method}: {missing} values are lost, and two processes were killed");
    });
}

/// The halves of a rendezvous learn of the other side's end, also while they wait.
pub(crate) fn halves_of_a_rendezvous_are_told() {
    fn gets_one(receiver: QueueReceiver<u32>) {
        assert_eq!(receiver.get(), Ok(1));
        loop {
            std::thread::park();
        }
    }
    fn puts_one(sender: QueueSender<u32>) {
        sender.put(1).expect("handed over");
        loop {
            std::thread::park();
        }
    }
    for_each_method(|method| {
        let (sender, receiver) = Queue::bounded(0).expect("queue").split().expect("split");
        let child = Process::new(gets_one, (receiver,)).start_method(method).start();
        let child = child.expect("start");
        assert_eq!(wait(&[&sender.room()], Some(LONG)).expect("wait"), [0], "it waits to get");
        sender.put_timeout(1, LONG).expect("handed over");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| sender.put(2));
            std::thread::sleep(MOMENT);
            child.kill().expect("kill");
            assert_eq!(waits.join().expect("a thread"), Err(SendError::Disconnected(2)));
        });
        child.join().expect_err("killed");

        let (sender, receiver) = Queue::bounded(0).expect("queue").split().expect("split");
        let child = Process::new(puts_one, (sender,)).start_method(method).start();
        let child = child.expect("start");
        assert_eq!(wait(&[&receiver], Some(LONG)).expect("wait"), [0]);
        assert_eq!(receiver.get_timeout(LONG), Ok(1));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| receiver.get());
            std::thread::sleep(MOMENT);
            child.kill().expect("kill");
            assert_eq!(waits.join().expect("a thread"), Err(RecvError::Disconnected));
        });
        child.join().expect_err("killed");
    });
}

/// What one counts as in hand is counted before the other side goes on.
pub(crate) fn jobs_that_are_handed_over_are_counted() {
    fn works(jobs: JoinableQueue<u32>) {
        while jobs.get().is_ok() {
            jobs.task_done().expect("one in hand");
        }
    }
    fn dies(jobs: JoinableQueue<u32>) {
        let _ = jobs.get();
        std::process::abort();
    }
    for_each_method(|method| {
        let jobs = JoinableQueue::bounded(0).expect("queue");
        let worker = Process::new(works, (jobs.clone(),)).start_method(method).start();
        let worker = worker.expect("start");
        for job in 0..100 {
            jobs.put(job).expect("handed over");
            assert!(jobs.join_timeout(LONG));
        }
        jobs.queue().shutdown();
        worker.join().expect("join");

        let jobs = JoinableQueue::bounded(0).expect("queue");
        let child = Process::new(dies, (jobs.clone(),)).start_method(method).start();
        let child = child.expect("start");
        jobs.put(1).expect("handed over");
        let started = Instant::now();
        assert!(jobs.join_timeout(LONG), "what the dead one had in hand is done");
        assert!(started.elapsed() < LONG);
        child.join().expect_err("aborted");
    });
}
