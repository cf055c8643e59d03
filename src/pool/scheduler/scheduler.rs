//! The pool's scheduler: it owns the queue and what is known of the workers, and never blocks.
//!
//! One event is handled at a time ([`Scheduler::on`]), then all actions that it led to are carried
//! out ([`Scheduler::next_action`]). An action may be answered by another event at once, so the
//! order of operations is fixed by the queue of actions:
//!
//! 1. An event changes the state of the pool or of one worker, and queues actions.
//! 2. Actions come out in the order in which they were queued.
//! 3. Only when none is left are waiting jobs assigned, one at a time: each is entered into the
//!    worker's ledger before the host sends it. A worker that dies at any moment after that is
//!    settled from its ledger, so a job is never in two places and never in none.
//!
//! The files beside this one hold the transitions by subject: `assigning` (which worker gets a
//! job), `ending` (deaths, cancellation, termination), `time_limits` (what is due). What is here is
//! the dispatch, and the life of a worker that does well.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Action, Event, Link, Recall};
use super::expiry::Expiries;
use super::job::{Job, Sink, Tag};
use super::policy::Policy;
use super::queue::Queue;
use super::state::{Cause, Due, KillReason, Words, WorkerState};
use super::worker::WorkerRecord;
use super::worker_set::{Place, WorkerSet};
use crate::error::Failure;

/// The phase of a pool's life. It only goes on, never back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes tasks.
    Running,
    /// Takes no more tasks, and does those that it has.
    Closing,
    /// Does no more tasks: the user has said so.
    Terminated,
    /// Does no more tasks: its workers cannot start, or the host has failed. The reason.
    Broken(String),
}

impl Phase {
    /// Returns whether an empty place is to get a worker: in a closing pool, only if there is a job
    /// for it.
    pub(super) fn wants(&self, queue: &Queue, place: usize) -> bool {
        match self {
            Phase::Running => true,
            Phase::Closing => queue.has_for(place),
            Phase::Terminated | Phase::Broken(_) => false,
        }
    }
}

/// The state of a pool.
pub(crate) struct Scheduler {
    /// The settings that decisions depend on.
    pub(super) policy: Policy,
    /// The places, and the workers in them.
    pub(super) workers: WorkerSet,
    /// The jobs that no worker has.
    pub(super) queue: Queue,
    /// The phase of the pool's life.
    pub(crate) phase: Phase,
    /// The sinks that got outcomes and were not woken yet.
    pub(super) touched: Vec<Arc<dyn Sink>>,
    /// Actions that the host has not taken yet.
    pub(super) actions: VecDeque<Action>,
    /// Place at which the next search for a worker begins.
    pub(super) cursor: usize,
    /// Place of the worker that has finished its tasks last: it may still be looking for more, and
    /// has its memory in a processor's cache.
    pub(super) warm: Option<usize>,
    /// Place of the worker that was given a job last.
    pub(super) last: Option<usize>,
    /// The calls that have a time of their own.
    pub(super) expiries: Expiries,
    /// Earliest time of anything that became due since the host asked last.
    soonest: Option<Instant>,
}

impl Scheduler {
    /// A scheduler whose places are empty; the host starts a worker for each.
    pub(crate) fn new(policy: Policy) -> Scheduler {
        let places = policy.processes;
        Scheduler {
            policy,
            workers: WorkerSet::new(places),
            queue: Queue::new(places),
            phase: Phase::Running,
            touched: Vec::new(),
            actions: VecDeque::new(),
            cursor: 0,
            warm: None,
            last: None,
            expiries: Expiries::default(),
            soonest: None,
        }
    }

    /// Queues jobs. Returns whether the queue was empty before, so that there may be workers with
    /// room.
    ///
    /// # Errors
    /// Why the pool takes none. The jobs that were not taken are left in `jobs`.
    pub(crate) fn submit(
        &mut self,
        jobs: impl IntoIterator<Item = Job>,
        now: Instant,
    ) -> Result<bool, Failure> {
        match &self.phase {
            Phase::Running => {}
            Phase::Closing | Phase::Terminated => {
                return Err(Failure::Cancelled("the pool is not running".to_owned()));
            }
            Phase::Broken(reason) => return Err(Failure::NotRun(reason.clone())),
        }
        // If jobs wait already, no worker has room, so the host need not look for one.
        let was_empty = self.queue.is_empty();
        for job in jobs {
            match self.expiries.enter(&job, now) {
                Ok(at) => {
                    // The first job of a call starts its time, which may end before anything else
                    // is due.
                    self.note_due(at);
                    self.queue.push_back(job);
                }
                // Not an error of the submission: the other jobs of the call had their time.
                Err(failure) => self.fail(job, failure),
            }
        }
        Ok(was_empty)
    }

    /// Handles one event, at the time `now`. Times must not go back.
    pub(crate) fn on(&mut self, event: Event<'_>, now: Instant) {
        match event {
            Event::Started { place, tag, fd_quota } => self.on_started(place, tag, fd_quota, now),
            Event::StartFailed { place, reason } => {
                self.workers.failed(place, now);
                self.break_if_hopeless(&reason, now);
            }
            Event::Heard { place, message, fds } => {
                if let Some(worker) = self.workers.worker_mut(place) {
                    worker.ledger.hear(message, fds);
                }
                // What follows is decided when all is heard: the closing event of the batch does
                // that.
                return;
            }
            Event::Listened { place, words, link } => self.on_listened(place, words, link, now),
            Event::Full { place } => {
                if let Some(worker) = self.workers.worker_mut(place) {
                    // Until the next `Listened`, which says how the link stands then.
                    worker.is_full = true;
                }
            }
            Event::Recalled { place, words, why } => self.on_recalled(place, words, why, now),
            Event::Weighed { place, bytes } => self.on_weighed(place, bytes, now),
            Event::Unkillable { place } => self.on_unkillable(place, now),
            Event::Ended { place, words, unpublished, why } => {
                self.on_ended(place, words, unpublished, why, now);
            }
            Event::Closed => {
                // A pool that is terminated or broken stays so.
                if self.phase == Phase::Running {
                    self.phase = Phase::Closing;
                }
            }
            Event::Terminated => self.on_terminated(now),
            Event::Cancelled { call, kills } => self.on_cancelled(call, kills),
            Event::PendingCancelled => self.on_pending_cancelled(),
            Event::Tick => self.on_tick(now),
            Event::Hopeless { why } => self.on_hopeless(why, now),
            Event::Abandoned => {
                self.phase = Phase::Broken("the pool's own thread has failed".to_owned());
            }
        }
        // After any event: each may have been the one that finished the last task.
        if self.phase == Phase::Closing && self.queue.is_empty() {
            self.dismiss_all_if_done(now);
        }
    }

    /// Returns the next action; `None` when there is nothing to do until something happens or is
    /// due.
    pub(crate) fn next_action(&mut self, now: Instant) -> Option<Action> {
        // Jobs last: an action may change which workers have room, or fail what waits.
        self.actions.pop_front().or_else(|| self.assign(now))
    }

    /// Takes the sinks that are to be woken, with nothing locked.
    pub(crate) fn take_touched(&mut self) -> Vec<Arc<dyn Sink>> {
        mem::take(&mut self.touched)
    }

    /// Puts sinks back that were not woken after all, as they are to run code of users.
    pub(crate) fn put_back_touched(&mut self, sinks: Vec<Arc<dyn Sink>>) {
        self.touched.extend(sinks);
    }

    /// Returns whether sinks are to be woken.
    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Returns the job that was entered last in the ledger of a place.
    pub(crate) fn last_given(&self, place: usize) -> Option<&Job> {
        self.workers.worker(place)?.ledger.last()
    }

    /// Returns whether the worker in a place has sent what makes no sense. True for a place without
    /// one: nothing that comes from there is understood.
    pub(crate) fn is_garbled(&self, place: usize) -> bool {
        self.workers.worker(place).is_none_or(|worker| worker.ledger.is_garbled)
    }

    /// Returns whether the worker in a place has tasks.
    pub(crate) fn has_tasks(&self, place: usize) -> bool {
        self.workers.worker(place).is_some_and(|worker| !worker.is_idle())
    }

    /// Returns the places of the pool, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.workers.places()
    }

    /// Returns the number of tasks that no worker has.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.tasks()
    }

    /// Returns the number of workers that have tasks.
    pub(crate) fn running(&self) -> usize {
        self.workers.count(|worker| !worker.is_idle())
    }

    /// Records when a worker is to be looked at or killed, so that a user thread that gave it a job
    /// or heard it can tell whether the supervisor would be late.
    pub(super) fn note_look(&mut self, place: usize) {
        let Some(worker) = self.workers.worker(place) else { return };
        let of_worker = [worker.look_at, worker.state.due_at(), self.stop_check(place)];
        self.note_due(of_worker.into_iter().flatten().min());
    }

    /// Records when to check whether workers were stopped that jobs have begun to wait for: those
    /// that no worker has room for make nothing else due.
    pub(crate) fn note_held_up(&mut self) {
        if !self.queue.is_empty() {
            self.note_due(self.stop_checks());
        }
    }

    /// Returns the earliest time at which to check whether a worker was stopped.
    fn stop_checks(&self) -> Option<Instant> {
        (0..self.workers.len()).filter_map(|place| self.stop_check(place)).min()
    }

    /// Records a time at which something is due.
    pub(super) fn note_due(&mut self, at: Option<Instant>) {
        self.soonest = self.soonest.into_iter().chain(at).min();
    }

    /// Returns the earliest time of anything that became due since [`next_look`] was called.
    ///
    /// [`next_look`]: Scheduler::next_look
    pub(crate) fn soonest(&self) -> Option<Instant> {
        self.soonest
    }

    /// Returns when [`Event::Tick`] is to come at the latest; `None` if only another event can
    /// change anything.
    pub(crate) fn next_look(&mut self, now: Instant) -> Option<Instant> {
        // All that was recorded is part of the answer.
        self.soonest = None;
        let of_workers =
            self.workers.workers().flat_map(|worker| [worker.state.due_at(), worker.look_at]);
        let of_workers = of_workers.flatten().min();
        // Walks all workers: a pool has few, and this is called once for each turn.
        let starts = self.workers.next_start(now, |place| self.phase.wants(&self.queue, place));
        [of_workers, self.sharing_at(now), self.stop_checks(), starts, self.expiries.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Enters a worker that was started. One for which the pool has no use any more is ended at
    /// once.
    fn on_started(&mut self, place: usize, tag: Arc<Tag>, fd_quota: usize, now: Instant) {
        let worker = WorkerRecord::new(tag, fd_quota, self.policy.distance, now);
        self.workers.put(place, worker);
        if matches!(self.phase, Phase::Terminated | Phase::Broken(_)) {
            // The pool was ended while the worker was being started.
            self.terminate(place, KillReason::Terminated, Duration::ZERO, now);
        }
    }

    /// Acts on what a worker has said, once all that it had published was heard.
    fn on_listened(&mut self, place: usize, words: Words, link: Link, now: Instant) {
        let grace = self.policy.grace;
        let Some(worker) = self.workers.worker_mut(place) else { return };
        worker.listened(words, now);
        worker.is_full = matches!(link, Link::Full { .. });
        match link {
            // Garbage: the answers that follow cannot be matched with tasks. It is ended without
            // grace, and its tasks are settled by its claim word.
            Link::Ended if worker.ledger.is_garbled => {
                let reason = KillReason::Rogue("it said what is no answer");
                self.terminate(place, reason, Duration::ZERO, now);
            }
            // The worker's end is gone, so it ends by itself; if it has not within the grace, it is
            // killed.
            Link::Ended => worker.state.end(Cause::LinkLost, now.checked_add(grace)),
            // Without SIGTERM: SIGKILL is due at once, at the next tick.
            Link::Broken(reason) => {
                worker.end(KillReason::Rogue(reason), Duration::ZERO, now);
            }
            Link::Full { retry_at } => worker.look_by(retry_at),
            Link::Open => {}
        }
        // Before deadlines are judged: a task that is done is not overdue.
        self.collect(place, now);
        let Some(worker) = self.workers.worker_mut(place) else { return };
        // What it has not begun is taken back first, so that only the task that is overdue fails.
        // The word that is read then has the last say.
        if !worker.is_recalling && worker.time_left(now).is_some_and(|left| left.is_zero()) {
            let is_frozen = !worker.is_running() && worker.ledger.jobs() > 0;
            self.recall(place, Recall::Overdue { is_frozen });
        }
        self.note_look(place);
    }

    /// Moves what came of a worker's tasks from its ledger to the pool, and decides what becomes of
    /// the worker.
    pub(super) fn collect(&mut self, place: usize, now: Instant) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        self.touched.append(&mut worker.ledger.delivered);
        for job in worker.ledger.again.drain(..) {
            self.queue.push_back(job);
        }
        // Its first answer to anything: the starts that failed before it are forgiven.
        if worker.is_ready() && matches!(worker.state, WorkerState::Starting) {
            worker.state = WorkerState::Serving;
            // What it weighs when it is ready is what its growth is measured from.
            if self.policy.max_growth.is_some() {
                self.actions.push_back(Action::Weigh { place });
            }
            self.workers.started_well();
        }
        if self.workers.worker(place).is_some_and(WorkerRecord::is_waiting) {
            // By whoever has heard that: nobody else may come to it for long.
            self.share(now);
        }
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if worker.ledger.finished == 0 {
            return;
        }
        if worker.is_idle() {
            self.warm = Some(place);
        }
        // `assign` gives a worker no more than `max_tasks`, so it has none left.
        if self.policy.max_tasks.is_some_and(|most| worker.ledger.finished >= most) {
            // Workers do get something done here: ends so far were no sign of the contrary.
            self.workers.worked();
            return self.retire(place, now);
        }
        if self.policy.max_growth.is_some() && worker.is_to_be_weighed(now) {
            self.actions.push_back(Action::Weigh { place });
        }
        self.workers.worked();
        self.end_idle(place, now);
    }

    /// Retires a worker that has reached a limit: it gets no more tasks, and what it has not begun
    /// goes to others.
    fn retire(&mut self, place: usize, now: Instant) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if worker.state.is_open() {
            worker.state = WorkerState::Retiring;
            // What waits in its ring is for others now; what it runs, it may finish.
            if !worker.is_idle() {
                self.recall(place, Recall::Spent);
            }
        }
        self.end_idle(place, now);
    }

    /// Takes the next step with a worker that is on its way out and has finished its last task.
    fn end_idle(&mut self, place: usize, now: Instant) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if !worker.is_idle() {
            return;
        }
        match &worker.state {
            WorkerState::Retiring => self.dismiss(place, now),
            // It has done its task in its grace, so there is nothing left to wait for.
            WorkerState::Ending { cause: Cause::Killed(_), due: Due::KillAt(_) } => {
                self.kill(place);
            }
            _ => {}
        }
    }

    /// Tells a worker to leave. If it has not within the pool's grace, it is killed.
    fn dismiss(&mut self, place: usize, now: Instant) {
        let grace = self.policy.grace;
        let Some(worker) = self.workers.worker_mut(place) else { return };
        worker.state.end(Cause::Dismissed, now.checked_add(grace));
        self.actions.push_back(Action::Dismiss { place });
    }

    /// Has what a worker has not begun taken back. Until [`Event::Recalled`], no other recall is
    /// begun for want of work or for a deadline.
    pub(super) fn recall(&mut self, place: usize, why: Recall) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        worker.is_recalling = true;
        self.actions.push_back(Action::Recall { place, why });
    }

    /// Has a worker end: by SIGTERM now, by SIGKILL after `grace`.
    pub(super) fn terminate(
        &mut self,
        place: usize,
        reason: KillReason,
        grace: Duration,
        now: Instant,
    ) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        worker.end(reason, grace, now);
        self.actions.push_back(Action::Terminate { place });
    }

    /// Kills a worker that is ending.
    pub(super) fn kill(&mut self, place: usize) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if let WorkerState::Ending { due, .. } = &mut worker.state {
            *due = Due::KillSent;
        }
        self.actions.push_back(Action::Kill { place });
    }

    /// Dismisses all workers of a closed pool once it has done all that it was given. All of them
    /// at once: while one works, its tasks may come back and need another.
    fn dismiss_all_if_done(&mut self, now: Instant) {
        if !self.workers.all(WorkerRecord::is_idle) {
            return;
        }
        for place in 0..self.workers.len() {
            let is_here = |worker: &WorkerRecord| {
                worker.state.is_open() || matches!(worker.state, WorkerState::Retiring)
            };
            if self.workers.worker(place).is_some_and(is_here) {
                self.dismiss(place, now);
            }
        }
    }

    /// Decides what becomes of the jobs that were taken back from a worker.
    fn on_recalled(&mut self, place: usize, words: Words, why: Recall, now: Instant) {
        // Counted before the worker's own state changes: it is not among those that wait for its
        // tasks.
        let waiting = match why {
            Recall::Share => self.workers.count(WorkerRecord::is_waiting),
            _ => 0,
        };
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let back = worker.take_back(words, now);
        match why {
            Recall::Share => self.share_out(back, waiting),
            // A terminated pool fails what is queued, below.
            Recall::Spent | Recall::Terminated => self.queue.requeue(back),
            Recall::Overdue { is_frozen } => self.end_overdue(place, is_frozen, back, now),
            // The jobs of the call are dropped when their turn comes, the others run elsewhere.
            Recall::Cancelled { call, kills } => {
                self.queue.requeue(back);
                if kills {
                    self.kill_if_running(place, call, KillReason::Cancelled);
                }
            }
            Recall::Expired { call } => {
                self.queue.requeue(back);
                self.end_expired(place, call);
            }
            Recall::Pending => self.fail_pending(back),
        }
        // The pool may have ended for another reason since the recall was asked for.
        self.fail_all_if_over();
        self.collect(place, now);
        self.note_look(place);
    }

    /// Compares a worker's private memory with what it had when it was ready.
    fn on_weighed(&mut self, place: usize, bytes: Option<u64>, now: Instant) {
        let max_growth = self.policy.max_growth.unwrap_or(u64::MAX);
        let Some(worker) = self.workers.worker_mut(place) else { return };
        // The first measurement, when it became ready, is what later ones are compared with.
        let Some(before) = worker.resident else {
            return worker.resident = Some(bytes.unwrap_or(0));
        };
        // Also if the system did not tell: asked at each message, it would cost much.
        worker.weighed = (now, worker.ledger.finished);
        if bytes.is_some_and(|bytes| bytes.saturating_sub(before) > max_growth) {
            self.retire(place, now);
        }
    }

    /// Returns whether the pool is over: no worker is left, and none will be started.
    pub(crate) fn is_over(&self) -> bool {
        let ends = match self.phase {
            Phase::Running => false,
            // Jobs may have come back from a worker that has died since.
            Phase::Closing => self.queue.is_empty(),
            Phase::Terminated | Phase::Broken(_) => true,
        };
        // Elsewhere, a place that waits for its worker waits for nothing that exists.
        ends && self.workers.is_gone(self.policy.distance.is_remote)
    }
}
