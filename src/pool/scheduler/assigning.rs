//! Decides which worker gets which job, and takes jobs back from busy workers for idle ones.
//!
//! Jobs are given out ahead of need: a worker has the next ones in its ring, so that it goes on
//! without a round trip through the pool. Whatever that costs in fairness is mended by
//! [`Scheduler::share`]: when the queue is empty and a worker waits, what stands behind a long task
//! is taken back and given to those that wait.

use std::time::{Duration, Instant};

use super::event::{Action, Recall};
use super::job::{self, Job};
use super::scheduler::Scheduler;
use super::worker::WorkerRecord;

/// Work by which a worker may be ahead of the others: to wake one of them takes about as long.
const SOON: Duration = Duration::from_micros(60);

/// Workers that are looked at, at the most, once one with room was found: in a pool of hundreds, a
/// good worker found soon beats the best one.
const LOOKED_AT: usize = 16;

impl Scheduler {
    /// Gives the next job to a worker, if a job waits and a worker has room for it.
    pub(super) fn assign(&mut self, now: Instant) -> Option<Action> {
        let workers = &self.workers;
        let max_tasks = self.policy.max_tasks.unwrap_or(u64::MAX);
        let left = |place: usize| {
            let worker = workers.worker(place).filter(|worker| !worker.is_full)?;
            worker.state.is_open().then(|| max_tasks.saturating_sub(worker.tasks_taken()))
        };
        // Pinned jobs first, and beyond the usual room: nobody else can do them.
        while let Some(place) = self.queue.pinned_place(|place| left(place) > Some(0)) {
            let mut job = self.queue.pop_pinned(place)?;
            if job.sink.is_cancelled() {
                continue;
            }
            // The rest of it is for the worker that comes next.
            let left = u32::try_from(left(place)?).unwrap_or(u32::MAX);
            if let Some(rest) = job.split_off(left) {
                self.queue.push_front(rest);
            }
            return self.give(place, job, now);
        }
        // Nobody wants their outcomes, so they are dropped without one.
        while self.queue.front()?.sink.is_cancelled() {
            self.queue.pop();
        }
        // Before the job is taken out of the queue: without a worker it stays there.
        let place = self.choose()?;
        let mut job = self.queue.pop()?;
        // A worker gets no more tasks than it may do; the rest of the chunk is for the next one.
        if let Some(max_tasks) = self.policy.max_tasks {
            let left = max_tasks.saturating_sub(self.workers.worker(place)?.tasks_taken());
            if let Some(rest) = job.split_off(u32::try_from(left).unwrap_or(u32::MAX)) {
                self.queue.push_front(rest);
            }
        }
        let share = self.share_of(&job, place);
        if let Some(rest) = job.split_off(share) {
            self.queue.push_front(rest);
        }
        self.give(place, job, now)
    }

    /// Returns how many tasks of a job a worker gets: as many chunks as it has room for, but no
    /// more than its part if others wait.
    fn share_of(&self, job: &Job, place: usize) -> u32 {
        let chunks = job.chunks();
        if chunks == 1 {
            return job.count;
        }
        let room = self.workers.worker(place).map_or(1, WorkerRecord::room);
        let waiting = self.workers.count(WorkerRecord::is_waiting).max(1);
        let share = room.min(chunks.div_ceil(waiting)).max(1);
        u32::try_from(share).unwrap_or(u32::MAX).saturating_mul(job.chunk())
    }

    /// Enters a job in a worker's ledger, and has the host send it. In this order: a worker that
    /// dies before the job is sent is settled from its ledger.
    fn give(&mut self, place: usize, job: Job, now: Instant) -> Option<Action> {
        self.workers.worker_mut(place)?.give(job, now);
        self.last = Some(place);
        self.note_look(place);
        Some(Action::Give { place })
    }

    /// Returns whether a worker may have one more job.
    fn takes_more(&self, worker: &WorkerRecord) -> bool {
        let is_spent = self.policy.max_tasks.is_some_and(|most| worker.tasks_taken() >= most);
        worker.state.is_open() && !is_spent && worker.room() > 0
    }

    /// Returns the worker that was given the last job, if it comes to one more like that about as
    /// soon as the worker in `other` does.
    fn same_again(&self, other: usize) -> Option<usize> {
        let place = self.last?;
        let (worker, job) = (self.workers.worker(place)?, self.queue.front()?);
        let entry = |job: &Job| job.sink.call().entry;
        // Only tasks of the same function are taken to be as short. If they are not, `share` sees.
        let is_alike = worker.ledger.last().is_some_and(|last| entry(last) == entry(job));
        let of_other = self.workers.worker(other)?.work_ahead().unwrap_or_default();
        let is_soon = worker.work_ahead()? < of_other.saturating_add(SOON);
        (is_alike && is_soon && self.takes_more(worker) && !worker.is_stalled()).then_some(place)
    }

    /// Returns the worker for the next job: the one that has just finished its own; else one
    /// without jobs, or the one with the fewest among those with room, unless the one that was
    /// given the last job does as well. One that does not react gets the job only if no other
    /// worker has room.
    fn choose(&mut self) -> Option<usize> {
        // Tasks that follow each other go to one worker, which need not be woken.
        if let Some(place) = self.warm.take()
            && self.workers.worker(place).is_some_and(|worker| {
                worker.is_idle() && !worker.is_stalled() && self.takes_more(worker)
            })
        {
            return Some(place);
        }
        let count = self.workers.len();
        let mut best: Option<(usize, (bool, usize))> = None;
        for step in 0..count {
            let place = self.cursor.wrapping_add(step).checked_rem(count).unwrap_or(0);
            let Some(worker) = self.workers.worker(place) else { continue };
            if !self.takes_more(worker) {
                continue;
            }
            let load = (worker.is_stalled(), worker.ledger.chunks());
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((place, load));
            }
            // Nobody has fewer than none.
            if load == (false, 0) || step > LOOKED_AT {
                break;
            }
        }
        let (place, (_, jobs)) = best?;
        // Short tasks in runs: one worker after the other is awake for them, not all at once.
        if let Some(last) = self.same_again(place) {
            return Some(last);
        }
        // The next search begins with the next worker, unless this one gets several in a row.
        // Idle workers are found in turn; a worker that is filled up is filled before the next one,
        // so that the search is short.
        let next = if jobs == 0 { place.wrapping_add(1) } else { place };
        self.cursor = next.checked_rem(count).unwrap_or(0);
        Some(place)
    }

    /// Recalls a worker that has tasks behind a long one, or has not begun its own, if other
    /// workers wait. One worker at a time: its tasks may be enough for all of them. If it is too
    /// early for that, the time is recorded.
    pub(super) fn share(&mut self, now: Instant) {
        let at = self.sharing_at(now);
        if at.is_none_or(|at| at > now) {
            return self.note_due(at);
        }
        let is_late = |worker: &WorkerRecord| worker.shares_at(now).is_some_and(|at| at <= now);
        let late =
            (0..self.workers.len()).find(|place| self.workers.worker(*place).is_some_and(is_late));
        if let Some(place) = late {
            self.recall(place, Recall::Share);
        }
    }

    /// Returns when to look for tasks to share; `None` if no worker waits, or none has tasks to
    /// give.
    pub(super) fn sharing_at(&self, now: Instant) -> Option<Instant> {
        let is_any_waiting = || self.workers.workers().any(WorkerRecord::is_waiting);
        // As long as jobs wait, those that have nothing to do get these.
        if !self.queue.is_shared_empty() || !is_any_waiting() {
            return None;
        }
        self.workers.workers().filter_map(|worker| worker.shares_at(now)).min()
    }

    /// Queues what was taken back for `waiting` workers. A single chunk is cut into as many pieces
    /// and one for the worker that had it, so that all of them have some.
    pub(super) fn share_out(&mut self, back: Vec<Job>, waiting: usize) {
        let pieces = u32::try_from(waiting).unwrap_or(u32::MAX);
        let back = if back.len() == 1 { job::split(back, pieces) } else { back };
        self.queue.requeue(back);
    }
}
