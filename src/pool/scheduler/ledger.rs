//! Describes what a worker was given and what came of it: which task it is at, and what is to be
//! done again if it ends.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::job::{CallId, Content, Delivery, Job, Sink, Tag};
use crate::codec;
use crate::error::Failure;
use crate::pool::protocol::messages::{self, Reply};

/// From so many bytes on, an answer is kept as it came instead of being copied.
const LONG_ANSWER: usize = 4096;

/// The jobs of one worker, in the order in which they went out.
pub(crate) struct Ledger {
    sent: VecDeque<Sent>,
    pub(crate) tag: Arc<Tag>,
    /// Counts how many tasks are finished.
    pub(crate) finished: u64,
    /// Counts how many of them failed.
    pub(crate) failures: u64,
    /// When the last of them was, or when the first was sent.
    pub(crate) since: Instant,
    /// Holds what it said of its beginning: the reason if it failed.
    pub(crate) ready: Option<Result<(), String>>,
    /// It said what is no answer.
    pub(crate) is_garbled: bool,
    /// Tasks that failed and are to be tried again.
    pub(crate) again: Vec<Job>,
    /// Holds what was finished, for whoever wants to be woken.
    pub(crate) delivered: Vec<Arc<dyn Sink>>,
    /// The descriptors that came with answers and that nobody has taken yet, among others.
    kept: Vec<Weak<OwnedFd>>,
    /// Descriptors that may be open in this program that came from this worker.
    fd_quota: usize,
}

/// A job that went out.
struct Sent {
    job: Job,
    /// Counts how many of its tasks are finished.
    done: u32,
    /// Counts how many of these are delivered.
    delivered: u32,
    /// The answers of the others.
    answers: Vec<u8>,
}

impl Ledger {
    /// The ledger of a worker that has been given nothing yet.
    pub(crate) fn new(tag: Arc<Tag>, fd_quota: usize, now: Instant) -> Ledger {
        Ledger {
            sent: VecDeque::new(),
            tag,
            finished: 0,
            failures: 0,
            since: now,
            ready: None,
            is_garbled: false,
            again: Vec::new(),
            delivered: Vec::new(),
            kept: Vec::new(),
            fd_quota,
        }
    }

    /// Returns how many jobs are out.
    pub(crate) fn jobs(&self) -> usize {
        self.sent.len()
    }

    /// Returns how many tasks are out.
    pub(crate) fn tasks(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(sent.job.count.saturating_sub(sent.done))).sum()
    }

    /// Returns whether more than one task is out, without counting them all.
    pub(crate) fn has_several(&self) -> bool {
        self.sent.len() > 1 || self.tasks() > 1
    }

    /// Enters a job that goes out.
    pub(crate) fn enter(&mut self, job: Job, now: Instant) {
        if self.sent.is_empty() {
            self.since = now;
        }
        self.sent.push_back(Sent { job, done: 0, delivered: 0, answers: Vec::new() });
    }

    /// Returns the job whose task is next to finish.
    pub(crate) fn head(&self) -> Option<&Job> {
        self.sent.front().map(|sent| &sent.job)
    }

    /// Returns the job that was entered last.
    pub(crate) fn last(&self) -> Option<&Job> {
        self.sent.back().map(|sent| &sent.job)
    }

    /// Returns whether a job for that sink is the next to finish, and whether any is out.
    pub(crate) fn holds(&self, call: CallId) -> (bool, bool) {
        let is = |sent: &Sent| sent.job.sink.call().id == call;
        (self.sent.front().is_some_and(is), self.sent.iter().any(is))
    }

    /// Counts descriptors that came with an answer; the reason if the worker has sent too many that
    /// nobody has taken.
    ///
    /// A worker may send descriptors with answers of any type. They stay open in this program until
    /// the answer is taken, so all workers together may have it keep half of what it can open.
    fn keep(&mut self, fds: &[Arc<OwnedFd>]) -> Result<(), String> {
        let quota = self.fd_quota;
        if self.kept.len().saturating_add(fds.len()) > quota {
            self.kept.retain(|fd| fd.strong_count() > 0);
        }
        let kept = self.kept.len();
        if kept.saturating_add(fds.len()) > quota {
            return Err(format!(
                "it brings {} descriptors, and {kept} that came with earlier results of this \
                 worker are not taken yet (at most {quota}, by the program's limit of open files)",
                fds.len()
            ));
        }
        self.kept.extend(fds.iter().map(Arc::downgrade));
        Ok(())
    }

    /// Takes what the worker says.
    pub(crate) fn hear(&mut self, message: &mut Vec<u8>, mut fds: Vec<Arc<OwnedFd>>) {
        if !fds.is_empty()
            && let Err(reason) = self.keep(&fds)
        {
            fds.clear();
            message.clear();
            message.push(Reply::BadResult as u8);
            message.extend_from_slice(reason.as_bytes());
        }
        let Some((verdict, rest)) = messages::only_answer(message) else {
            return self.is_garbled = true;
        };
        if verdict == Reply::Ready {
            if self.ready.is_some() {
                return self.is_garbled = true;
            }
            let reason = String::from_utf8_lossy(rest).into_owned();
            self.ready = Some(if reason.is_empty() { Ok(()) } else { Err(reason) });
            return;
        }
        if verdict == Reply::Block {
            match messages::open_block(message) {
                Some((count, answers)) => self.hear_block(count, answers),
                None => self.is_garbled = true,
            }
            return;
        }
        let Some(sent) = self.sent.front_mut() else { return self.is_garbled = true };
        self.finished = self.finished.saturating_add(1);
        let number = sent.job.first.saturating_add(sent.done.into());
        sent.done = sent.done.saturating_add(1);
        if verdict != Reply::Returned {
            self.failures = self.failures.saturating_add(1);
            let retry = sent.job.sink.call().options.retry;
            if !retry.is_never() && retry.wants(&failure(verdict, rest), sent.job.failed) {
                sent.flush_but_last(&self.tag, &mut self.delivered);
                sent.delivered = sent.done;
                self.again.push(sent.job.one(number, sent.job.failed.saturating_add(1)));
                return self.pop_if_done();
            }
        }
        if fds.is_empty() && message.len() < LONG_ANSWER {
            messages::put_answer(&mut sent.answers, verdict, rest);
        } else {
            sent.flush_but_last(&self.tag, &mut self.delivered);
            sent.deliver(
                Content::Message { bytes: mem::take(message), fds },
                &self.tag,
                &mut self.delivered,
            );
        }
        self.pop_if_done();
    }

    /// Takes the answers of so many tasks that returned, which may be those of several jobs.
    pub(crate) fn hear_block(&mut self, count: u32, answers: &[u8]) {
        let (mut left, mut at) = (count, 0);
        while left > 0 {
            let Some(sent) = self.sent.front_mut() else { return self.is_garbled = true };
            let here = left.min(sent.job.count.saturating_sub(sent.done));
            let start = at;
            if here == left {
                at = answers.len();
            } else {
                for _ in 0..here {
                    if messages::next_frame(answers, &mut at).is_none() {
                        return self.is_garbled = true;
                    }
                }
            }
            sent.answers.extend_from_slice(&answers[start..at]);
            sent.done = sent.done.saturating_add(here);
            left = left.saturating_sub(here);
            self.finished = self.finished.saturating_add(u64::from(here));
            self.pop_if_done();
        }
    }

    /// Delivers what is finished of the job that is not.
    pub(crate) fn flush(&mut self) {
        if let Some(sent) = self.sent.front_mut() {
            sent.flush(&self.tag, &mut self.delivered);
        }
    }

    fn pop_if_done(&mut self) {
        if self.sent.front().is_some_and(|sent| sent.done == sent.job.count)
            && let Some(mut sent) = self.sent.pop_front()
        {
            sent.flush(&self.tag, &mut self.delivered);
        }
    }

    /// Takes back all that was not begun, when `begun` tasks were, in order.
    pub(crate) fn take_back(&mut self, begun: u64) -> Vec<Job> {
        // Tasks that are begun together are of one job. What the worker's word says beyond that
        // cannot be.
        let running = u32::try_from(begun.saturating_sub(self.finished)).unwrap_or(u32::MAX);
        let mut back = Vec::new();
        let mut sent = mem::take(&mut self.sent).into_iter();
        if let Some(mut front) = sent.next() {
            let keep = running.min(front.job.count.saturating_sub(front.done));
            back.extend(front.job.split_off(front.done.saturating_add(keep)));
            if keep > 0 {
                self.sent.push_back(front);
            } else {
                front.flush(&self.tag, &mut self.delivered);
            }
        }
        back.extend(sent.map(|sent| sent.job));
        back
    }

    /// For a worker that has ended: takes back what was not begun, and says what befell the task
    /// that was running.
    pub(crate) fn settle(
        &mut self,
        begun: u64,
        failure: impl FnOnce() -> Failure,
    ) -> (Vec<Job>, Option<Failed>) {
        // Of those that were begun together, it came as far as the first.
        let begun = begun.min(self.finished.saturating_add(1));
        let back = self.take_back(begun);
        let Some(mut sent) = self.sent.pop_front() else { return (back, None) };
        sent.flush(&self.tag, &mut self.delivered);
        let number = sent.job.first.saturating_add(sent.done.into());
        let victim =
            sent.job.split_off(sent.done).unwrap_or_else(|| sent.job.one(number, sent.job.failed));
        self.finished = self.finished.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        (back, Some(Failed { job: victim, failure: failure() }))
    }
}

/// A task that failed with its worker.
pub(crate) struct Failed {
    pub(crate) job: Job,
    pub(crate) failure: Failure,
}

impl Failed {
    /// Delivers it, or gives it back to be tried again.
    pub(crate) fn settle(self, tag: &Arc<Tag>) -> Result<Arc<dyn Sink>, Job> {
        let Failed { mut job, failure } = self;
        let call = job.sink.call();
        let retry = call.options.retry;
        let is_success = call.returns_nothing && matches!(failure, Failure::Exited(0));
        if !is_success && !job.sink.is_cancelled() && retry.wants(&failure, job.failed) {
            job.failed = job.failed.saturating_add(1);
            return Err(job);
        }
        job.sink.deliver(Delivery {
            first: job.first,
            count: 1,
            content: Content::Failed(failure),
            worker: Some(Arc::clone(tag)),
            attempts: job.failed.saturating_add(1),
        });
        Ok(job.sink)
    }
}

impl Sent {
    /// Delivers the answers that are here.
    fn flush(&mut self, tag: &Arc<Tag>, delivered: &mut Vec<Arc<dyn Sink>>) {
        // Not by the answers: there may be fewer, of a worker that lies.
        if self.done > self.delivered {
            let answers = mem::take(&mut self.answers);
            self.deliver(Content::Answers(answers), tag, delivered);
        }
    }

    /// `flush`, when the last that is finished is not among the answers.
    fn flush_but_last(&mut self, tag: &Arc<Tag>, delivered: &mut Vec<Arc<dyn Sink>>) {
        self.done = self.done.saturating_sub(1);
        self.flush(tag, delivered);
        self.done = self.done.saturating_add(1);
    }

    /// Delivers those that are finished and were not delivered.
    fn deliver(&mut self, content: Content, tag: &Arc<Tag>, delivered: &mut Vec<Arc<dyn Sink>>) {
        let count = self.done.saturating_sub(self.delivered);
        let delivery = Delivery {
            first: self.job.first.saturating_add(self.delivered.into()),
            count,
            content,
            worker: Some(Arc::clone(tag)),
            attempts: self.job.failed.saturating_add(1),
        };
        self.delivered = self.done;
        self.job.sink.deliver(delivery);
        if !delivered.last().is_some_and(|last| Arc::ptr_eq(last, &self.job.sink)) {
            delivered.push(Arc::clone(&self.job.sink));
        }
    }
}

/// Returns what a verdict other than a value says.
pub(crate) fn failure(verdict: Reply, reason: &[u8]) -> Failure {
    let text = || String::from_utf8_lossy(reason).into_owned();
    match verdict {
        Reply::Panicked => match codec::decode_plain(reason) {
            Ok(panic) => Failure::Panicked(panic),
            Err(reason) => {
                Failure::BadResult(format!("a panic that cannot be understood: {reason}"))
            }
        },
        Reply::BadArguments => Failure::BadArguments(format!("cannot be decoded: {}", text())),
        Reply::NotRun => Failure::NotRun(text()),
        Reply::Ready | Reply::Returned | Reply::BadResult | Reply::Block => {
            Failure::BadResult(text())
        }
    }
}
