//! What is due at a certain time: deadlines, the time of whole calls, workers that do not leave.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{Action, Recall};
use super::expiry::expired;
use super::job::{CallId, Job};
use super::scheduler::Scheduler;
use super::state::{Due, KillReason, WorkerState};
use super::worker::STUCK;
use crate::error::Failure;

/// Workers that may be given a task without beginning it.
const ATTEMPTS: u32 = 5;

/// Time that a worker has to leave by itself if it may not be signalled.
const LEAVE: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Does what is due by `now`.
    pub(super) fn on_tick(&mut self, now: Instant) {
        while let Some(call) = self.expiries.pop_due(now) {
            self.on_expired(call);
        }
        for place in 0..self.workers.len() {
            let stop_check = self.stop_check(place);
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            match worker.state {
                WorkerState::Ending { due: Due::KillAt(Some(at)), .. } if at <= now => {
                    self.kill(place);
                    continue;
                }
                WorkerState::Ending { due: Due::GiveUpAt(Some(at)), .. } if at <= now => {
                    if let WorkerState::Ending { due, .. } = &mut worker.state {
                        *due = Due::GivenUp;
                    }
                    self.actions.push_back(Action::GiveUp { place });
                    continue;
                }
                _ => {}
            }
            if worker.look_at.is_some_and(|at| at <= now) {
                // Whether its task is overdue is decided by what it says now.
                worker.look_at = None;
                self.actions.push_back(Action::Listen { place });
            } else if stop_check.is_some_and(|at| at <= now) {
                worker.checked_for_stop = now;
                self.actions.push_back(Action::Continue { place });
            }
        }
        self.share(now);
        let (queue, phase) = (&self.queue, &self.phase);
        let vacancies = self.workers.take_vacancies(now, |place| phase.wants(queue, place));
        self.actions.extend(vacancies.into_iter().map(|place| Action::Start { place }));
    }

    /// Returns when to look whether the worker in a place is stopped in the middle of a task
    /// without a deadline, which nothing else would notice: only while other tasks wait.
    pub(super) fn stop_check(&self, place: usize) -> Option<Instant> {
        let worker = self.workers.worker(place)?;
        let is_endless = worker.ledger.head()?.sink.call().options.deadline.is_none();
        let holds_up = !self.queue.is_empty() || worker.ledger.has_several();
        let is_killed = worker.state.kill_reason().is_some();
        if !(is_endless && holds_up && !is_killed && worker.is_running()) {
            return None;
        }
        worker.ledger.since.max(worker.checked_for_stop).checked_add(STUCK)
    }

    /// Ends a worker whose task takes longer than it may, after what it had not begun was taken
    /// back: whatever it has now is what takes too long.
    pub(super) fn end_overdue(
        &mut self,
        place: usize,
        is_frozen: bool,
        back: Vec<Job>,
        now: Instant,
    ) {
        let grace = self.policy.grace;
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let Some(job) = worker.ledger.head() else {
            if is_frozen && worker.state.has_link() && !worker.is_running() {
                let reason = KillReason::Rogue("it did not begin its task");
                worker.end(reason, Duration::ZERO, now);
                self.actions.push_back(Action::Terminate { place });
                return self.put_off(back);
            }
            return self.queue.requeue(back);
        };
        let options = Arc::clone(&job.sink.call().options);
        if let Some(deadline) = options.deadline
            && worker.overdue(now).is_some_and(|left| left.is_zero())
        {
            worker.end(KillReason::Deadline(deadline), options.grace.unwrap_or(grace), now);
            self.actions.push_back(Action::Terminate { place });
        }
        self.queue.requeue(back);
    }

    /// Queues jobs that were taken back from a worker that did not begin the first of their tasks,
    /// and counts that. Somebody else may have stopped the worker, or the task itself did, so this
    /// does not go on for ever.
    pub(super) fn put_off(&mut self, back: Vec<Job>) {
        let mut back = VecDeque::from(back);
        let Some(mut job) = back.pop_front() else { return };
        if let Some(rest) = job.split_off(1) {
            back.push_front(rest);
        }
        job.put_off = job.put_off.saturating_add(1);
        if job.put_off < ATTEMPTS {
            back.push_front(job);
        } else {
            let reason = format!("{ATTEMPTS} workers did not begin it, or hid that they had");
            self.fail(job, Failure::Lost(reason));
        }
        self.queue.requeue(back.into());
    }

    /// The time of a call is up: what waits fails now, what workers have is taken back.
    fn on_expired(&mut self, call: CallId) {
        self.fail_expired(call);
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.state.has_link() && worker.ledger.holds(call).1 {
                worker.is_recalling = true;
                self.actions.push_back(Action::Recall { place, why: Recall::Expired { call } });
            }
        }
    }

    /// Fails what was taken back from a worker for a call whose time is up, and ends the worker if
    /// it runs one of its tasks.
    pub(super) fn end_expired(&mut self, place: usize, call: CallId) {
        self.fail_expired(call);
        if let Some(total) = self.expiries.total_of(call) {
            self.kill_if_running(place, call, KillReason::Deadline(total));
        }
    }

    fn fail_expired(&mut self, call: CallId) {
        let Some(total) = self.expiries.total_of(call) else { return };
        for job in self.queue.take(|job| job.sink.call().id == call) {
            self.fail(job, expired(total));
        }
    }

    /// This program may not signal a worker, as it has become another user since it started it.
    /// The worker was told to leave, and does so when its task is done or its own timer ends it.
    pub(super) fn on_unkillable(&mut self, place: usize, now: Instant) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if let WorkerState::Ending { due, .. } = &mut worker.state {
            *due = Due::GiveUpAt(now.checked_add(LEAVE));
        }
    }
}
