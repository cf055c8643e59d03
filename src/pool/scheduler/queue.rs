//! The queue of jobs that wait for a worker.

use std::collections::VecDeque;
use std::mem;

use super::job::Job;

/// Jobs in the order in which they are to be given out: one line for any worker, and one for each
/// place (`broadcast`). A job that was taken back goes to the front, as it has waited longest.
pub(crate) struct Queue {
    /// Jobs for any worker.
    shared: VecDeque<Job>,
    /// Jobs for the worker in each place.
    pinned: Vec<VecDeque<Job>>,
    /// Number of jobs in `pinned`, so that its lines are looked through only if there are any.
    pinned_jobs: usize,
}

impl Queue {
    /// An empty queue for a pool with `places` places.
    pub(crate) fn new(places: usize) -> Queue {
        let pinned = std::iter::repeat_with(VecDeque::new).take(places).collect();
        Queue { shared: VecDeque::new(), pinned, pinned_jobs: 0 }
    }

    /// Returns whether no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.pinned_jobs == 0
    }

    /// Returns whether no job waits that any worker could do.
    pub(crate) fn is_shared_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// Returns whether a job waits that the worker in a place could do.
    pub(crate) fn has_for(&self, place: usize) -> bool {
        !self.shared.is_empty() || self.has_pinned(place)
    }

    /// Returns whether a job waits for the worker in a place alone.
    pub(crate) fn has_pinned(&self, place: usize) -> bool {
        self.pinned_jobs > 0 && self.pinned.get(place).is_some_and(|jobs| !jobs.is_empty())
    }

    /// Returns the first place with a job of its own for which `is_open` holds.
    pub(crate) fn pinned_place(&self, is_open: impl Fn(usize) -> bool) -> Option<usize> {
        // The usual case, in which no place has to be looked at.
        if self.pinned_jobs == 0 {
            return None;
        }
        (0..self.pinned.len()).find(|place| self.has_pinned(*place) && is_open(*place))
    }

    /// Returns the number of tasks that wait. Walks all jobs: for statistics only.
    pub(crate) fn tasks(&self) -> u64 {
        self.shared.iter().chain(self.pinned.iter().flatten()).map(|job| u64::from(job.count)).sum()
    }

    /// Queues a job behind the others of its line.
    pub(crate) fn push_back(&mut self, job: Job) {
        self.line(&job).push_back(job);
    }

    /// Queues a job in front of the others of its line.
    pub(crate) fn push_front(&mut self, job: Job) {
        self.line(&job).push_front(job);
    }

    /// The line in which a job waits. Counts the job, which the caller adds.
    fn line(&mut self, job: &Job) -> &mut VecDeque<Job> {
        match job.place.and_then(|place| self.pinned.get_mut(place)) {
            Some(line) => {
                self.pinned_jobs = self.pinned_jobs.saturating_add(1);
                line
            }
            None => &mut self.shared,
        }
    }

    /// Puts jobs that were taken back in front of all others, in their order.
    pub(crate) fn requeue(&mut self, back: Vec<Job>) {
        // Each goes to the front, so the last one first.
        for job in back.into_iter().rev() {
            self.push_front(job);
        }
    }

    /// The next job for any worker.
    pub(crate) fn front(&self) -> Option<&Job> {
        self.shared.front()
    }

    /// Takes the next job for any worker.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        self.shared.pop_front()
    }

    /// Takes the next job for the worker in a place.
    pub(crate) fn pop_pinned(&mut self, place: usize) -> Option<Job> {
        let job = self.pinned.get_mut(place)?.pop_front()?;
        self.pinned_jobs = self.pinned_jobs.saturating_sub(1);
        Some(job)
    }

    /// Takes all jobs.
    pub(crate) fn take_all(&mut self) -> Vec<Job> {
        self.take(|_| true)
    }

    /// Takes all jobs for which `is_wanted` holds, and leaves the others in their order.
    pub(crate) fn take(&mut self, is_wanted: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for line in std::iter::once(&mut self.shared).chain(&mut self.pinned) {
            let (out, rest): (VecDeque<_>, _) = mem::take(line).into_iter().partition(&is_wanted);
            *line = rest;
            taken.extend(out);
        }
        // Counted anew, as the closure decided which of them went.
        self.pinned_jobs = self.pinned.iter().map(VecDeque::len).sum();
        taken
    }
}
