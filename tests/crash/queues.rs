//! Processes that put, get and wait, killed at any moment: the others go on, and what is lost is
//! what the dead had in hand.

use std::time::{Duration, Instant};

use multiproc::{Child, JoinableQueue, Process, Queue};

use crate::dice::{self, Dice};
use crate::support::METHODS;

const LONG: Duration = Duration::from_secs(60);
const PRODUCERS: u64 = 3;
const RELAYS: usize = 4;
const EACH: u64 = 3_000;

/// Who put it, and as which of its own.
type Item = (u64, u64, Vec<u8>);

fn item(producer: u64, number: u64) -> Item {
    // Small ones, and some that need a higher rung.
    let length = if number % 1000 == 999 { 300_000 } else { number % 50 };
    (producer, number, vec![number as u8; usize::try_from(length).expect("a length")])
}

fn produce(queue: Queue<Item>, producer: u64) {
    for number in 0..EACH {
        queue.put(item(producer, number)).expect("put");
    }
}

fn relay(from: Queue<Item>, to: Queue<(usize, Item)>, own: usize) {
    for item in &from {
        to.put((own, item.expect("a value"))).expect("put");
    }
}

/// Kills some of the children at moments of the dice's choice; gives how many it may have hit.
fn kill_some<T>(dice: &Dice, children: &[Child<T>], most: u64) -> usize {
    let victims = usize::try_from(dice.below(most + 1)).expect("a number");
    for victim in &children[..victims] {
        dice.pause(Duration::from_millis(8));
        victim.kill().expect("kill");
    }
    victims
}

pub(crate) fn queues_survive_whoever_is_killed() {
    for round in 0..dice::own_rounds() {
        let dice = Dice::of_round(round);
        let method = dice.one_of(&METHODS);
        let first =
            if dice.below(2) == 0 { Queue::new() } else { Queue::bounded(5) }.expect("queue");
        let second =
            if dice.below(2) == 0 { Queue::new() } else { Queue::bounded(3) }.expect("queue");
        let relays: Vec<_> = (0..RELAYS)
            .map(|own| {
                Process::new(relay, (first.clone(), second.clone(), own))
                    .start_method(method)
                    .start()
            })
            .collect::<Result<_, _>>()
            .expect("start");
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|own| Process::new(produce, (first.clone(), own)).start_method(method).start())
            .collect::<Result<_, _>>()
            .expect("start");
        // What comes out must be taken away all the while, or a bounded queue holds all up; so
        // another process does it.
        let collect = |queue: Queue<(usize, Item)>| {
            queue.iter().collect::<Result<Vec<_>, _>>().expect("values")
        };
        let collector = Process::new(collect, (second.clone(),));
        let collector = collector.start_method(method).start().expect("start");
        let dead_producers = kill_some(&dice, &producers, PRODUCERS - 1);
        let dead_relays = kill_some(&dice, &relays, RELAYS as u64 - 1);
        let ended =
            |child: &Child<()>| child.join_timeout(LONG).map_or(true, |ended| ended.is_some());
        assert!(producers.iter().all(ended), "round {round}: a producer hangs");
        first.shutdown();
        assert!(relays.iter().all(ended), "round {round}: a relay hangs");
        second.shutdown();
        let got =
            collector.join_timeout(LONG).expect("the collector").expect("the collector hangs");
        check(round, &got, dead_producers, dead_relays);
    }
}

/// Nothing came twice, changed or out of order, and only what a dead relay had in hand is missing.
fn check(round: u32, got: &[(usize, Item)], dead_producers: usize, dead_relays: usize) {
    let mut missing = 0;
    for producer in 0..PRODUCERS {
        let of_producer = || got.iter().filter(move |(_, found)| found.0 == producer);
        assert!(
            of_producer().all(|(_, found)| *found == item(producer, found.1)),
            "round {round}: a value changed"
        );
        for relay in 0..RELAYS {
            let numbers: Vec<u64> =
                of_producer().filter(|(by, _)| *by == relay).map(|(_, found)| found.1).collect();
            assert!(
                numbers.is_sorted(),
                "round {round}: values of one producer came in another order"
            );
        }
        let mut numbers: Vec<u64> = of_producer().map(|(_, found)| found.1).collect();
        numbers.sort_unstable();
        let count = numbers.len() as u64;
        numbers.dedup();
        assert_eq!(numbers.len() as u64, count, "round {round}: a value came twice");
        let survived = producer as usize >= dead_producers;
        let sent = if survived { EACH } else { numbers.last().map_or(0, |last| last + 1) };
        missing += sent - count;
    }
    // Of a dead relay: the one that it had got, or was about to get.
    assert!(
        missing <= dead_relays as u64,
        "round {round}: {missing} values are lost, with {dead_relays} relays killed"
    );
}

pub(crate) fn joins_of_a_queue_return_whoever_is_killed() {
    fn work(jobs: JoinableQueue<u64>) {
        while jobs.get().is_ok() {
            jobs.task_done().expect("one in hand");
        }
    }
    for round in 0..dice::own_rounds() {
        let dice = Dice::of_round(round);
        let method = dice.one_of(&METHODS);
        let jobs = JoinableQueue::new().expect("queue");
        let workers: Vec<_> = (0..RELAYS)
            .map(|_| Process::new(work, (jobs.clone(),)).start_method(method).start())
            .collect::<Result<_, _>>()
            .expect("start");
        for job in 0..EACH {
            jobs.put(job).expect("put");
        }
        kill_some(&dice, &workers, RELAYS as u64 - 1);
        let before = Instant::now();
        assert!(
            jobs.join_timeout(LONG),
            "round {round}: {} are unfinished after {:?}",
            jobs.unfinished(),
            before.elapsed()
        );
        jobs.queue().shutdown();
        for worker in workers {
            let _ = worker.join_timeout(LONG).map(|ended| ended.expect("a worker hangs"));
        }
    }
}
