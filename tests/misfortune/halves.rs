//! Halves of queues of which all of one side are killed, dropped, or on their way.

use std::time::{Duration, Instant};

use multiproc::{
    Process, Queue, QueueReceiver, QueueSender, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, StartMethod, TryRecvError, TrySendError, wait,
};

use crate::support::{for_each_method, state_of, until};

const LONG: Duration = Duration::from_secs(60);

/// Time for a thread of this process to fall asleep in a call; nothing depends on it.
const MOMENT: Duration = Duration::from_millis(30);

fn puts_and_stays(sender: QueueSender<u32>, count: u32) {
    (0..count).for_each(|number| sender.put(number).expect("put"));
    loop {
        std::thread::park();
    }
}

fn gets_and_stays(receiver: QueueReceiver<u32>, count: u32) {
    (0..count).for_each(|number| assert_eq!(receiver.get(), Ok(number)));
    loop {
        std::thread::park();
    }
}

/// A receiver that sleeps is woken by the death of the last sender.
pub(crate) fn the_last_sender_is_killed() {
    for_each_method(|method| {
        let (sender, receiver) = Queue::new().expect("queue").split().expect("split");
        let child =
            Process::new(puts_and_stays, (sender, 2)).start_method(method).start().expect("start");
        assert_eq!((receiver.get(), receiver.get_timeout(LONG)), (Ok(0), Ok(1)));
        assert_eq!(receiver.try_get(), Err(TryRecvError::Empty));
        assert_eq!(receiver.get_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
        assert!(!receiver.is_disconnected().expect("look"));
        let killed = std::thread::scope(|scope| {
            let other = receiver.clone();
            let sleeper = scope.spawn(move || (other.get_timeout(LONG), Instant::now()));
            std::thread::sleep(MOMENT);
            let killed = Instant::now();
            child.kill().expect("kill");
            let (got, woken) = sleeper.join().expect("a thread");
            assert_eq!(got, Err(RecvTimeoutError::Disconnected));
            woken - killed
        });
        assert!(killed < Duration::from_secs(20), "{killed:?}");
        assert_eq!(receiver.get(), Err(RecvError::Disconnected));
        assert_eq!(receiver.try_get(), Err(TryRecvError::Disconnected));
        assert_eq!((receiver.iter().count(), receiver.try_iter().count()), (0, 0));
        child.join().expect_err("killed");
    });
}

/// `wait` tells of values and of the end.
pub(crate) fn a_wait_for_halves_ends_with_the_last_sender() {
    for_each_method(|method| {
        let (sender, receiver) = Queue::new().expect("queue").split().expect("split");
        assert!(wait(&[&receiver], Some(MOMENT)).expect("wait").is_empty());
        let child =
            Process::new(puts_and_stays, (sender, 1)).start_method(method).start().expect("start");
        assert_eq!(wait(&[&receiver], Some(LONG)).expect("wait"), [0]);
        assert_eq!(receiver.try_get(), Ok(0));
        assert!(wait(&[&receiver], Some(MOMENT)).expect("wait").is_empty());
        child.kill().expect("kill");
        assert_eq!(wait(&[&receiver], Some(LONG)).expect("wait"), [0]);
        assert_eq!(receiver.try_get(), Err(TryRecvError::Disconnected));
        child.join().expect_err("killed");
    });
}

/// A sender that waits for room gets its value back when the last receiver is killed.
pub(crate) fn the_last_receiver_is_killed() {
    for_each_method(|method| {
        let (sender, receiver) = Queue::bounded(1).expect("queue").split().expect("split");
        let child = Process::new(gets_and_stays, (receiver, 1))
            .start_method(method)
            .start()
            .expect("start");
        sender.put(0).expect("room");
        sender.put_timeout(1, LONG).expect("room");
        assert_eq!(sender.try_put(2), Err(TrySendError::Full(2)));
        assert_eq!(sender.put_timeout(3, MOMENT), Err(SendTimeoutError::Timeout(3)));
        std::thread::scope(|scope| {
            let other = sender.clone();
            let sleeper = scope.spawn(move || other.put_timeout(4, LONG));
            std::thread::sleep(MOMENT);
            child.kill().expect("kill");
            assert_eq!(sleeper.join().expect("a thread"), Err(SendTimeoutError::Disconnected(4)));
        });
        assert!(sender.is_disconnected().expect("look"));
        assert_eq!(sender.put(5), Err(SendError::Disconnected(5)));
        assert_eq!(sender.try_put(6), Err(TrySendError::Disconnected(6)));
        child.join().expect_err("killed");
    });
}

/// What was put before the last sender went is got; a half on its way counts, and so does each
/// clone.
pub(crate) fn halves_count_wherever_they_are() {
    let (sender, receiver) = Queue::new().expect("queue").split().expect("split");
    let carrier = Queue::new().expect("queue");
    let other = sender.clone();
    sender.put(1).expect("room");
    drop(sender);
    other.put(2).expect("room");
    carrier.put(other).expect("room");
    assert_eq!(receiver.try_iter().collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2]));
    assert_eq!(receiver.get_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
    let other = carrier.get().expect("the half");
    other.put(3).expect("room");
    carrier.put(other).expect("room");
    // With the queue goes what is in it.
    drop(carrier);
    assert_eq!(receiver.iter().collect::<Result<Vec<_>, _>>(), Ok(vec![3]));
    // The other side alike, and whoever has the queue itself goes on.
    let queue = Queue::new().expect("queue");
    let (sender, receiver) = queue.clone().split().expect("split");
    let other = receiver.clone();
    drop(receiver);
    sender.put(1).expect("room");
    drop(other);
    assert_eq!(sender.put(2), Err(SendError::Disconnected(2)));
    queue.put(3).expect("room");
    assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(3)));
    // A shutdown is an end, too.
    let (sender, receiver) = Queue::new().expect("queue").split().expect("split");
    sender.put(1).expect("room");
    receiver.queue().shutdown();
    assert_eq!(sender.put(2), Err(SendError::Disconnected(2)));
    assert_eq!((receiver.get(), receiver.get()), (Ok(1), Err(RecvError::Disconnected)));
}

/// Many of both sides: when all senders are dead, all receivers come to their end, with what was
/// put.
pub(crate) fn all_receivers_hear_of_the_death_of_all_senders() {
    fn collects(receiver: QueueReceiver<(u32, u32)>) -> Vec<(u32, u32)> {
        receiver.iter().collect::<Result<_, _>>().expect("values")
    }
    fn pours(sender: QueueSender<(u32, u32)>, own: u32) {
        for number in 0.. {
            sender.put((own, number)).expect("put");
        }
    }
    // Not by fork: see `Queue::split`.
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        for queue in [Queue::bounded(100).expect("queue"), Queue::bounded(1).expect("queue")] {
            let (sender, receiver) = queue.split().expect("split");
            let start = || {
                Process::new(collects, (receiver.clone(),))
                    .start_method(method)
                    .start()
                    .expect("start")
            };
            let receivers: Vec<_> = (0..3).map(|_| start()).collect();
            let start = |own| {
                Process::new(pours, (sender.clone(), own))
                    .start_method(method)
                    .start()
                    .expect("start")
            };
            let senders: Vec<_> = (0..3).map(start).collect();
            drop(sender);
            until("all sleep or pour", || {
                senders.iter().all(|child| state_of(child.pid()).is_some())
            });
            std::thread::sleep(MOMENT);
            for sender in &senders {
                sender.kill().expect("kill");
            }
            drop(receiver);
            let mut all = Vec::new();
            for receiver in receivers {
                let got = receiver.join_timeout(LONG).expect("join").expect("it is told");
                for own in 0..3 {
                    let mut of_one =
                        got.iter().filter(|(by, _)| *by == own).map(|(_, number)| *number);
                    let mut last = of_one.next();
                    assert!(
                        of_one.all(|number| last.replace(number) < Some(number)),
                        "out of order"
                    );
                }
                all.extend(got);
            }
            all.sort_unstable();
            for own in 0..3 {
                let numbers = all.iter().filter(|(by, _)| *by == own).map(|(_, number)| *number);
                assert!(
                    numbers.eq(0..all.iter().filter(|(by, _)| *by == own).count() as u32),
                    "a gap"
                );
            }
        }
    }
}

/// Producers, relays and a collector, who end by nothing but their ends; relays are killed at any
/// moment.
pub(crate) fn a_chain_of_halves_survives_the_death_of_relays() {
    const EACH: u32 = 3_000;
    const KILLED: usize = 3;
    fn produces(sender: QueueSender<(u32, u32)>, own: u32) {
        (0..EACH).for_each(|number| sender.put((own, number)).expect("put"));
    }
    fn relays(receiver: QueueReceiver<(u32, u32)>, sender: QueueSender<(u32, u32)>) {
        for item in &receiver {
            sender.put(item.expect("get")).expect("put");
        }
    }
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        for queue in [Queue::new().expect("queue"), Queue::bounded(3).expect("queue")] {
            let (first, from) = queue.split().expect("split");
            let (to, last) = Queue::new().expect("queue").split().expect("split");
            let relay = || {
                Process::new(relays, (from.clone(), to.clone()))
                    .start_method(method)
                    .start()
                    .expect("start")
            };
            let relays: Vec<_> = (0..KILLED + 1).map(|_| relay()).collect();
            let start = |own| {
                Process::new(produces, (first.clone(), own))
                    .start_method(method)
                    .start()
                    .expect("start")
            };
            let producers: Vec<_> = (0..2).map(start).collect();
            drop((first, from, to));
            let mut got = Vec::new();
            for relay in &relays[..KILLED] {
                // One after the other while values flow, and with them out of the way for a while.
                (0..EACH / 10).for_each(|_| got.push(last.get_timeout(LONG).expect("a value")));
                relay.kill().expect("kill");
            }
            loop {
                match last.get_timeout(LONG) {
                    Ok(item) => got.push(item),
                    Err(error) => break assert_eq!(error, RecvTimeoutError::Disconnected),
                }
            }
            producers.iter().for_each(|child| child.join().expect("join"));
            relays[KILLED].join().expect("join");
            let all = got.len();
            got.sort_unstable();
            got.dedup();
            assert_eq!(got.len(), all, "a value came twice");
            let sent = 2 * EACH as usize;
            assert!(all <= sent && all + KILLED >= sent, "{all} of {sent}");
        }
    }
}
