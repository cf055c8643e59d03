//! A pool's mind: which tasks wait, which worker is at what, and what is to be done about it. It
//! never waits, and calls no code of users but `Retry`'s; `supervisor` has it act.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{self, Job, Sink};
use super::settings::Settings;
use super::worker::{Heard, KillReason, STUCK, Worker};
use super::worker_set::{Place, WorkerSet};
use crate::error::Failure;
use crate::limits::LimitReached;

/// Sets how long a task has to be running before those behind it are given to a worker that has
/// nothing to do.
const LATE: Duration = Duration::from_micros(500);

/// Describes what a pool is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// No more tasks are taken; those that there are, are done.
    Closing,
    /// No task is done any more.
    Terminated,
    /// It cannot go on, for this reason.
    Broken(String),
}

/// The state of a pool.
pub(crate) struct Scheduler {
    pub(crate) settings: Settings,
    pub(crate) workers: WorkerSet,
    pub(super) queue: VecDeque<Job>,
    pub(crate) phase: Phase,
    /// Whose tasks are finished, and who is to be told.
    pub(crate) touched: Vec<Arc<dyn Sink>>,
    /// Which workers are to be listened to once more.
    pub(crate) listen: Vec<usize>,
    /// The system refused what a worker's answer needs (descriptors, memory); asked again at once,
    /// it would refuse again.
    pub(crate) is_refused: bool,
    scratch: Vec<u8>,
    /// Which workers have been given something and not been called for it.
    to_wake: Vec<usize>,
    /// Which worker was given the last job.
    cursor: usize,
    /// True if the supervisor sleeps until it is called, so that it would not see that a task is
    /// not begun.
    pub(crate) sleeps: bool,
    /// Which workers this program could not end, and why.
    pub(crate) unended: Vec<String>,
}

impl Scheduler {
    pub(crate) fn new(settings: Settings, workers: Vec<Worker>) -> Scheduler {
        Scheduler {
            workers: WorkerSet::new(workers),
            settings,
            queue: VecDeque::new(),
            phase: Phase::Running,
            touched: Vec::new(),
            listen: Vec::new(),
            is_refused: false,
            scratch: Vec::new(),
            to_wake: Vec::new(),
            cursor: 0,
            sleeps: false,
            unended: Vec::new(),
        }
    }

    /// Takes tasks; the reason why not. `true` if the supervisor is to be called.
    pub(crate) fn submit(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<bool, Failure> {
        match &self.phase {
            Phase::Running => {}
            Phase::Closing | Phase::Terminated => {
                return Err(Failure::Cancelled("the pool is not running".to_owned()));
            }
            Phase::Broken(reason) => return Err(Failure::NotRun(reason.clone())),
        }
        let had_any = !self.queue.is_empty();
        self.queue.extend(jobs);
        // What nobody looks after but the supervisor: deadlines.
        let has_deadline =
            self.queue.back().is_some_and(|job| job.sink.call().options.deadline.is_some());
        let needs_supervisor = if had_any { false } else { self.dispatch() };
        Ok(mem::take(&mut self.sleeps) || needs_supervisor || has_deadline)
    }

    /// Returns how many jobs wait.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.iter().map(|job| u64::from(job.count)).sum()
    }

    /// Gives tasks to workers that have room. `true` if there is something to send that only the
    /// supervisor sends.
    pub(crate) fn dispatch(&mut self) -> bool {
        let mut needs_supervisor = false;
        while let Some(front) = self.queue.front() {
            if front.sink.is_cancelled() {
                self.queue.pop_front();
                continue;
            }
            let Some(place) = self.choose() else { break };
            let Some(mut job) = self.queue.pop_front() else { break };
            let Some(worker) = self.workers.worker_mut(place) else { break };
            if let Some(most) = self.settings.max_tasks {
                let left = most
                    .saturating_sub(worker.ledger.finished.saturating_add(worker.ledger.tasks()));
                if let Some(rest) = job.split_off(u32::try_from(left).unwrap_or(u32::MAX)) {
                    self.queue.push_front(rest);
                }
            }
            let has_several = job.count > 1;
            worker.give(job, &mut self.scratch);
            // With several, the first may be done without a call.
            if (has_several || worker.ledger.jobs() > 1) && worker.look_at.is_none() {
                worker.look_soon();
                needs_supervisor = true;
            }
            needs_supervisor |= worker.has_outgoing();
            // One call for all that goes to a worker.
            if !mem::replace(&mut worker.is_to_be_woken, true) {
                self.to_wake.push(place);
            }
        }
        for place in self.to_wake.drain(..) {
            if let Some(worker) = self.workers.worker_mut(place) {
                worker.is_to_be_woken = false;
                worker.wake();
            }
        }
        needs_supervisor
    }

    /// Returns whether there is a task, and a worker with room for it.
    pub(crate) fn could_dispatch(&self) -> bool {
        !self.queue.is_empty() && self.workers.count(|worker| self.takes_more(worker)) > 0
    }

    fn takes_more(&self, worker: &Worker) -> bool {
        let most = self.settings.max_tasks;
        let is_spent = most.is_some_and(|most| {
            worker.ledger.finished.saturating_add(worker.ledger.tasks()) >= most
        });
        worker.is_open() && !is_spent && worker.room() > 0
    }

    /// The worker that is to have the next job: one with nothing to do, or the one with the least
    /// of those that have room.
    fn choose(&mut self) -> Option<usize> {
        /// Sets how many are looked at, at the most, once one has been found.
        const LOOKED_AT: usize = 16;
        let count = self.workers.len();
        let mut best: Option<(usize, usize)> = None;
        for step in 0..count {
            let place = self.cursor.wrapping_add(step).checked_rem(count).unwrap_or(0);
            let Some(worker) = self.workers.worker(place) else { continue };
            if !self.takes_more(worker) {
                continue;
            }
            let jobs = worker.ledger.jobs();
            if best.is_none_or(|(_, least)| jobs < least) {
                best = Some((place, jobs));
            }
            if jobs == 0 || (step > LOOKED_AT && best.is_some()) {
                break;
            }
        }
        let (place, jobs) = best?;
        // The next one begins with the next worker, unless this one gets several in a row.
        let next = if jobs == 0 { place.wrapping_add(1) } else { place };
        self.cursor = next.checked_rem(count).unwrap_or(0);
        Some(place)
    }

    /// Sends to a worker what there is room for, and takes what it says.
    pub(crate) fn attend(&mut self, place: usize) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let heard = worker.exchange(&mut self.scratch);
        let link_ended = heard == Heard::End && worker.link.is_some() && !worker.is_silent;
        match heard {
            Heard::Part => self.listen.push(place),
            Heard::Refused => self.is_refused = true,
            Heard::All | Heard::End => {}
        }
        if link_ended {
            worker.is_silent = true;
            if worker.ledger.is_garbled {
                worker.terminate(KillReason::Rogue("it said what is no answer"), Duration::ZERO);
            } else {
                // It is about to end. If it is not, it has no business to go on.
                worker.kill_at = Instant::now().checked_add(self.settings.grace);
            }
        }
        self.collect(place);
    }

    /// Takes from a worker's ledger what has come of its tasks, and sees what is to become of it.
    fn collect(&mut self, place: usize) {
        let Some(worker) = self.workers.worker_mut(place) else { return };
        self.touched.append(&mut worker.ledger.delivered);
        for job in worker.ledger.again.drain(..) {
            self.queue.push_back(job);
        }
        if worker.is_ready() && worker.resident.is_none() {
            worker.resident = Some(worker.weigh().unwrap_or(0));
            self.workers.started_well();
        }
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if worker.ledger.finished == 0 {
            return;
        }
        self.workers.worked(place);
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let is_spent = self.settings.max_tasks.is_some_and(|most| worker.ledger.finished >= most)
            || worker.has_grown(self.settings.max_growth);
        if is_spent && worker.is_open() {
            worker.is_spent = true;
            let back = if worker.is_idle() { Vec::new() } else { worker.take_back() };
            self.requeue(back);
        }
        let Some(worker) = self.workers.worker_mut(place) else { return };
        if worker.is_idle() && worker.kill_reason.is_some() {
            // Done in its grace.
            worker.kill();
        }
    }

    /// Puts tasks that were taken back in front of all others, in their order.
    pub(super) fn requeue(&mut self, back: Vec<Job>) {
        for job in back.into_iter().rev() {
            self.queue.push_front(job);
        }
    }

    /// For a worker that has ended: settles what it was at. `why` is how it ended.
    pub(crate) fn settle(&mut self, place: usize, why: Failure) {
        self.attend(place);
        let Some(mut worker) = self.workers.remove(place) else { return };
        let text =
            worker.ledger.ready.clone().and_then(Result::err).unwrap_or_else(|| why.to_string());
        let kill_reason = worker.kill_reason.take();
        let is_unasked = matches!(kill_reason, None | Some(KillReason::Rogue(_)));
        let was_dismissed = worker.is_dismissed;
        let is_given_up = worker.give_up_at.is_some_and(|at| at <= Instant::now());
        let (back, failed) = worker.settle(|| match kill_reason {
            Some(KillReason::Deadline(deadline)) => deadline_failure(deadline),
            _ if is_given_up => why,
            Some(KillReason::Cancelled) => Failure::Cancelled("while it ran".to_owned()),
            Some(KillReason::Terminated) => {
                Failure::Cancelled("its pool was terminated".to_owned())
            }
            Some(KillReason::Rogue(reason)) => {
                Failure::Lost(format!("its worker was killed: {reason}"))
            }
            None => why,
        });
        self.touched.append(&mut worker.ledger.delivered);
        let has_failed = failed.is_some();
        // It was up and had tasks, and says that it began none of them: it was ended from outside,
        // or its word lies. Either way another worker may do better, but not again and again.
        let denies =
            !has_failed && !was_dismissed && is_unasked && worker.is_ready() && !back.is_empty();
        self.requeue(back);
        if denies {
            self.put_off();
        }
        if let Some(failed) = failed {
            match failed.settle(&worker.ledger.tag) {
                Ok(sink) => self.touched.push(sink),
                Err(job) => self.queue.push_front(job),
            }
        }
        let reason =
            format!("worker {} (pid {}) {text}", worker.ledger.tag.name, worker.ledger.tag.pid);
        let is_alright = has_failed || denies || was_dismissed || worker.ledger.finished > 0;
        self.workers.ended(place, &worker, is_alright, &self.settings);
        match self.phase.clone() {
            Phase::Terminated => self.cancel_all(),
            Phase::Broken(reason) => self.fail_all(&Failure::NotRun(reason)),
            Phase::Running | Phase::Closing => {}
        }
        self.break_if_hopeless(&reason);
    }

    /// The places of workers that may not be ended and have not left by themselves.
    pub(crate) fn unreachable(&self, now: Instant) -> Vec<usize> {
        let is_due = |place: &usize| {
            let worker = self.workers.worker(*place);
            worker.is_some_and(|worker| worker.give_up_at.is_some_and(|at| at <= now))
        };
        (0..self.workers.len()).filter(is_due).collect()
    }

    /// Gives up if workers fail again and again before they have done anything.
    pub(crate) fn break_if_hopeless(&mut self, reason: &str) {
        if self.workers.is_hopeless(&self.settings)
            && matches!(self.phase, Phase::Running | Phase::Closing)
        {
            let limits = &self.settings.limits.of_worker();
            let hint = if limits.is_empty() {
                ""
            } else {
                " (the limits that the pool gives them may be too low)"
            };
            let text = format!("the pool's workers cannot start: {reason}{hint}");
            self.phase = Phase::Broken(text.clone());
            self.fail_all(&Failure::NotRun(text));
            self.end_workers(Duration::ZERO);
        }
    }

    /// Does what is due: deadlines, workers that do not leave, tasks that others could do sooner.
    pub(crate) fn look_after(&mut self, now: Instant) {
        for place in 0..self.workers.len() {
            let Some(worker) = self.workers.worker_mut(place) else { continue };
            if worker.kill_at.is_some_and(|at| at <= now) {
                worker.kill();
            } else if worker.look_at.is_some_and(|at| at <= now) {
                self.attend(place);
            } else if worker.overdue().is_some_and(|left| left.is_zero()) {
                self.end_overdue(place);
            } else if self.stop_check(place).is_some_and(|at| at <= now)
                && let Some(worker) = self.workers.worker_mut(place)
            {
                worker.continue_if_stopped();
            }
        }
        self.share();
    }

    /// Returns whether a worker is to leave: its share is done, or that of its closed pool.
    fn may_leave(&self, worker: &Worker, has_finished: bool) -> bool {
        worker.link.is_some() && (has_finished || (worker.is_spent && worker.is_idle()))
    }

    /// Returns whether a closed pool has done all that it was given.
    fn has_finished(&self) -> bool {
        self.phase == Phase::Closing && self.queue.is_empty() && self.workers.all(Worker::is_idle)
    }

    /// Makes workers leave that have nothing to do any more.
    ///
    /// This comes last in a turn of the supervisor: whatever is heard after it would be heard by
    /// nobody who decides.
    pub(crate) fn dismiss_finished(&mut self, now: Instant) {
        let has_finished = self.has_finished();
        let kill_at = now.checked_add(self.settings.grace);
        for place in 0..self.workers.len() {
            if self.workers.worker(place).is_some_and(|worker| self.may_leave(worker, has_finished))
                && let Some(worker) = self.workers.worker_mut(place)
            {
                worker.dismiss();
                worker.kill_at = kill_at;
            }
        }
    }

    /// Returns whether nothing is left to decide until something happens or is due. The supervisor
    /// sleeps only if this holds.
    pub(crate) fn is_settled(&self) -> bool {
        let has_finished = self.has_finished();
        let may_anybody_leave =
            self.workers.workers().any(|worker| self.may_leave(worker, has_finished));
        !may_anybody_leave
            && !self.could_dispatch()
            && self.listen.is_empty()
            && self.touched.is_empty()
    }

    /// When to look whether the worker in a place is stopped in the midst of a task without a
    /// deadline, which nothing else would notice: only while other tasks wait.
    fn stop_check(&self, place: usize) -> Option<Instant> {
        let worker = self.workers.worker(place)?;
        let is_endless = worker.ledger.head()?.job.sink.call().options.deadline.is_none();
        let holds_up = !self.queue.is_empty() || worker.ledger.has_several();
        if !(is_endless && holds_up && worker.kill_reason.is_none() && worker.is_running()) {
            return None;
        }
        worker.ledger.since.max(worker.looked_for_stop).checked_add(STUCK)
    }

    /// Ends a worker whose task takes longer than it may; those behind it are not hurt.
    fn end_overdue(&mut self, place: usize) {
        self.attend(place);
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let is_frozen = !worker.is_running() && worker.ledger.jobs() > 0;
        let back = worker.take_back();
        self.requeue(back);
        // Nothing is begun any more. So whatever it is at now, is what took too long.
        self.attend(place);
        let Some(worker) = self.workers.worker_mut(place) else { return };
        let Some(head) = worker.ledger.head() else {
            if worker.link.is_some() && !worker.is_running() && is_frozen {
                worker.terminate(KillReason::Rogue("it did not begin its task"), Duration::ZERO);
                self.put_off();
            }
            return;
        };
        let options = Arc::clone(&head.job.sink.call().options);
        let Some(deadline) = options.deadline else { return };
        if worker.overdue().is_some_and(|left| left.is_zero()) {
            worker.terminate(
                KillReason::Deadline(deadline),
                options.grace.unwrap_or(self.settings.grace),
            );
        }
    }

    /// The next task was not begun by a worker that had it. That may have been somebody else's
    /// doing, or the task's own: so it does not go on for ever.
    fn put_off(&mut self) {
        /// Sets how many workers may have a task without beginning it.
        const ATTEMPTS: u32 = 5;
        let Some(mut job) = self.queue.pop_front() else { return };
        if let Some(rest) = job.split_off(1) {
            self.queue.push_front(rest);
        }
        job.put_off = job.put_off.saturating_add(1);
        if job.put_off < ATTEMPTS {
            self.queue.push_front(job);
        } else {
            self.fail(
                job,
                Failure::Lost(format!("{ATTEMPTS} workers did not begin it, or hid that they had")),
            );
        }
    }

    /// Gives what waits behind a task that takes long to workers that have nothing to do.
    fn share(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        let idle =
            self.workers.count(|worker| worker.is_open() && worker.is_ready() && worker.is_idle());
        if idle == 0 {
            return;
        }
        let late = (0..self.workers.len()).find(|place| {
            let worker = self.workers.worker(*place);
            worker
                .is_some_and(|worker| worker.could_share() && worker.ledger.since.elapsed() >= LATE)
        });
        let Some(worker) = late.and_then(|place| self.workers.worker_mut(place)) else { return };
        let back = worker.take_back();
        let pieces = u32::try_from(idle).unwrap_or(u32::MAX);
        let back = if back.len() == 1 { job::split(back, pieces) } else { back };
        self.requeue(back);
        if let Some(place) = late {
            self.collect(place);
        }
    }

    /// When to look again, at the latest.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let of_workers = self.workers.workers().filter_map(|worker| {
            // A task that begins at this moment is due after its deadline at the soonest.
            let soonest =
                worker.ledger.head().and_then(|head| head.job.sink.call().options.deadline);
            // A time beyond what the clock can count never comes.
            let due = worker
                .overdue()
                .and_then(|left| now.checked_add(left.min(soonest.unwrap_or(left))));
            [worker.kill_at, worker.give_up_at, due, worker.look_at].into_iter().flatten().min()
        });
        let is_idle = |worker: &Worker| worker.is_open() && worker.is_ready() && worker.is_idle();
        let sharing = if self.queue.is_empty() && self.workers.count(is_idle) > 0 {
            let late = self.workers.workers().filter(|worker| worker.could_share());
            late.map(|worker| (worker.ledger.since.checked_add(LATE).unwrap_or(now)).max(now)).min()
        } else {
            None
        };
        let stops = (0..self.workers.len()).filter_map(|place| self.stop_check(place)).min();
        of_workers.chain(sharing).chain(stops).chain(self.workers.next_start()).min()
    }

    /// Which places want a worker now.
    pub(crate) fn take_vacancies(&mut self, now: Instant) -> Vec<(usize, u64)> {
        let wants = match self.phase {
            Phase::Running => true,
            Phase::Closing => !self.queue.is_empty(),
            Phase::Terminated | Phase::Broken(_) => false,
        };
        if wants { self.workers.take_vacancies(now) } else { Vec::new() }
    }

    /// Puts a worker into its place. One that came too late is ended.
    pub(crate) fn install(&mut self, place: usize, mut worker: Worker) {
        if matches!(self.phase, Phase::Terminated | Phase::Broken(_)) {
            worker.terminate(KillReason::Terminated, Duration::ZERO);
        }
        self.workers.put(place, worker);
    }

    /// Returns how many tasks run at this moment.
    pub(crate) fn running(&self) -> usize {
        self.workers.count(|worker| !worker.is_idle())
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.workers.places()
    }
}

fn deadline_failure(deadline: Duration) -> Failure {
    Failure::Limit(LimitReached::Deadline(deadline))
}
