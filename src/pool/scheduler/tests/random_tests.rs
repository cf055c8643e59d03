//! Pools in which anything happens at any time. Whatever it is, every task has one outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::for_tests::{Pool, Recorder, SECOND, job, policy};
use crate::error::Failure;
use crate::pool::protocol::messages::Reply;
use crate::pool::scheduler::event::{Action, Event, Link};
use crate::pool::scheduler::job::Options;
use crate::pool::scheduler::policy::Policy;
use crate::pool::scheduler::retry::Retry;

/// Runs of one test; each has a number from which all its chances follow.
const RUNS: u64 = if cfg!(miri) { 5 } else { 3000 };
const STEPS: u32 = 60;

/// Numbers that look as if they came by chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, count: u64) -> u64 {
        // Multiplied by an odd number and shifted: the lower bits of the product are no chance.
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % count
    }

    fn place(&mut self, pool: &Pool) -> usize {
        self.below(pool.workers.len() as u64) as usize
    }
}

/// The tasks that a run submits.
struct Call {
    sink: Arc<Recorder>,
    count: u64,
}

#[test]
fn every_task_has_one_outcome() {
    for run in 0..RUNS {
        let mut chance = Chance(run);
        let mut pool = Pool::with(Policy {
            max_tasks: (chance.below(3) == 0).then_some(3),
            max_growth: (chance.below(3) == 0).then_some(100),
            max_restarts: 1000,
            ..policy(1 + chance.below(3) as usize)
        });
        let mut calls = Vec::new();
        for _ in 0..STEPS {
            step(&mut pool, &mut calls, &mut chance);
        }
        finish(&mut pool, run);
        for call in calls {
            let is_cancelled = call.sink.is_cancelled.load(Ordering::Relaxed);
            for number in 0..call.count {
                let outcome = call.sink.outcome(number);
                // Of a cancelled call, what is dropped needs none; none may have two.
                assert!(outcome.is_some() || is_cancelled, "run {run}: task {number} is lost");
            }
        }
    }
}

/// User threads submit and hear workers while the supervisor sleeps: they have to know of all that
/// becomes due by that.
#[test]
fn nothing_is_due_before_the_supervisor_comes() {
    for run in 0..RUNS {
        let mut chance = Chance(run);
        let mut pool = Pool::with(Policy {
            max_tasks: (chance.below(3) == 0).then_some(1),
            max_restarts: 1000,
            ..policy(1 + chance.below(3) as usize)
        });
        let mut calls = Vec::new();
        let mut comes_at = None;
        for number in 0..STEPS {
            let mut is_turn = false;
            pool.now += Duration::from_micros(1 << chance.below(10));
            match chance.below(8) {
                0 | 1 => submit(&mut pool, &mut calls, &mut chance),
                2..=6 => {
                    let place = chance.place(&pool);
                    work(&mut pool, place, &mut chance);
                }
                _ => {
                    is_turn = true;
                    step(&mut pool, &mut calls, &mut chance);
                }
            }
            is_turn |= comes_at.is_some_and(|at| at <= pool.now);
            // What user threads carry out themselves; the rest wakes the supervisor.
            let is_left = |action: &Action| {
                !matches!(action, Action::Recall { .. } | Action::Terminate { .. })
            };
            is_turn |= pool.seen.iter().any(is_left);
            carry_out(&mut pool, &mut chance);
            if is_turn {
                pool.tick(Duration::ZERO);
                carry_out(&mut pool, &mut chance);
                comes_at = pool.scheduler.next_look(pool.now);
                continue;
            }
            comes_at = comes_at.into_iter().chain(pool.scheduler.soonest()).min();
            let due = pool.scheduler.next_look(pool.now);
            // A worker with several tasks is looked at soon, and tasks may be shared that late.
            let slack = SECOND / 1000;
            let is_known = due.is_none_or(|due| comes_at.is_some_and(|at| at <= due + slack));
            assert!(is_known, "run {run}, step {number}: it comes at {comes_at:?}, for {due:?}");
        }
    }
}

/// Lets one thing happen.
fn step(pool: &mut Pool, calls: &mut Vec<Call>, chance: &mut Chance) {
    let place = chance.place(pool);
    match chance.below(20) {
        0..=3 => submit(pool, calls, chance),
        4..=12 => work(pool, place, chance),
        13 => pool.listen(place, Link::Open),
        14 if pool.workers[place].is_some() => pool.die(place, Failure::Exited(1)),
        15 if !calls.is_empty() => {
            let call = &calls[chance.below(calls.len() as u64) as usize];
            call.sink.is_cancelled.store(true, Ordering::Relaxed);
            let (call, kills) = (call.sink.call.id, chance.below(2) == 0);
            pool.on(Event::Cancelled { call, kills });
        }
        16 if chance.below(4) == 0 => pool.on(Event::PendingCancelled),
        17 if pool.workers[place].is_some() && chance.below(3) == 0 => match chance.below(2) {
            0 => pool.listen(place, Link::Ended),
            _ => {
                pool.publish(place, vec![chance.below(256) as u8; 3]);
                pool.listen(place, Link::Ended);
            }
        },
        18 if chance.below(40) == 0 => pool.on(Event::Terminated),
        _ => pool.tick(Duration::from_micros(1 << chance.below(23))),
    }
    carry_out(pool, chance);
}

fn submit(pool: &mut Pool, calls: &mut Vec<Call>, chance: &mut Chance) {
    let options = Options {
        deadline: (chance.below(3) == 0).then_some(SECOND),
        total: (chance.below(4) == 0).then_some(3 * SECOND),
        retry: Retry::times(chance.below(3) as u32),
        ..Options::default()
    };
    let sink = Recorder::new(options);
    let mut count = 0;
    let mut jobs = Vec::new();
    for _ in 0..=chance.below(4) {
        let tasks = 1 + chance.below(4) as u32;
        let place = (chance.below(5) == 0).then(|| chance.place(pool));
        let tasks = if place.is_some() { 1 } else { tasks };
        jobs.push(job(&sink, count, tasks, place));
        count += u64::from(tasks);
    }
    if pool.submit_jobs(jobs).is_ok() {
        calls.push(Call { sink, count });
    }
}

/// Takes a worker's next step, unless it has none to take.
fn work(pool: &mut Pool, place: usize, chance: &mut Chance) {
    let Some(worker) = &pool.workers[place] else { return };
    if worker.published.is_empty() && worker.begun == 0 && chance.below(2) == 0 {
        pool.publish_ready_once(place);
    } else if worker.running.is_some() {
        let verdict = if chance.below(4) == 0 { Reply::NotRun } else { Reply::Returned };
        pool.finish(place, verdict);
    } else if !worker.given.is_empty() {
        pool.begin(place);
    }
    if chance.below(2) == 0 {
        pool.listen(place, Link::Open);
    }
}

/// Does what the scheduler wants, or most of it: what is killed may still live for a while.
fn carry_out(pool: &mut Pool, chance: &mut Chance) {
    for action in pool.seen() {
        match action {
            Action::Kill { place } if pool.workers[place].is_some() => {
                if chance.below(8) == 0 {
                    pool.on(Event::Unkillable { place });
                } else {
                    pool.die(place, Failure::Exited(9));
                }
            }
            Action::Dismiss { place } | Action::GiveUp { place }
                if pool.workers[place].is_some() =>
            {
                pool.die(place, Failure::Exited(0));
            }
            Action::Start { place } if chance.below(5) == 0 => {
                pool.on(Event::StartFailed { place, reason: "chance".to_owned() });
            }
            Action::Start { place } => pool.started(place),
            Action::Weigh { place } if pool.workers[place].is_some() => {
                pool.on(Event::Weighed { place, bytes: Some(chance.below(150)) });
            }
            _ => {}
        }
    }
}

/// Closes the pool, and lets honest workers do what is left.
fn finish(pool: &mut Pool, run: u64) {
    let mut chance = Chance(1);
    pool.on(Event::Closed);
    for _ in 0..3000 {
        carry_out(pool, &mut chance);
        if pool.scheduler.is_over() && pool.seen.is_empty() {
            return;
        }
        for place in 0..pool.workers.len() {
            let Some(worker) = &pool.workers[place] else { continue };
            if !worker.is_ready {
                pool.publish_ready_once(place);
            }
            if pool.workers[place].as_ref().is_some_and(|worker| worker.running.is_none())
                && pool.workers[place].as_ref().is_some_and(|worker| !worker.given.is_empty())
            {
                pool.begin(place);
            }
            if pool.workers[place].as_ref().is_some_and(|worker| worker.running.is_some()) {
                pool.finish(place, Reply::Returned);
            }
            pool.listen(place, Link::Open);
        }
        pool.tick(SECOND / 10);
    }
    panic!("run {run}: the pool does not come to its end");
}
