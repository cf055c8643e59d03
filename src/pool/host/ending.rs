//! How a pool's work ends before it is done: tasks that fail or are cancelled, workers that go.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::job::{self, CallId, Content, Delivery, Job};
use super::scheduler::{Phase, Scheduler};
use super::worker::KillReason;
use crate::error::Failure;

impl Scheduler {
    /// No more tasks are taken.
    pub(crate) fn close(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Closing;
        }
    }

    /// No task is done any more: those that are not finished fail, workers are ended.
    pub(crate) fn terminate(&mut self) {
        if !matches!(self.phase, Phase::Terminated) {
            if !matches!(self.phase, Phase::Broken(_)) {
                self.phase = Phase::Terminated;
            }
            self.cancel_all();
            self.end_workers(self.settings.grace);
        }
    }

    pub(super) fn end_workers(&mut self, grace: Duration) {
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.link.is_some() {
                let back = worker.take_back();
                self.requeue(back);
            }
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            worker.terminate(KillReason::Terminated, grace);
        }
        match self.phase.clone() {
            Phase::Broken(reason) => self.fail_all(&Failure::NotRun(reason)),
            _ => self.cancel_all(),
        }
    }

    pub(super) fn cancel_all(&mut self) {
        self.fail_all(&Failure::Cancelled("its pool was terminated".to_owned()));
    }

    pub(super) fn fail_all(&mut self, failure: &Failure) {
        for job in mem::take(&mut self.queue) {
            self.fail(job, job::again(failure));
        }
    }

    pub(super) fn fail(&mut self, job: Job, failure: Failure) {
        job.sink.deliver(Delivery {
            first: job.first,
            count: job.count,
            content: Content::Failed(failure),
            worker: None,
            attempts: job.failed,
        });
        if !self.touched.last().is_some_and(|last| Arc::ptr_eq(last, &job.sink)) {
            self.touched.push(job.sink);
        }
    }

    /// For a supervisor that cannot go on: no task is left without an outcome, and no worker.
    pub(crate) fn abandon(&mut self) {
        const WHY: &str = "the pool's own thread has failed";
        self.phase = Phase::Broken(WHY.to_owned());
        for place in 0..self.workers.len() {
            let Some(mut worker) = self.workers.remove(place) else { continue };
            worker.kill();
            let (back, failed) = worker.settle(|| Failure::Lost(WHY.to_owned()));
            self.requeue(back);
            if let Some(failed) = failed {
                self.fail(failed.job, failed.failure);
            }
        }
        self.fail_all(&Failure::NotRun(WHY.to_owned()));
    }

    /// Stops all work for a sink: what is not begun is taken back, the workers that are
    /// at its tasks are killed.
    pub(crate) fn cancel(&mut self, call: CallId, with_running: bool) {
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.link.is_none() || worker.kill_reason.is_some() || !worker.ledger.holds(call).1
            {
                continue;
            }
            self.attend(place);
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.link.is_none() {
                continue;
            }
            let back = worker.take_back();
            self.requeue(back);
            self.attend(place);
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if with_running && worker.is_running() && worker.ledger.holds(call).0 {
                worker.kill_reason = Some(KillReason::Cancelled);
                worker.kill();
            }
        }
    }

    /// Returns whether all is over: no worker is left, and none will be.
    pub(crate) fn is_over(&self) -> bool {
        let ends = match self.phase {
            Phase::Running => false,
            Phase::Closing => self.queue.is_empty(),
            Phase::Terminated | Phase::Broken(_) => true,
        };
        ends && self.workers.is_gone()
    }
}
