//! A model of pools whose workers are elsewhere: give, begin, answer, recall, kill, lose, answer
//! late. Machines are lost at any moment, and what is on its way arrives when it likes. Whatever
//! happens, every task has one outcome, and what is to run once is not begun twice.
//!
//! Between the pool and a worker is a way that keeps the order and loses nothing, as that of
//! `multiproc-cluster` does (its own model is there), but as slow as can be: each message arrives
//! at a moment that chance chooses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::for_tests::{Recorder, SECOND, job, policy};
use crate::pool::elsewhere::bell::Bell;
use crate::pool::elsewhere::hands::Hands;
use crate::pool::elsewhere::memory::Memory;
use crate::pool::elsewhere::report::Report;
use crate::pool::host::remote::Remote;
use crate::pool::protocol::messages::{self, Reply, Request};
use crate::pool::scheduler::event::Event;
use crate::pool::scheduler::job::Options;
use crate::pool::scheduler::policy::{Distance, Policy};
use crate::pool::scheduler::scheduler::Scheduler;

/// Runs of the test; each has a number from which all its chances follow.
const RUNS: u64 = if cfg!(miri) { 3 } else { 3000 };
const STEPS: u32 = 120;
const PLACES: usize = 3;

/// Numbers that look as if they came by chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % count
    }

    fn place(&mut self) -> usize {
        self.below(PLACES as u64) as usize
    }
}

/// What the pool asks for, in order.
enum Asked {
    Want(usize),
    Give(usize, Vec<u8>),
    Recall(usize),
    Release(usize),
    Kill(usize),
}

/// Hands that note what they are asked for.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<Asked>>>);

impl Noted {
    fn note(&self, asked: Asked) {
        self.0.lock().expect("notes").push(asked);
    }
}

impl Hands for Noted {
    fn bell(&self) -> Bell {
        Bell::new()
    }

    fn want(&mut self, place: usize) {
        self.note(Asked::Want(place));
    }

    fn give(&mut self, place: usize, request: Vec<u8>, _: Vec<Memory>) {
        self.note(Asked::Give(place, request));
    }

    fn recall(&mut self, place: usize) {
        self.note(Asked::Recall(place));
    }

    fn release(&mut self, place: usize) {
        self.note(Asked::Release(place));
    }

    fn kill(&mut self, place: usize) {
        self.note(Asked::Kill(place));
    }

    fn flush(&mut self) {}
}

/// A message to a worker.
enum Told {
    Give { first: u64, count: u64 },
    Recall,
    Kill,
}

/// A worker elsewhere, and the way to it and back.
#[derive(Default)]
struct Hand {
    to: VecDeque<Told>,
    back: VecDeque<Report>,
    waiting: VecDeque<(u64, u64)>,
    /// The tasks of its chunk that have no answer.
    running: VecDeque<u64>,
    begun: u64,
    has_ended: bool,
}

struct World {
    scheduler: Scheduler,
    remote: Remote,
    noted: Noted,
    hands: Vec<Option<Hand>>,
    wanting: Vec<usize>,
    now: Instant,
    /// How often each task was begun.
    begun: BTreeMap<u64, u32>,
    calls: Vec<(Arc<Recorder>, std::ops::Range<u64>)>,
    next: u64,
    losses: u32,
}

impl World {
    fn new() -> World {
        let policy = Policy {
            max_restarts: 1000,
            distance: Distance::remote(Duration::from_secs(8)),
            ..policy(PLACES)
        };
        let noted = Noted::default();
        let mut remote = Remote::new(Box::new(noted.clone()), &policy, 0);
        remote.want_all();
        World {
            scheduler: Scheduler::new(policy),
            remote,
            noted,
            hands: (0..PLACES).map(|_| None).collect(),
            wanting: Vec::new(),
            now: Instant::now(),
            begun: BTreeMap::new(),
            calls: Vec::new(),
            next: 0,
            losses: 0,
        }
    }

    /// Carries out what the scheduler wants, and puts it on its way.
    fn run(&mut self) {
        while let Some(action) = self.scheduler.next_action(self.now) {
            self.remote.perform(action, &mut self.scheduler, self.now);
        }
        let all = std::mem::take(&mut *self.noted.0.lock().expect("notes"));
        for asked in all {
            match asked {
                Asked::Want(place) => self.wanting.push(place),
                Asked::Give(place, request) => {
                    let Some((Request::Tasks { first, count, .. }, _)) =
                        messages::understand(&request)
                    else {
                        panic!("no request");
                    };
                    self.tell(place, Told::Give { first, count: count.into() });
                }
                Asked::Recall(place) => self.tell(place, Told::Recall),
                // What it says from here on is void.
                Asked::Release(place) => self.hands[place] = None,
                Asked::Kill(place) => self.tell(place, Told::Kill),
            }
        }
    }

    fn tell(&mut self, place: usize, told: Told) {
        if let Some(hand) = &mut self.hands[place] {
            hand.to.push_back(told);
        }
    }

    /// Reports to the pool. Whoever has ended is gone.
    fn report(&mut self, place: usize, report: Report) {
        if matches!(report, Report::Ended { .. }) {
            self.hands[place] = None;
        }
        self.remote.hear(report, &mut self.scheduler, self.now);
        self.run();
    }

    fn fill(&mut self, at: usize) {
        let place = self.wanting.swap_remove(at);
        self.hands[place] = Some(Hand::default());
        self.report(place, Report::Started { place, name: "far".to_owned(), pid: 1 });
    }

    fn submit(&mut self, once: bool, chance: &mut Chance) {
        let call = Recorder::new(Options { once, ..Options::default() });
        let first = self.next;
        let jobs: Vec<_> = (0..1 + chance.below(4))
            .map(|_| {
                let count = 1 + chance.below(3);
                let job = job(&call, self.next, count as u32, None);
                self.next += count;
                job
            })
            .collect();
        self.calls.push((call, first..self.next));
        let _ = self.scheduler.submit(jobs, self.now).expect("taken");
        self.run();
    }

    /// Has the next message to a worker arrive, or it go on with what it has.
    fn go_on(&mut self, place: usize, chance: &mut Chance) {
        let Some(hand) = self.hands[place].as_mut().filter(|hand| !hand.has_ended) else { return };
        match chance.below(3) {
            0 => match hand.to.pop_front() {
                Some(Told::Give { first, count }) => hand.waiting.push_back((first, count)),
                Some(Told::Recall) => {
                    hand.waiting.clear();
                    hand.back.push_back(Report::Recalled { place, begun: hand.begun });
                }
                Some(Told::Kill) => {
                    hand.has_ended = true;
                    let (begun, why) = (Some(hand.begun), "was killed".to_owned());
                    hand.back.push_back(Report::Ended { place, begun, is_lost: false, why });
                }
                None => {}
            },
            1 if hand.running.is_empty() => {
                let Some((first, count)) = hand.waiting.pop_front() else { return };
                hand.running.extend(first..first + count);
                hand.begun += count;
                for number in first..first + count {
                    *self.begun.entry(number).or_default() += 1;
                }
                let (begun, busy, messages) = (hand.begun, Duration::ZERO, Vec::new());
                hand.back.push_back(Report::Heard { place, begun, busy, messages });
            }
            _ => {
                let Some(number) = hand.running.pop_front() else { return };
                let messages = vec![vec![Reply::Returned as u8, number as u8]];
                let (begun, busy) = (hand.begun, Duration::from_millis(1));
                hand.back.push_back(Report::Heard { place, begun, busy, messages });
            }
        }
    }

    /// Has the next word of a worker arrive.
    fn hear(&mut self, place: usize) {
        if let Some(report) = self.hands[place].as_mut().and_then(|hand| hand.back.pop_front()) {
            self.report(place, report);
        }
    }

    /// Loses a machine, with all that is on its way.
    fn lose(&mut self, place: usize) {
        if self.hands[place].is_some() {
            self.losses += 1;
            let (begun, why) = (None, "no sign of life".to_owned());
            self.report(place, Report::Ended { place, begun, is_lost: true, why });
        }
    }

    /// A machine leaves in order: what it has not begun was not begun.
    fn leave(&mut self, place: usize) {
        let Some(hand) = &mut self.hands[place] else { return };
        if hand.running.is_empty() && !hand.has_ended {
            hand.has_ended = true;
            let (begun, why) = (Some(hand.begun), "left".to_owned());
            hand.back.push_back(Report::Ended { place, begun, is_lost: true, why });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.scheduler.on(Event::Tick, self.now);
        self.run();
    }

    fn step(&mut self, chance: &mut Chance) {
        match chance.below(24) {
            0..=1 => self.submit(chance.below(4) == 0, chance),
            2 if !self.wanting.is_empty() => {
                self.fill(chance.below(self.wanting.len() as u64) as usize);
            }
            3 => self.lose(chance.place()),
            4 => self.leave(chance.place()),
            5 if !self.calls.is_empty() => {
                let at = chance.below(self.calls.len() as u64) as usize;
                let call = Arc::clone(&self.calls[at].0);
                if chance.below(4) == 0 {
                    call.is_cancelled.store(true, Ordering::Relaxed);
                    let (call, kills) = (call.call.id, chance.below(2) == 0);
                    self.scheduler.on(Event::Cancelled { call, kills }, self.now);
                    self.run();
                }
            }
            6 => self.pass(Duration::from_millis(chance.below(30))),
            // Long enough for a pool to take a worker for stuck.
            7 if chance.below(4) == 0 => self.pass(6 * SECOND),
            8..=15 => self.go_on(chance.place(), chance),
            _ => self.hear(chance.place()),
        }
    }

    /// Has everything arrive, without further losses, until all is done.
    fn finish(&mut self, run: u64, chance: &mut Chance) {
        for round in 0.. {
            assert!(round < 4000, "run {run} does not end");
            while !self.wanting.is_empty() {
                self.fill(0);
            }
            for place in 0..PLACES {
                self.go_on(place, chance);
                self.hear(place);
            }
            self.pass(Duration::from_millis(1));
            let is_over = |(call, numbers): &(Arc<Recorder>, std::ops::Range<u64>)| {
                call.is_cancelled.load(Ordering::Relaxed)
                    || numbers.clone().all(|number| call.outcome(number).is_some())
            };
            if self.calls.iter().all(is_over) {
                return;
            }
        }
    }
}

#[test]
fn every_task_elsewhere_has_one_outcome() {
    let (mut lost, mut again, mut losses) = (0, 0, 0);
    for run in 0..RUNS {
        let (mut chance, mut world) = (Chance(run), World::new());
        world.run();
        for _ in 0..STEPS {
            world.step(&mut chance);
        }
        world.finish(run, &mut chance);
        losses += world.losses;
        for (call, numbers) in &world.calls {
            let is_cancelled = call.is_cancelled.load(Ordering::Relaxed);
            for number in numbers.clone() {
                // `outcome` fails if there are several.
                let outcome = call.outcome(number);
                let begun = world.begun.get(&number).copied().unwrap_or(0);
                again += u32::from(begun > 1);
                if call.call.options.once {
                    assert!(begun <= 1, "run {run}: task {number} was begun {begun} times");
                }
                match outcome {
                    Some(text) if text.contains("was lost") => lost += 1,
                    Some(text) if !is_cancelled => {
                        assert_eq!(text, (number as u8).to_string(), "run {run}");
                        assert!(begun > 0);
                    }
                    outcome => assert!(outcome.is_some() || is_cancelled, "run {run}: {number}"),
                }
            }
        }
    }
    // The misfortunes made a difference.
    assert!(cfg!(miri) || (lost > 100 && again > 100 && losses > 100), "{lost} {again} {losses}");
}
