//! Tests of tasks that their worker has not begun: workers that wait get them, and one that was
//! stopped is replaced.

use std::time::Duration;

use super::for_tests::{GRACE, Pool, SECOND, job, plain, policy};
use crate::error::Failure;
use crate::pool::scheduler::event::{Action, Link, Recall};
use crate::pool::scheduler::policy::Policy;

#[test]
fn a_worker_that_begins_nothing_is_replaced() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..1);
    pool.tick(5 * SECOND);
    let recall = Action::Recall { place: 0, why: Recall::Overdue { is_frozen: true } };
    assert_eq!(pool.seen(), [recall, Action::Terminate { place: 0 }]);
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
    pool.die(0, Failure::Exited(9));
    pool.tick(SECOND);
    pool.started(0);
    assert_eq!((pool.work(0), sink.outcome(0).as_deref()), (0, Some("0")));
}

#[test]
fn a_worker_that_is_stopped_in_a_task_is_continued_if_others_wait() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..3);
    pool.begin(0);
    pool.listen(0, Link::Open);
    pool.tick(5 * SECOND);
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [Action::Continue { place: 0 }]);
}

#[test]
fn a_task_that_begins_to_wait_for_a_stopped_one_has_the_supervisor_come() {
    let (mut pool, sink) = (Pool::with(Policy { max_tasks: Some(1), ..policy(1) }), plain());
    pool.ready(0);
    pool.submit(&sink, 0..1);
    pool.begin(0);
    pool.listen(0, Link::Open);
    assert_eq!(pool.scheduler.next_look(pool.now), None);
    pool.submit(&sink, 1..2);
    assert_eq!(pool.scheduler.soonest(), Some(pool.now + 5 * SECOND));
    pool.tick(5 * SECOND);
    assert_eq!(pool.seen(), [Action::Continue { place: 0 }]);
}

#[test]
fn a_worker_that_is_to_leave_has_the_supervisor_come_to_kill_it() {
    let (mut pool, sink) = (Pool::with(Policy { max_tasks: Some(1), ..policy(1) }), plain());
    pool.ready(0);
    pool.submit(&sink, 0..1);
    pool.scheduler.next_look(pool.now);
    // By a user thread.
    pool.work(0);
    assert_eq!(pool.seen(), [Action::Dismiss { place: 0 }]);
    assert_eq!(pool.scheduler.soonest(), Some(pool.now + GRACE));
    pool.tick(GRACE);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
}

/// The first of two workers is stopped.
fn with_a_stopped_one() -> Pool {
    let mut pool = Pool::new(2);
    pool.workers[0].as_mut().expect("it").is_stopped = true;
    pool
}

const SHARE: Action = Action::Recall { place: 0, why: Recall::Share };

#[test]
fn whoever_hears_that_a_worker_is_done_has_it_get_what_others_have_not_begun() {
    let (mut pool, sink) = (with_a_stopped_one(), plain());
    pool.submit(&sink, 0..4);
    pool.now += SECOND / 1000;
    let done = [pool.work(1), pool.work(1)];
    // Without a tick.
    assert_eq!(pool.seen(), [SHARE]);
    let mut rest = [pool.work(1), pool.work(1)].to_vec();
    rest.extend(done);
    rest.sort_unstable();
    assert_eq!(rest, [0, 1, 2, 3]);
    assert!(pool.workers[0].as_ref().expect("it").given.is_empty());
}

#[test]
fn a_worker_that_becomes_ready_has_its_part_at_once() {
    let (mut pool, sink) = (Pool::with(policy(2)), plain());
    pool.ready(0);
    pool.submit_jobs(vec![job(&sink, 0, 10, None)]).expect("a pool that takes tasks");
    pool.begin(0);
    pool.now += SECOND / 1000;
    assert!(pool.workers[1].as_ref().expect("it").given.is_empty());
    // Without a tick.
    pool.ready(1);
    assert_eq!(pool.seen(), [SHARE]);
    assert!(!pool.workers[1].as_ref().expect("it").given.is_empty());
}

#[test]
fn a_task_that_is_due_to_be_shared_has_the_supervisor_come() {
    let (mut pool, sink) = (with_a_stopped_one(), plain());
    pool.submit(&sink, 0..4);
    pool.scheduler.next_look(pool.now);
    assert_eq!(pool.scheduler.soonest(), None);
    pool.work(1);
    pool.work(1);
    assert_eq!(pool.seen(), [], "it is too early");
    let at = pool.scheduler.soonest().expect("a time");
    pool.tick(at - pool.now);
    assert_eq!(pool.seen(), [SHARE]);
}

#[test]
fn a_task_that_is_not_begun_goes_to_a_worker_that_waits() {
    let (mut pool, sink) = (with_a_stopped_one(), plain());
    pool.submit(&sink, 0..1);
    assert_eq!(pool.workers[0].as_ref().expect("it").given, [0]);
    while pool.seen().is_empty() {
        let at = pool.scheduler.next_look(pool.now).expect("it is looked at");
        assert!(at <= pool.now + SECOND / 4);
        pool.tick(at - pool.now);
    }
    assert_eq!((pool.work(1), sink.outcome(0).as_deref()), (0, Some("0")));
}

#[test]
fn a_task_that_runs_goes_to_nobody_else() {
    let (mut pool, sink) = (Pool::new(2), plain());
    pool.submit(&sink, 0..1);
    pool.begin(0);
    for _ in 0..20 {
        let at = pool.scheduler.next_look(pool.now);
        pool.tick(at.map_or(SECOND, |at| at - pool.now));
    }
    assert_eq!(pool.seen(), []);
    assert_eq!(pool.scheduler.next_look(pool.now), None, "nothing wakes the pool for it");
}

#[test]
fn a_worker_that_does_not_react_has_the_time_for_one_task_and_is_replaced() {
    let (mut pool, sink) = (with_a_stopped_one(), plain());
    pool.submit(&sink, 0..4);
    let start = pool.now;
    pool.now += SECOND / 1000;
    pool.work(1);
    pool.work(1);
    assert_eq!(pool.seen(), [SHARE]);
    // More than the other has room for: the stopped one is given some again and again.
    let mut first = 4;
    while pool.now < start + 6 * SECOND && !pool.seen().contains(&Action::Kill { place: 0 }) {
        pool.submit(&sink, first..first + 3);
        first += 3;
        pool.tick(SECOND / 10);
        while !pool.workers[1].as_ref().expect("it").given.is_empty() {
            pool.work(1);
        }
    }
    let took = pool.now - start;
    assert!(took >= 5 * SECOND && took < 6 * SECOND, "{took:?}");
}

#[test]
fn a_worker_that_goes_on_is_as_good_as_the_others() {
    let (mut pool, sink) = (with_a_stopped_one(), plain());
    pool.submit(&sink, 0..4);
    pool.now += SECOND / 1000;
    (0..4).for_each(|_| _ = pool.work(1));
    assert_eq!(pool.seen(), [SHARE]);
    let look = |pool: &mut Pool| {
        let at = pool.scheduler.next_look(pool.now).expect("it is looked at");
        pool.tick(at - pool.now);
    };
    let start = pool.now;
    (0..12).for_each(|_| look(&mut pool));
    assert!(pool.now - start > SECOND, "it is looked at less and less often");
    pool.workers[0].as_mut().expect("it").is_stopped = false;
    look(&mut pool);
    pool.submit(&sink, 4..6);
    pool.tick(Duration::ZERO);
    for place in 0..2 {
        assert_eq!(pool.workers[place].as_ref().expect("it").given.len(), 1);
        pool.work(place);
    }
    assert_eq!(pool.seen(), []);
}
