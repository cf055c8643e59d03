//! Each transition of the scheduler, one by one.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::for_tests::{GRACE, Pool, Recorder, SECOND, job, plain, policy};
use crate::error::Failure;
use crate::pool::protocol::messages::{self, Reply};
use crate::pool::scheduler::event::{Action, Event, Link, Recall};
use crate::pool::scheduler::job::Options;
use crate::pool::scheduler::policy::Policy;
use crate::pool::scheduler::retry::Retry;
use crate::pool::scheduler::scheduler::Phase;

#[test]
fn a_worker_is_given_tasks_before_it_is_ready_and_two_at_a_time() {
    let (mut pool, sink) = (Pool::with(policy(1)), plain());
    pool.submit(&sink, 0..3);
    assert_eq!(pool.workers[0].as_ref().expect("it").given, [0, 1]);
    pool.ready(0);
    assert_eq!((pool.work(0), pool.work(0), pool.work(0)), (0, 1, 2));
    assert_eq!(sink.outcomes(3), ["0", "1", "2"]);
    assert_eq!(pool.seen(), []);
}

#[test]
fn tasks_go_to_whoever_has_nothing_to_do() {
    let (mut pool, sink) = (Pool::new(3), plain());
    pool.submit(&sink, 0..4);
    let given = |pool: &Pool| pool.workers.iter().flatten().map(|w| w.given.len()).collect();
    let given: Vec<usize> = given(&pool);
    assert_eq!(given, [2, 1, 1]);
}

#[test]
fn chunks_that_wait_together_are_shared_out_and_no_worker_gets_more_than_its_room() {
    let mut pool = Pool::new(3);
    let sink = Recorder::new(Options { chunk_size: Some(2), ..Options::default() });
    pool.submit_jobs(vec![job(&sink, 0, 7, None)]).expect("a pool that takes tasks");
    let given = |pool: &Pool| -> Vec<Vec<u64>> {
        pool.workers.iter().flatten().map(|worker| worker.given.iter().copied().collect()).collect()
    };
    assert_eq!(given(&pool), [vec![0, 1, 2, 3], vec![4, 5], vec![6]]);
    // Two chunks each, as nothing is known of how long they take; the rest waits.
    pool.submit_jobs(vec![job(&sink, 7, 9, None)]).expect("a pool that takes tasks");
    assert_eq!(given(&pool), [vec![0, 1, 2, 3], vec![4, 5, 7, 8], vec![6, 9, 10]]);
    assert_eq!(pool.scheduler.queued(), 5);
    // A chunk that is done makes room for one, and half of one does not.
    assert_eq!(pool.work(0), 0);
    assert_eq!(pool.scheduler.queued(), 5);
    assert_eq!(pool.work(0), 1);
    assert_eq!(pool.scheduler.queued(), 3);
}

#[test]
fn tasks_that_follow_each_other_go_to_the_worker_that_answered() {
    let (mut pool, sink) = (Pool::new(3), plain());
    for number in 0..4 {
        pool.submit(&sink, number..number + 1);
        let given = &pool.workers[0].as_ref().expect("it").given;
        assert_eq!(*given, [number], "not to the worker that has just answered");
        assert_eq!(pool.work(0), number);
    }
}

#[test]
fn short_tasks_of_one_function_go_to_one_worker_for_a_while() {
    for (took, of_the_first) in [(10, 6), (100, 1)] {
        let (mut pool, sink) = (Pool::new(2), plain());
        pool.submit(&sink, 0..1);
        pool.workers[0].as_mut().expect("it").busy = Duration::from_micros(took);
        assert_eq!(pool.work(0), 0);
        // The first again, until it has work for so long that another one may be woken.
        pool.submit(&sink, 1..8);
        let given = |place: usize| pool.workers[place].as_ref().expect("it").given.len();
        assert!(given(0) >= of_the_first && given(1) > 0, "{} and {}", given(0), given(1));
    }
}

#[test]
fn a_death_fails_the_task_that_ran_and_no_other() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..3);
    pool.work(0);
    assert_eq!(pool.begin(0), 1);
    pool.die(0, Failure::Exited(7));
    assert_eq!(sink.outcomes(3), ["0", "exited with code 7", "none"]);
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [Action::Start { place: 0 }]);
    pool.started(0);
    assert_eq!(pool.work(0), 2);
    assert_eq!(sink.outcome(2).as_deref(), Some("2"));
}

#[test]
fn what_was_written_but_not_published_counts() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit_jobs(vec![job(&sink, 0, 3, None)]).expect("taken");
    pool.begin(0);
    pool.begin(0);
    let words = pool.words(0);
    let mut answers = Vec::new();
    messages::put_answer(&mut answers, Reply::Returned, &[0]);
    let why = Failure::Exited(1);
    pool.on(Event::Ended { place: 0, words, unpublished: Some((1, &answers)), why });
    assert_eq!(sink.outcomes(3), ["0", "exited with code 1", "none"]);
}

#[test]
fn a_task_that_workers_do_not_begin_is_lost_after_five() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..1);
    for _ in 0..5 {
        assert_eq!(sink.outcome(0), None);
        pool.die(0, Failure::Exited(1));
        pool.tick(SECOND);
        pool.started(0);
        pool.ready(0);
    }
    let lost = "was lost: 5 workers did not begin it, or hid that they had";
    assert_eq!(sink.outcome(0).as_deref(), Some(lost));
}

#[test]
fn starts_that_fail_are_tried_again_later_and_at_last_break_the_pool() {
    let (mut pool, sink) = (Pool::with(policy(1)), plain());
    pool.submit(&sink, 0..1);
    pool.die(0, Failure::Exited(3));
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [], "not at once");
    pool.tick(SECOND);
    assert_eq!(pool.seen(), [Action::Start { place: 0 }]);
    pool.on(Event::StartFailed { place: 0, reason: "no memory".to_owned() });
    pool.tick(SECOND);
    pool.started(0);
    assert_eq!(sink.outcome(0), None);
    pool.publish(0, [&[Reply::Ready as u8], &b"its initializer panicked"[..]].concat());
    pool.listen(0, Link::Open);
    pool.die(0, Failure::Exited(0));
    let reason =
        "the pool's workers cannot start: worker worker-0 (pid 1) its initializer panicked";
    assert_eq!(pool.scheduler.phase, Phase::Broken(reason.to_owned()));
    assert_eq!(sink.outcome(0), Some(format!("did not run: {reason}")));
    assert!(pool.submit_jobs(vec![job(&sink, 1, 1, None)]).is_err());
    assert!(pool.scheduler.is_over());
}

#[test]
fn failures_and_deaths_are_retried_as_often_as_was_asked() {
    let sink = Recorder::new(Options { retry: Retry::times(2), ..Options::default() });
    let mut pool = Pool::new(1);
    pool.submit(&sink, 0..1);
    pool.begin(0);
    pool.finish(0, Reply::NotRun);
    pool.listen(0, Link::Open);
    assert_eq!((sink.outcome(0), pool.begin(0)), (None, 0));
    pool.die(0, Failure::Exited(1));
    pool.tick(SECOND);
    pool.started(0);
    assert_eq!((sink.outcome(0), pool.begin(0)), (None, 0));
    pool.die(0, Failure::Exited(2));
    assert_eq!(sink.outcome(0).as_deref(), Some("exited with code 2"));
}

#[test]
fn a_call_that_is_cancelled_ends_what_runs_and_spares_what_is_not_its_own() {
    let (mut pool, ours, other) = (Pool::new(1), plain(), plain());
    pool.submit(&ours, 0..1);
    pool.submit(&other, 0..1);
    pool.begin(0);
    ours.is_cancelled.store(true, Ordering::Relaxed);
    let (call, kills) = (ours.call.id, true);
    pool.on(Event::Cancelled { call, kills });
    let why = Recall::Cancelled { call, kills };
    assert_eq!(pool.seen(), [Action::Recall { place: 0, why }, Action::Kill { place: 0 }]);
    pool.die(0, Failure::Exited(9));
    assert_eq!(ours.outcome(0).as_deref(), Some("was cancelled: while it ran"));
    pool.tick(Duration::ZERO);
    pool.started(0);
    pool.work(0);
    assert_eq!(other.outcome(0).as_deref(), Some("0"));
}

#[test]
fn a_call_that_is_cancelled_before_it_is_begun_kills_nobody() {
    let (mut pool, ours, other) = (Pool::new(1), plain(), plain());
    pool.submit(&other, 0..1);
    pool.submit(&ours, 0..1);
    pool.begin(0);
    ours.is_cancelled.store(true, Ordering::Relaxed);
    let (call, kills) = (ours.call.id, true);
    pool.on(Event::Cancelled { call, kills });
    assert_eq!(pool.seen(), [Action::Recall { place: 0, why: Recall::Cancelled { call, kills } }]);
    assert!(pool.workers[0].as_ref().expect("it").given.is_empty());
}

#[test]
fn a_deadline_ends_the_worker_after_the_grace_and_fails_one_task() {
    let options = || Options { deadline: Some(SECOND), ..Options::default() };
    let (mut pool, sink) = (Pool::new(1), Recorder::new(options()));
    pool.submit(&sink, 0..2);
    pool.begin(0);
    pool.tick(SECOND / 2);
    assert_eq!(pool.seen(), []);
    assert!(pool.scheduler.next_look(pool.now).is_some_and(|at| at <= pool.now + SECOND / 2));
    pool.tick(SECOND / 2);
    let recall = Action::Recall { place: 0, why: Recall::Overdue { is_frozen: false } };
    assert_eq!(pool.seen(), [recall, Action::Terminate { place: 0 }]);
    pool.tick(GRACE);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
    pool.die(0, Failure::Exited(9));
    assert_eq!(sink.outcomes(2), ["reached its deadline of 1s", "none"]);
}

#[test]
fn a_task_that_is_done_in_the_grace_counts_and_its_worker_goes() {
    let sink = Recorder::new(Options { deadline: Some(SECOND), ..Options::default() });
    let mut pool = Pool::new(1);
    pool.submit(&sink, 0..1);
    pool.begin(0);
    pool.tick(SECOND);
    pool.seen();
    pool.finish(0, Reply::Returned);
    pool.listen(0, Link::Open);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
    assert_eq!(sink.outcome(0).as_deref(), Some("0"));
}

#[test]
fn garbled_answers_end_the_worker_that_sent_them() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..2);
    pool.begin(0);
    pool.publish(0, vec![77, 1, 2]);
    pool.listen(0, Link::Ended);
    assert_eq!(pool.seen(), [Action::Terminate { place: 0 }]);
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
    pool.die(0, Failure::Exited(9));
    let lost = "was lost: its worker was killed: it said what is no answer";
    assert_eq!(sink.outcomes(2), [lost, "none"]);
}

#[test]
fn a_worker_that_closes_its_link_has_the_grace_to_end() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..1);
    pool.begin(0);
    pool.listen(0, Link::Ended);
    assert_eq!(pool.seen(), []);
    pool.submit(&sink, 1..2);
    assert!(pool.workers[0].as_ref().expect("it").given.is_empty(), "it takes no more");
    pool.tick(GRACE);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
    pool.die(0, Failure::Exited(9));
    assert_eq!(sink.outcomes(2), ["exited with code 9", "none"]);
}

#[test]
fn a_closed_pool_dismisses_its_workers_when_all_is_done() {
    let (mut pool, sink) = (Pool::new(2), plain());
    pool.submit(&sink, 0..1);
    pool.begin(0);
    pool.on(Event::Closed);
    assert_eq!(pool.seen(), []);
    assert!(pool.submit_jobs(vec![job(&sink, 1, 1, None)]).is_err());
    pool.finish(0, Reply::Returned);
    pool.listen(0, Link::Open);
    assert_eq!(pool.seen(), [Action::Dismiss { place: 0 }, Action::Dismiss { place: 1 }]);
    pool.die(0, Failure::Exited(0));
    pool.tick(GRACE);
    assert_eq!(pool.seen(), [Action::Kill { place: 1 }], "one that does not leave");
    pool.die(1, Failure::Exited(9));
    assert!(pool.scheduler.is_over());
}

#[test]
fn a_closed_pool_replaces_a_worker_as_long_as_tasks_wait() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..2);
    pool.on(Event::Closed);
    pool.begin(0);
    pool.die(0, Failure::Exited(1));
    assert_eq!(pool.scheduler.next_look(pool.now), Some(pool.now));
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [Action::Start { place: 0 }]);
    pool.started(0);
    pool.ready(0);
    pool.work(0);
    assert_eq!(pool.seen(), [Action::Dismiss { place: 0 }]);
}

#[test]
fn a_worker_past_its_limit_of_tasks_retires() {
    let mut pool = Pool::with(Policy { max_tasks: Some(2), ..policy(1) });
    let sink = plain();
    pool.ready(0);
    pool.submit_jobs(vec![job(&sink, 0, 5, None)]).expect("taken");
    assert_eq!(pool.workers[0].as_ref().expect("it").given, [0, 1]);
    pool.work(0);
    pool.work(0);
    assert_eq!(pool.seen(), [Action::Dismiss { place: 0 }]);
    pool.die(0, Failure::Exited(0));
    pool.tick(Duration::ZERO);
    assert_eq!(pool.seen(), [Action::Start { place: 0 }]);
    pool.started(0);
    assert_eq!(pool.work(0), 2);
}

#[test]
fn a_worker_that_has_grown_retires_and_gives_back_what_it_has_not_begun() {
    let mut pool = Pool::with(Policy { max_growth: Some(100), ..policy(1) });
    let sink = plain();
    pool.ready(0);
    assert_eq!(pool.seen(), [Action::Weigh { place: 0 }]);
    pool.on(Event::Weighed { place: 0, bytes: Some(1000) });
    pool.submit(&sink, 0..2);
    pool.now += SECOND;
    pool.work(0);
    assert_eq!(pool.seen(), [Action::Weigh { place: 0 }]);
    pool.on(Event::Weighed { place: 0, bytes: Some(1101) });
    let recall = Action::Recall { place: 0, why: Recall::Spent };
    assert_eq!(pool.seen(), [recall, Action::Dismiss { place: 0 }]);
    pool.die(0, Failure::Exited(0));
    pool.tick(Duration::ZERO);
    pool.started(0);
    assert_eq!(pool.work(0), 1);
}

#[test]
fn what_waits_behind_a_slow_task_goes_to_a_worker_that_waits() {
    let (mut pool, sink) = (Pool::new(2), plain());
    pool.submit_jobs(vec![job(&sink, 0, 4, None)]).expect("taken");
    pool.begin(0);
    pool.listen(0, Link::Open);
    let at = pool.scheduler.next_look(pool.now).expect("a time to share");
    pool.tick(at - pool.now);
    pool.tick(Duration::from_millis(1));
    assert_eq!(pool.seen(), [Action::Recall { place: 0, why: Recall::Share }]);
    let given = |place: usize| pool.workers[place].as_ref().expect("it").given.clone();
    assert_eq!((given(1), given(0)), (VecDeque::from([1, 2]), VecDeque::from([3])));
}

#[test]
fn a_terminated_pool_cancels_all_and_ends_its_workers() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..4);
    pool.begin(0);
    pool.on(Event::Terminated);
    let recall = Action::Recall { place: 0, why: Recall::Terminated };
    assert_eq!(pool.seen(), [recall, Action::Terminate { place: 0 }]);
    let cancelled = "was cancelled: its pool was terminated";
    assert_eq!(sink.outcomes(4), ["none", cancelled, cancelled, cancelled]);
    pool.tick(GRACE);
    assert_eq!(pool.seen(), [Action::Kill { place: 0 }]);
    pool.die(0, Failure::Exited(9));
    assert_eq!(sink.outcome(0).as_deref(), Some(cancelled));
    assert!(pool.scheduler.is_over());
}

#[test]
fn a_worker_that_comes_after_the_end_is_ended() {
    let mut pool = Pool::new(1);
    pool.on(Event::Terminated);
    pool.die(0, Failure::Exited(9));
    pool.seen();
    pool.started(0);
    assert_eq!(pool.seen(), [Action::Terminate { place: 0 }]);
    assert!(!pool.scheduler.is_over());
}

#[test]
fn a_worker_that_may_not_be_signalled_is_given_up_after_a_second() {
    let sink = Recorder::new(Options { deadline: Some(SECOND), ..Options::default() });
    let mut pool = Pool::new(1);
    pool.submit(&sink, 0..1);
    pool.begin(0);
    pool.on(Event::Terminated);
    pool.tick(GRACE);
    pool.seen();
    pool.on(Event::Unkillable { place: 0 });
    pool.tick(SECOND);
    assert_eq!(pool.seen(), [Action::GiveUp { place: 0 }]);
    pool.die(0, Failure::Lost("may not end it".to_owned()));
    assert_eq!(sink.outcome(0).as_deref(), Some("was lost: may not end it"));
}

#[test]
fn a_job_for_a_place_waits_for_the_worker_there() {
    let (mut pool, sink) = (Pool::new(2), plain());
    let jobs = (0..2).map(|place| job(&sink, place, 1, Some(place as usize))).collect();
    pool.submit_jobs(jobs).expect("taken");
    assert_eq!((pool.begin(0), pool.work(1)), (0, 1));
    let next = (2..4).map(|number| job(&sink, number, 1, Some(number as usize - 2))).collect();
    pool.submit_jobs(next).expect("taken");
    pool.die(0, Failure::Exited(1));
    pool.tick(SECOND);
    assert_eq!(pool.work(1), 3);
    pool.started(0);
    assert_eq!(pool.work(0), 2);
    assert_eq!(sink.outcomes(4), ["exited with code 1", "1", "2", "3"]);
}

#[test]
fn what_is_pending_is_called_off_and_what_runs_goes_on() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.submit(&sink, 0..3);
    pool.begin(0);
    pool.on(Event::PendingCancelled);
    pool.finish(0, Reply::Returned);
    pool.listen(0, Link::Open);
    let off = "was cancelled: before it began";
    assert_eq!(sink.outcomes(3), ["0", off, off]);
    pool.submit(&sink, 3..4);
    assert_eq!(pool.work(0), 3);
}

#[test]
fn the_time_of_a_whole_call_ends_all_that_is_left_of_it() {
    let (mut pool, other) = (Pool::new(1), plain());
    let sink = Recorder::new(Options { total: Some(SECOND), ..Options::default() });
    pool.submit(&sink, 0..4);
    pool.submit(&other, 0..1);
    pool.work(0);
    pool.begin(0);
    assert!(pool.scheduler.next_look(pool.now).is_some_and(|at| at <= pool.now + SECOND));
    pool.tick(SECOND);
    let why = Recall::Expired { call: sink.call.id };
    assert_eq!(pool.seen(), [Action::Recall { place: 0, why }, Action::Kill { place: 0 }]);
    pool.submit(&sink, 4..5);
    pool.die(0, Failure::Exited(9));
    let late = "reached its deadline of 1s";
    assert_eq!(sink.outcomes(5), ["0", late, late, late, late]);
    pool.tick(SECOND);
    pool.started(0);
    pool.work(0);
    assert_eq!(other.outcome(0).as_deref(), Some("0"));
}

#[test]
fn a_host_that_fails_leaves_no_task_without_an_outcome() {
    let (mut pool, sink) = (Pool::new(2), plain());
    pool.submit(&sink, 0..9);
    pool.begin(0);
    pool.on(Event::Abandoned);
    pool.die(0, Failure::Lost("the host".to_owned()));
    pool.die(1, Failure::Lost("the host".to_owned()));
    assert!(sink.outcomes(9).iter().all(|outcome| outcome != "none"), "{:?}", sink.outcomes(9));
    assert!(pool.scheduler.is_over());
}

#[test]
fn a_full_link_gets_no_more_until_there_is_room() {
    let (mut pool, sink) = (Pool::new(1), plain());
    pool.on(Event::Full { place: 0 });
    pool.submit(&sink, 0..1);
    assert!(pool.workers[0].as_ref().expect("it").given.is_empty());
    let retry_at = Some(pool.now + SECOND);
    pool.listen(0, Link::Full { retry_at });
    assert_eq!(pool.scheduler.next_look(pool.now), retry_at);
    pool.listen(0, Link::Open);
    assert_eq!(pool.work(0), 0);
}

#[test]
fn a_caller_learns_that_the_host_has_to_come_sooner() {
    let sink = Recorder::new(Options { deadline: Some(SECOND / 10), ..Options::default() });
    let mut pool = Pool::new(1);
    assert_eq!((pool.scheduler.next_look(pool.now), pool.scheduler.soonest()), (None, None));
    pool.submit(&sink, 0..1);
    assert_eq!(pool.scheduler.soonest(), Some(pool.now + SECOND / 10));
}
