//! What is due at a certain time: deadlines, the time of whole calls, workers that do not leave.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::event::{Action, Recall};
use super::job::{CallId, Job, Sink};
use super::scheduler::Scheduler;
use super::state::{Due, KillReason, WorkerState};
use super::worker::STUCK;
use crate::error::Failure;
use crate::limits::LimitReached;

/// Workers that may be given a task without beginning it.
const ATTEMPTS: u32 = 5;

/// Time that a worker has to leave by itself if it may not be signalled.
const LEAVE: Duration = Duration::from_secs(1);

/// The calls whose tasks have, all together, so much time.
#[derive(Default)]
pub(crate) struct Expiries(Vec<Expiry>);

struct Expiry {
    call: CallId,
    /// Tells whether anybody is left who has tasks of the call or waits for them.
    sink: Weak<dyn Sink>,
    total: Duration,
    /// When the time is up; `None` for never, or if that was seen to.
    at: Option<Instant>,
    is_over: bool,
}

impl Expiries {
    /// Enters a job of a call. The time of the call begins with the first of its jobs. Returns
    /// when it ends, if this is the first.
    ///
    /// # Errors
    /// The time of the call is up.
    pub(crate) fn enter(&mut self, job: &Job, now: Instant) -> Result<Option<Instant>, Failure> {
        let call = job.sink.call();
        let Some(total) = call.options.total else { return Ok(None) };
        if let Some(known) = self.0.iter().find(|known| known.call == call.id) {
            return if known.is_over { Err(expired(total)) } else { Ok(None) };
        }
        self.0.retain(|known| known.sink.strong_count() > 0);
        let at = now.checked_add(total);
        let sink = Arc::downgrade(&job.sink);
        self.0.push(Expiry { call: call.id, sink, total, at, is_over: false });
        Ok(at)
    }

    /// Returns when the time of a call is up next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let pending = self.0.iter().filter(|known| known.sink.strong_count() > 0);
        pending.filter_map(|known| known.at).min()
    }

    /// Takes a call whose time is up.
    fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        let due = self.0.iter_mut().find(|known| known.at.is_some_and(|at| at <= now))?;
        due.at = None;
        due.is_over = true;
        Some(due.call)
    }

    /// Returns the failure of tasks of a call whose time is up.
    fn failure(&self, call: CallId) -> Option<Duration> {
        self.0.iter().find(|known| known.call == call).map(|known| known.total)
    }
}

/// Returns the failure of a task that was not done when the time of its call was up.
fn expired(total: Duration) -> Failure {
    Failure::Limit(LimitReached::Deadline(total))
}

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
    pub(super) fn end_overdue(&mut self, place: usize, is_frozen: bool, now: Instant) {
        let grace = self.policy.grace;
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let Some(job) = worker.ledger.head() else {
            if is_frozen && worker.state.has_link() && !worker.is_running() {
                let reason = KillReason::Rogue("it did not begin its task");
                worker.end(reason, Duration::ZERO, now);
                self.actions.push_back(Action::Terminate { place });
                self.put_off();
            }
            return;
        };
        let options = Arc::clone(&job.sink.call().options);
        let Some(deadline) = options.deadline else { return };
        if worker.overdue(now).is_some_and(|left| left.is_zero()) {
            worker.end(KillReason::Deadline(deadline), options.grace.unwrap_or(grace), now);
            self.actions.push_back(Action::Terminate { place });
        }
    }

    /// Counts that the next task was not begun by a worker that had it. Somebody else may have
    /// stopped the worker, or the task itself did, so this does not go on for ever.
    pub(super) fn put_off(&mut self) {
        let Some(mut job) = self.queue.pop() else { return };
        if let Some(rest) = job.split_off(1) {
            self.queue.push_front(rest);
        }
        job.put_off = job.put_off.saturating_add(1);
        if job.put_off < ATTEMPTS {
            self.queue.push_front(job);
        } else {
            let reason = format!("{ATTEMPTS} workers did not begin it, or hid that they had");
            self.fail(job, Failure::Lost(reason));
        }
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
        if let Some(total) = self.expiries.failure(call) {
            self.kill_if_running(place, call, KillReason::Deadline(total));
        }
    }

    fn fail_expired(&mut self, call: CallId) {
        let Some(total) = self.expiries.failure(call) else { return };
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
