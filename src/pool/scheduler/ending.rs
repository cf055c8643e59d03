//! Work that ends before it is done: workers that die, calls that are cancelled, pools that are
//! terminated or cannot go on.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Recall;
use super::job::{self, CallId, Content, Delivery, Job};
use super::ledger::{self, Failed};
use super::scheduler::{Phase, Scheduler};
use super::state::{Cause, Due, KillReason, UNKNOWN, Words, WorkerState};
use super::worker::WorkerRecord;
use crate::error::Failure;
use crate::limits::LimitReached;

impl Scheduler {
    /// Settles a worker that is gone.
    ///
    /// The order of operations:
    ///
    /// 1. **Salvage**: hear the answers that it had written and not published. Those tasks are
    ///    done, and must be known as such before its claim word is compared with its answers.
    /// 2. **Settle** the ledger: of what it had begun, the first task that has no answer was
    ///    running; all behind that was not begun and goes back to the queue. Tasks of a stride that
    ///    were claimed but not reached go back, too.
    /// 3. **Judge** the running task: the reason for which the pool ended the worker, or else how
    ///    it died. It fails with that, or is retried.
    /// 4. **Record** the end, which may be one too many of its kind; then the pool gives up.
    pub(super) fn on_ended(
        &mut self,
        place: usize,
        words: Words,
        unpublished: Option<(u32, &[u8])>,
        why: Failure,
        now: Instant,
    ) {
        let Some(mut worker) = self.workers.remove(place) else { return };
        worker.ended(words);
        if let Some((count, answers)) = unpublished {
            worker.ledger.hear_block(count, answers);
        }
        // An initializer that failed has told why, which says more than the exit code.
        let is_lost = ledger::is_lost(&why);
        let unready = worker.ledger.ready.clone().and_then(Result::err);
        let text = unready.unwrap_or_else(|| why.to_string());
        let is_unasked = matches!(worker.state.kill_reason(), None | Some(KillReason::Rogue(_)));
        let was_dismissed =
            matches!(worker.state, WorkerState::Ending { cause: Cause::Dismissed, .. });
        let state = mem::replace(&mut worker.state, WorkerState::Retiring);
        // The failure is only made if a task was running.
        let (back, failed) = worker.ledger.settle(worker.begun(), || failure_of(state, why));
        self.touched.append(&mut worker.ledger.delivered);
        for job in worker.ledger.again.drain(..) {
            self.queue.push_back(job);
        }
        let has_failed = failed.is_some();
        // It was ready and had tasks, and says that it began none of them: either somebody has
        // ended it from outside, or its word lies. Another worker may do better, but not for ever.
        let denies = !has_failed
            && !was_dismissed
            && !is_lost
            && is_unasked
            && worker.is_ready()
            && !back.is_empty();
        if denies {
            self.put_off(back);
        // How far it got is known if it left in order.
        } else if is_lost && words.begun == UNKNOWN {
            self.requeue_lost(back, &text);
        } else {
            self.queue.requeue(back);
        }
        self.settle_failed(failed, &worker);
        let tag = &worker.ledger.tag;
        let reason = format!("worker {} (pid {}) {text}", tag.name, tag.pid);
        // A death in a task says something about the task; one without a task says that the next
        // worker may die as well.
        let is_expected =
            has_failed || denies || is_lost || was_dismissed || worker.ledger.finished > 0;
        self.workers.ended(place, &worker, is_expected, now);
        // What was just put back has no worker to go to in a pool that is over.
        self.fail_all_if_over();
        self.break_if_hopeless(&reason, now);
    }

    /// Gives up the pool if its workers fail again and again before they have done anything: all
    /// tasks fail with `reason`, rather than wait for ever.
    pub(super) fn break_if_hopeless(&mut self, reason: &str, now: Instant) {
        if !self.workers.is_hopeless(&self.policy)
            || !matches!(self.phase, Phase::Running | Phase::Closing)
        {
            return;
        }
        let hint = if self.policy.limits_workers {
            " (the limits that the pool gives them may be too low)"
        } else {
            ""
        };
        self.phase = Phase::Broken(format!("the pool's workers cannot start: {reason}{hint}"));
        self.end_workers(Duration::ZERO, now);
    }

    /// Gives up the pool, as no worker can be had.
    pub(super) fn on_hopeless(&mut self, why: String, now: Instant) {
        if matches!(self.phase, Phase::Running | Phase::Closing) {
            self.phase = Phase::Broken(why);
            self.end_workers(Duration::ZERO, now);
        }
    }

    /// Terminates the pool: tasks that are not finished fail, and workers are ended.
    pub(super) fn on_terminated(&mut self, now: Instant) {
        match self.phase {
            Phase::Terminated => return,
            Phase::Running | Phase::Closing => self.phase = Phase::Terminated,
            // Stays broken, as tasks are to fail with that reason; the workers are ended all the
            // same.
            Phase::Broken(_) => {}
        }
        self.end_workers(self.policy.grace, now);
    }

    /// Ends all workers and fails what is queued. What workers have not begun fails once it was
    /// taken back; what they run, when they are gone.
    fn end_workers(&mut self, grace: Duration, now: Instant) {
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker(place) else { continue };
            // Recalled before it is terminated: a worker in its grace must not begin another task.
            if worker.state.has_link() {
                self.recall(place, Recall::Terminated);
            }
            self.terminate(place, KillReason::Terminated, grace, now);
        }
        self.fail_all_if_over();
    }

    /// Fails all that is queued, if the pool does no more tasks.
    pub(super) fn fail_all_if_over(&mut self) {
        let failure = match &self.phase {
            Phase::Running | Phase::Closing => return,
            Phase::Terminated => Failure::Cancelled("its pool was terminated".to_owned()),
            Phase::Broken(reason) => Failure::NotRun(reason.clone()),
        };
        for job in self.queue.take_all() {
            self.fail(job, job::again(&failure));
        }
    }

    /// Delivers the failure of a task that ended with its worker, or has it tried again.
    fn settle_failed(&mut self, failed: Option<Failed>, worker: &WorkerRecord) {
        match failed.map(|failed| failed.settle(&worker.ledger.tag)) {
            Some(Ok(sink)) => self.touched.push(sink),
            // To be retried: in front, as it has waited for its turn before.
            Some(Err(job)) => self.queue.push_front(job),
            None => {}
        }
    }

    /// Queues the jobs that a lost machine had. It may have begun them, so those whose tasks are to
    /// be run once at the most fail.
    fn requeue_lost(&mut self, back: Vec<Job>, reason: &str) {
        let (once, back): (Vec<_>, Vec<_>) =
            back.into_iter().partition(|job| job.sink.call().options.once);
        for job in once {
            self.fail(job, Failure::NodeLost(reason.to_owned()));
        }
        self.queue.requeue(back);
    }

    /// Delivers a failure of all tasks of a job.
    pub(crate) fn fail(&mut self, job: Job, failure: Failure) {
        job.sink.deliver(Delivery {
            first: job.first,
            count: job.count,
            content: Content::Failed(failure),
            worker: None,
            attempts: job.failed,
        });
        // Jobs of one call often follow each other; a sink that is woken twice does no harm.
        if !self.touched.last().is_some_and(|last| Arc::ptr_eq(last, &job.sink)) {
            self.touched.push(job.sink);
        }
    }

    /// Cancels a call. Its jobs in the queue are dropped when their turn comes; what workers have
    /// of it is taken back, and workers that run one of its tasks are killed if `kills`.
    pub(super) fn on_cancelled(&mut self, call: CallId, kills: bool) {
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.state.has_link()
                && worker.state.kill_reason().is_none()
                && worker.ledger.holds(call).1
            {
                // Whether it runs a task of the call is decided after the recall, when it can begin
                // none any more.
                self.recall(place, Recall::Cancelled { call, kills });
            }
        }
    }

    /// Kills a worker if it runs a task of a call. Called after a recall, so that its words are
    /// current and it begins nothing else meanwhile.
    pub(super) fn kill_if_running(&mut self, place: usize, call: CallId, reason: KillReason) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if worker.is_running() && worker.ledger.holds(call).0 {
            worker.state.end(Cause::Killed(reason), None);
            self.kill(place);
        }
    }

    /// Cancels all tasks that no worker has begun, of all calls.
    pub(super) fn on_pending_cancelled(&mut self) {
        let waiting = self.queue.take_all();
        self.fail_pending(waiting);
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.state.has_link() && !worker.is_idle() {
                self.recall(place, Recall::Pending);
            }
        }
    }

    /// Fails jobs that were cancelled before any worker began them.
    pub(super) fn fail_pending(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            self.fail(job, Failure::Cancelled("before it began".to_owned()));
        }
    }
}

/// Returns the failure of the task that a worker was running when it ended as `why` says: the
/// pool's own reason, if it had one to end the worker.
fn failure_of(state: WorkerState, why: Failure) -> Failure {
    let WorkerState::Ending { cause: Cause::Killed(reason), due } = state else { return why };
    match reason {
        // Also if the worker had to be given up: the task is over its time in any case.
        KillReason::Deadline(deadline) => Failure::Limit(LimitReached::Deadline(deadline)),
        // The worker still runs, and perhaps its task: to say "cancelled" would be wrong.
        _ if due == Due::GivenUp => why,
        KillReason::Cancelled => Failure::Cancelled("while it ran".to_owned()),
        KillReason::Terminated => Failure::Cancelled("its pool was terminated".to_owned()),
        KillReason::Rogue(reason) => Failure::Lost(format!("its worker was killed: {reason}")),
    }
}
