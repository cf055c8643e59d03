//! Everything that is due at a certain time: deadlines, the time of whole calls, workers that do
//! not leave, places that are empty.
//!
//! All of it is decided on [`Event::Tick`](super::event::Event::Tick), by the time that comes with
//! it. A task that is past its deadline is not ended by that alone:
//!
//! 1. The tick finds that the worker is to be looked at ([`WorkerRecord::look_at`]), and has it
//!    heard: the task may be done.
//! 2. If it is still overdue after that, the worker is recalled, so that it cannot begin another
//!    task.
//! 3. Only the words that are read then decide: what it has begun and not answered is what takes
//!    too long, and the worker is terminated for it.
//!
//! So a task that finishes at its deadline either has its value or its failure, and the task behind
//! it is never the one that is killed.
//!
//! [`WorkerRecord::look_at`]: super::worker::WorkerRecord::look_at

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

/// Workers that may be given a task without beginning it, before it fails.
const ATTEMPTS: u32 = 5;

/// Time that a worker has to leave by itself if this program may not signal it.
const LEAVE: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Does what is due by `now`.
    pub(super) fn on_tick(&mut self, now: Instant) {
        while let Some(call) = self.expiries.pop_due(now) {
            self.on_expired(call);
        }
        for place in 0..self.workers.len() {
            // Before the worker is borrowed, as this looks at the queue, too.
            let stop_check = self.stop_check(place);
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            match worker.state {
                // Its grace is over.
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
            // Nothing tells when somebody stops a process that another one reaps; so it is looked
            // at.
            } else if stop_check.is_some_and(|at| at <= now) {
                worker.checked_for_stop = now;
                self.actions.push_back(Action::Continue { place });
            }
        }
        // After all workers: those that became due may wait for tasks themselves.
        self.share(now);
        let (queue, phase) = (&self.queue, &self.phase);
        let vacancies = self.workers.take_vacancies(now, |place| phase.wants(queue, place));
        self.actions.extend(vacancies.into_iter().map(|place| Action::Start { place }));
    }

    /// Returns when to check whether the worker in a place has been stopped (SIGSTOP) in the middle
    /// of a task. Only while others wait for it and the task has no deadline, which would end it
    /// anyway.
    pub(super) fn stop_check(&self, place: usize) -> Option<Instant> {
        let worker = self.workers.worker(place)?;
        let is_endless = worker.ledger.head()?.sink.call().options.deadline.is_none();
        let holds_up = !self.queue.is_empty() || worker.ledger.has_several();
        let is_killed = worker.state.kill_reason().is_some();
        if !(is_endless && holds_up && !is_killed && worker.is_running()) {
            return None;
        }
        // From whichever was later, so that one long task is checked at intervals.
        worker.ledger.since.max(worker.checked_for_stop).checked_add(STUCK)
    }

    /// Ends a worker whose task is overdue, once what it had not begun was taken back: whatever it
    /// has now is what takes too long. `is_frozen` if it was recalled as it had begun nothing in
    /// time.
    pub(super) fn end_overdue(
        &mut self,
        place: usize,
        is_frozen: bool,
        back: Vec<Job>,
        now: Instant,
    ) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let Some(job) = worker.ledger.head() else {
            // It did not begin its task, and now cannot: somebody has stopped it, or it is at
            // something else.
            if is_frozen && worker.state.has_link() && !worker.is_running() {
                let reason = KillReason::Rogue("it did not begin its task");
                self.terminate(place, reason, Duration::ZERO, now);
                return self.put_off(back);
            }
            // It has finished what it had just before it was recalled.
            return self.queue.requeue(back);
        };
        let options = Arc::clone(&job.sink.call().options);
        // Asked again, by the words of the recall: the task may be another than the one that was
        // overdue.
        if let Some(deadline) = options.deadline
            && worker.time_left(now).is_some_and(|left| left.is_zero())
        {
            let grace = options.grace.unwrap_or(self.policy.grace);
            self.terminate(place, KillReason::Deadline(deadline), grace, now);
        }
        self.queue.requeue(back);
    }

    /// Queues jobs that were taken back from a worker that did not begin the first of their tasks,
    /// and counts that against this task: if it is the task that stops its workers, it must not go
    /// round for ever.
    pub(super) fn put_off(&mut self, back: Vec<Job>) {
        let mut back = VecDeque::from(back);
        let Some(mut job) = back.pop_front() else { return };
        // Only the first could have been the cause.
        if let Some(rest) = job.split_off(1) {
            back.push_front(rest);
        }
        job.put_off = job.put_off.saturating_add(1);
        // Somebody outside may have stopped the workers, so it is given several chances.
        if job.put_off < ATTEMPTS {
            back.push_front(job);
        } else {
            let reason = format!("{ATTEMPTS} workers did not begin it, or hid that they had");
            self.fail(job, Failure::Lost(reason));
        }
        self.queue.requeue(back.into());
    }

    /// Ends a call whose time is up: what is queued fails now, what workers have is taken back.
    fn on_expired(&mut self, call: CallId) {
        self.fail_expired(call);
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.state.has_link() && worker.ledger.holds(call).1 {
                self.recall(place, Recall::Expired { call });
            }
        }
    }

    /// Fails what was taken back of a call whose time is up, and kills the worker if it runs one of
    /// its tasks.
    pub(super) fn end_expired(&mut self, place: usize, call: CallId) {
        self.fail_expired(call);
        if let Some(total) = self.expiries.total_of(call) {
            self.kill_if_running(place, call, KillReason::Deadline(total));
        }
    }

    /// Fails what is queued of a call whose time is up.
    fn fail_expired(&mut self, call: CallId) {
        let Some(total) = self.expiries.total_of(call) else { return };
        for job in self.queue.take(|job| job.sink.call().id == call) {
            self.fail(job, expired(total));
        }
    }

    /// Gives a worker that cannot be signalled the time to leave by itself. It was told to, and
    /// does so when its task is done or its own timer ends it.
    pub(super) fn on_unkillable(&mut self, place: usize, now: Instant) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if let WorkerState::Ending { due, .. } = &mut worker.state {
            *due = Due::GiveUpAt(now.checked_add(LEAVE));
        }
    }
}
