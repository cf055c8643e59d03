//! Which worker gets which job.

use std::time::{Duration, Instant};

use super::event::{Action, Recall};
use super::job::{self, Job};
use super::scheduler::Scheduler;
use super::worker::WorkerRecord;

/// Time that a task has to be running before those behind it are given to a worker that has
/// nothing to do.
const LATE: Duration = Duration::from_micros(500);

/// Workers that are looked at, at the most, once one with room was found.
const LOOKED_AT: usize = 16;

impl Scheduler {
    /// Gives the next job to a worker, if a job waits and a worker has room.
    pub(super) fn assign(&mut self, now: Instant) -> Option<Action> {
        let workers = &self.workers;
        let is_open = |place: usize| {
            workers.worker(place).is_some_and(|worker| worker.state.is_open() && !worker.is_full)
        };
        while let Some(place) = self.queue.pinned_place(is_open) {
            let job = self.queue.pop_pinned(place)?;
            if !job.sink.is_cancelled() {
                return self.give(place, job, now);
            }
        }
        while self.queue.front()?.sink.is_cancelled() {
            self.queue.pop();
        }
        let place = self.choose()?;
        let mut job = self.queue.pop()?;
        if let Some(max_tasks) = self.policy.max_tasks {
            let left = max_tasks.saturating_sub(self.workers.worker(place)?.tasks_taken());
            if let Some(rest) = job.split_off(u32::try_from(left).unwrap_or(u32::MAX)) {
                self.queue.push_front(rest);
            }
        }
        self.give(place, job, now)
    }

    fn give(&mut self, place: usize, job: Job, now: Instant) -> Option<Action> {
        self.workers.worker_mut(place)?.give(job, now);
        self.note_look(place);
        Some(Action::Give { place })
    }

    /// Returns whether a worker may have one more job.
    fn takes_more(&self, worker: &WorkerRecord) -> bool {
        let is_spent = self.policy.max_tasks.is_some_and(|most| worker.tasks_taken() >= most);
        worker.state.is_open() && !is_spent && worker.room() > 0
    }

    /// Returns the worker that is to have the next job: one with nothing to do, or, of those with
    /// room, the one with the fewest jobs.
    fn choose(&mut self) -> Option<usize> {
        let count = self.workers.len();
        let mut best: Option<(usize, usize)> = None;
        for step in 0..count {
            let place = self.cursor.wrapping_add(step).checked_rem(count).unwrap_or(0);
            let Some(worker) = self.workers.worker(place) else { continue };
            if !self.takes_more(worker) {
                continue;
            }
            let jobs = worker.ledger.jobs();
            if best.is_none_or(|(_, fewest)| jobs < fewest) {
                best = Some((place, jobs));
            }
            if jobs == 0 || step > LOOKED_AT {
                break;
            }
        }
        let (place, jobs) = best?;
        // The next search begins with the next worker, unless this one gets several in a row.
        let next = if jobs == 0 { place.wrapping_add(1) } else { place };
        self.cursor = next.checked_rem(count).unwrap_or(0);
        Some(place)
    }

    /// Takes back what waits behind a task that takes long, for workers that have nothing to do.
    pub(super) fn share(&mut self, now: Instant) {
        if self.sharing_at(now).is_none_or(|at| at > now) {
            return;
        }
        let is_late = |worker: &WorkerRecord| {
            let waits = now.saturating_duration_since(worker.ledger.since);
            worker.could_share() && waits >= LATE
        };
        let late =
            (0..self.workers.len()).find(|place| self.workers.worker(*place).is_some_and(is_late));
        if let Some(place) = late
            && let Some(worker) = self.workers.worker_mut(place)
        {
            worker.is_recalling = true;
            self.actions.push_back(Action::Recall { place, why: Recall::Share });
        }
    }

    /// Returns when tasks are to be taken from a busy worker for one that waits, if there are both.
    pub(super) fn sharing_at(&self, now: Instant) -> Option<Instant> {
        let is_any_waiting = || self.workers.workers().any(WorkerRecord::is_waiting);
        if !self.queue.is_shared_empty() || !is_any_waiting() {
            return None;
        }
        let sharing = self.workers.workers().filter(|worker| worker.could_share());
        sharing.map(|worker| worker.ledger.since.checked_add(LATE).unwrap_or(now).max(now)).min()
    }

    /// Queues what was taken back for `waiting` workers: a single chunk in as many pieces, and one
    /// for the worker that had it.
    pub(super) fn share_out(&mut self, back: Vec<Job>, waiting: usize) {
        let pieces = u32::try_from(waiting).unwrap_or(u32::MAX);
        let back = if back.len() == 1 { job::split(back, pieces) } else { back };
        self.queue.requeue(back);
    }
}
