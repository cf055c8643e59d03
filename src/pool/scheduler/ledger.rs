//! The ledger of a worker: the jobs that it was given, in order, and what came of their tasks.
//!
//! Answers carry no numbers. A worker answers its tasks in the order in which it was given them,
//! each once, so the ledger matches the next answer with the first task that has none. From that,
//! and the number of tasks that the claim word says were begun, it follows at any time:
//!
//! ```text
//! tasks given:   | finished ............ | running | not begun ............... |
//!                0                finished      begun                     all given
//! ```
//!
//! - what is *finished* has an answer, and is delivered or will be;
//! - what is *running* fails or is retried if the worker ends;
//! - what is *not begun* is taken back whole.
//!
//! A job is entered before it is sent, and leaves when its last task has an answer or is taken
//! back. An answer too many is garbage: the worker is ended, and settled by what the ledger knows.
//! A claim word that counts more tasks than were given is believed as far as the first job goes.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::job::{self, CallId, Content, Delivery, Job, Sink, Tag};
use crate::codec;
use crate::error::Failure;
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::failures;
use crate::pool::protocol::messages::{self, Reply};

/// Bytes from which on an answer is kept as it came, instead of being copied behind others.
const LONG_ANSWER: usize = 4096;

/// Attempts of a task that may end with the loss of their machine before the task fails with it,
/// unless a retry allows more: a task that takes its machines down must not go round for ever.
const LOSSES: u32 = 3;

/// The jobs of one worker, in the order in which they were given.
pub(crate) struct Ledger {
    /// Jobs that have unfinished tasks.
    sent: VecDeque<Sent>,
    /// Number of chunks in them that have unfinished tasks.
    chunks: usize,
    /// The worker's name and pid, for deliveries.
    pub(crate) tag: Arc<Tag>,
    /// Number of tasks that are finished, failed ones included.
    pub(crate) finished: u64,
    /// Number of tasks that failed.
    pub(crate) failures: u64,
    /// Time at which the last task finished, or the first of the present jobs was entered.
    pub(crate) since: Instant,
    /// The worker's report of its start: the reason if it failed; `None` as long as it is
    /// silent.
    pub(crate) ready: Option<Result<(), String>>,
    /// True if it has sent what is no answer. Nothing it says counts any more.
    pub(crate) is_garbled: bool,
    /// Tasks that failed and are to be retried, each as a job of its own.
    pub(crate) again: Vec<Job>,
    /// The sinks that got outcomes and are to be woken.
    pub(crate) delivered: Vec<Arc<dyn Sink>>,
    /// The descriptors that came with answers; those that the user still has or has not taken are
    /// alive.
    kept: Vec<Weak<OwnedFd>>,
    /// Number of such descriptors that may be open at a time.
    fd_quota: usize,
}

/// A job that was given.
struct Sent {
    job: Job,
    /// Number of tasks of a chunk.
    chunk: u32,
    /// Number of its tasks that are finished.
    done: u32,
    /// Number of these that were delivered.
    delivered: u32,
    /// The answers of the others, framed.
    answers: Vec<u8>,
}

impl Ledger {
    /// The ledger of a worker that has been given nothing.
    pub(crate) fn new(tag: Arc<Tag>, fd_quota: usize, now: Instant) -> Ledger {
        Ledger {
            sent: VecDeque::new(),
            chunks: 0,
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

    /// Returns the number of jobs with unfinished tasks.
    pub(crate) fn jobs(&self) -> usize {
        self.sent.len()
    }

    /// Returns the number of chunks with unfinished tasks.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks
    }

    /// Returns the number of unfinished tasks.
    pub(crate) fn tasks(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(sent.job.count.saturating_sub(sent.done))).sum()
    }

    /// Returns whether there is more than one unfinished task, without counting them all.
    pub(crate) fn has_several(&self) -> bool {
        self.sent.len() > 1 || self.tasks() > 1
    }

    /// Enters a job that is about to be sent.
    pub(crate) fn enter(&mut self, job: Job, now: Instant) {
        // It was idle until now; a job behind others starts when they are done.
        if self.sent.is_empty() {
            self.since = now;
        }
        let chunk = job.chunk();
        self.chunks = self.chunks.saturating_add(job.chunks());
        self.sent.push_back(Sent { job, chunk, done: 0, delivered: 0, answers: Vec::new() });
    }

    /// The job of the next task to finish.
    pub(crate) fn head(&self) -> Option<&Job> {
        self.sent.front().map(|sent| &sent.job)
    }

    /// The job that was entered last.
    pub(crate) fn last(&self) -> Option<&Job> {
        self.sent.back().map(|sent| &sent.job)
    }

    /// Returns whether the next task to finish is of a call, and whether any unfinished task is.
    pub(crate) fn holds(&self, call: CallId) -> (bool, bool) {
        let is = |sent: &Sent| sent.job.sink.call().id == call;
        (self.sent.front().is_some_and(is), self.sent.iter().any(is))
    }

    /// Counts descriptors that came with an answer.
    ///
    /// A worker may send descriptors with answers of any type. They stay open in this program until
    /// the answer is taken, so all workers together may have it keep half of what it can open.
    ///
    /// # Errors
    /// The worker has sent too many that nobody has taken: the answer becomes a failure that says
    /// so.
    fn keep(&mut self, fds: &[Arc<OwnedFd>]) -> Result<(), String> {
        let quota = self.fd_quota;
        if self.kept.len().saturating_add(fds.len()) > quota {
            // Forgets those that are closed, only when the quota would be exceeded: in proportion,
            // this is rare.
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

    /// Takes in a message of the worker.
    pub(crate) fn hear(&mut self, message: &mut Vec<u8>, mut fds: Vec<Arc<OwnedFd>>) {
        if !fds.is_empty()
            && let Err(reason) = self.keep(&fds)
        {
            // Closed here; the answer counts, as a failure.
            fds.clear();
            message.clear();
            message.push(Reply::BadResult as u8);
            message.extend_from_slice(reason.as_bytes());
        }
        let Some((verdict, rest)) = messages::only_answer(message) else {
            return self.is_garbled = true;
        };
        if verdict == Reply::Ready {
            return self.hear_ready(rest);
        }
        if verdict == Reply::Block {
            // A block can hold values only, so it needs no look at retries.
            match messages::open_block(message) {
                Some((count, answers)) => self.hear_block(count, answers),
                None => self.is_garbled = true,
            }
            return;
        }
        // An answer without a task.
        let Some(sent) = self.sent.front_mut() else { return self.is_garbled = true };
        self.finished = self.finished.saturating_add(1);
        let number = sent.job.first.saturating_add(sent.done.into());
        self.chunks = self.chunks.saturating_sub(sent.go_on(1));
        if verdict != Reply::Returned {
            // Each attempt counts, also one that is retried.
            self.failures = self.failures.saturating_add(1);
            let retry = sent.job.sink.call().options.retry;
            // The failure is decoded here only if it may be retried; else the user's thread does
            // that.
            if !retry.is_never() && retry.wants(&failure(verdict, rest), sent.job.failed) {
                // The task has no outcome yet, so the ones before it and those behind it are
                // delivered apart.
                sent.flush_but_last(&self.tag, &mut self.delivered);
                sent.delivered = sent.done;
                self.again.push(sent.job.one(number, sent.job.failed.saturating_add(1)));
                return self.pop_if_done();
            }
        }
        // Gathered with others of its job: one delivery for many short answers.
        if fds.is_empty() && message.len() < LONG_ANSWER {
            messages::put_answer(&mut sent.answers, verdict, rest);
        } else {
            sent.flush_but_last(&self.tag, &mut self.delivered);
            sent.deliver(
                Content::Message { bytes: Bulk::new(mem::take(message)), fds },
                &self.tag,
                &mut self.delivered,
            );
        }
        self.pop_if_done();
    }

    /// Takes in the report of the worker's start.
    fn hear_ready(&mut self, reason: &[u8]) {
        // It reports its start once. A second time would be garbage that is not bounded by its
        // tasks.
        if self.ready.is_some() {
            return self.is_garbled = true;
        }
        let reason = String::from_utf8_lossy(reason).into_owned();
        self.ready = Some(if reason.is_empty() { Ok(()) } else { Err(reason) });
    }

    /// Takes in the answers of `count` tasks that returned. They may be of several jobs.
    pub(crate) fn hear_block(&mut self, count: u32, answers: &[u8]) {
        let (mut left, mut at) = (count, 0);
        while left > 0 {
            // More answers than tasks. Those before are good: they were matched in order.
            let Some(sent) = self.sent.front_mut() else { return self.is_garbled = true };
            let here = left.min(sent.job.count.saturating_sub(sent.done));
            let start = at;
            // The rest of the block is of one job: its answers need not be walked. Whether there
            // are as many as the block says is found when they are decoded.
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
            self.chunks = self.chunks.saturating_sub(sent.go_on(here));
            left = left.saturating_sub(here);
            self.finished = self.finished.saturating_add(u64::from(here));
            self.pop_if_done();
        }
    }

    /// Delivers what is finished of the job that is under way.
    pub(crate) fn flush(&mut self) {
        if let Some(sent) = self.sent.front_mut() {
            sent.flush(&self.tag, &mut self.delivered);
        }
    }

    /// Removes the first job if all of its tasks are finished, and delivers the last of them.
    fn pop_if_done(&mut self) {
        if self.sent.front().is_some_and(|sent| sent.done == sent.job.count)
            && let Some(mut sent) = self.sent.pop_front()
        {
            sent.flush(&self.tag, &mut self.delivered);
        }
    }

    /// Takes back all that was not begun, by the number of tasks that were. The claim word must be
    /// closed, and all that was published heard.
    pub(crate) fn take_back(&mut self, begun: u64) -> Vec<Job> {
        // Tasks that are claimed together are of one job. What the word says beyond that cannot be,
        // and is ignored: a worker that lies keeps the job that it is at, at the most.
        let running = u32::try_from(begun.saturating_sub(self.finished)).unwrap_or(u32::MAX);
        let mut back = Vec::new();
        let mut sent = mem::take(&mut self.sent).into_iter();
        if let Some(mut front) = sent.next() {
            let keep = running.min(front.job.count.saturating_sub(front.done));
            // Arguments of finished tasks stay with the front, and go with it.
            back.extend(front.job.split_off(front.done.saturating_add(keep)));
            // It stays with the tasks that run, so that their answers are matched.
            if keep > 0 {
                self.sent.push_back(front);
            } else {
                front.flush(&self.tag, &mut self.delivered);
            }
        }
        back.extend(sent.map(|sent| sent.job));
        self.chunks = self.sent.iter().map(Sent::chunks).sum();
        back
    }

    /// Settles the ledger of a worker that has ended: takes back what was not begun, and makes the
    /// failure of the task that was running, if there was one.
    pub(crate) fn settle(
        &mut self,
        begun: u64,
        failure: impl FnOnce() -> Failure,
    ) -> (Vec<Job>, Option<Failed>) {
        // Of tasks that were claimed together, it got as far as the first without an answer.
        let begun = begun.min(self.finished.saturating_add(1));
        let back = self.take_back(begun);
        // Nothing was running: it ended between two tasks.
        let Some(mut sent) = self.sent.pop_front() else { return (back, None) };
        self.chunks = self.chunks.saturating_sub(sent.chunks());
        sent.flush(&self.tag, &mut self.delivered);
        let number = sent.job.first.saturating_add(sent.done.into());
        let victim =
            sent.job.split_off(sent.done).unwrap_or_else(|| sent.job.one(number, sent.job.failed));
        // It counts as finished, by its failure.
        self.finished = self.finished.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        (back, Some(Failed { job: victim, failure: failure() }))
    }
}

/// Returns whether a failure is no fault of the task's or its worker's, but the loss of a machine.
pub(super) fn is_lost(failure: &Failure) -> bool {
    matches!(failure, Failure::NodeLost(_))
}

/// A task that failed with its worker.
pub(crate) struct Failed {
    pub(crate) job: Job,
    pub(crate) failure: Failure,
}

impl Failed {
    /// Delivers the failure, and returns the sink to be woken.
    ///
    /// # Errors
    /// The task is to be retried: its job, to be queued.
    pub(crate) fn settle(self, tag: &Arc<Tag>) -> Result<Arc<dyn Sink>, Job> {
        let Failed { mut job, failure } = self;
        let call = job.sink.call();
        let retry = call.options.retry;
        // `exit(0)` of a function without a result: `decode` makes its value.
        let is_success = call.returns_nothing && matches!(failure, Failure::Exited(0));
        // A cancelled call has no use for a retry.
        let goes_again = retry.wants(&failure, job.failed)
            || (is_lost(&failure) && !call.options.once && job.failed < LOSSES);
        if !is_success && !job.sink.is_cancelled() && goes_again {
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
    /// Returns the number of chunks with unfinished tasks.
    fn chunks(&self) -> usize {
        job::chunks(self.job.count.saturating_sub(self.done), self.chunk)
    }

    /// Counts tasks that are finished. Returns how many chunks that finishes.
    fn go_on(&mut self, tasks: u32) -> usize {
        let before = self.chunks();
        self.done = self.done.saturating_add(tasks);
        before.saturating_sub(self.chunks())
    }

    /// Delivers the answers that were gathered.
    fn flush(&mut self, tag: &Arc<Tag>, delivered: &mut Vec<Arc<dyn Sink>>) {
        // Not by the answers: there may be fewer, of a worker that lies.
        if self.done > self.delivered {
            let answers = mem::take(&mut self.answers);
            self.deliver(Content::Answers(answers), tag, delivered);
        }
    }

    /// `flush`, when the last finished task is not among the gathered answers.
    fn flush_but_last(&mut self, tag: &Arc<Tag>, delivered: &mut Vec<Arc<dyn Sink>>) {
        self.done = self.done.saturating_sub(1);
        self.flush(tag, delivered);
        self.done = self.done.saturating_add(1);
    }

    /// Delivers the outcomes of the finished tasks that were not delivered yet.
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
        // Each sink once in a row is enough; waking it twice does no harm.
        if !delivered.last().is_some_and(|last| Arc::ptr_eq(last, &self.job.sink)) {
            delivered.push(Arc::clone(&self.job.sink));
        }
    }
}

/// Returns the failure that a reply other than a value stands for, with its reason.
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
        Reply::Failed => failures::decode(reason),
        // Not failures: a worker that sends them here counts wrongly.
        Reply::Ready | Reply::Returned | Reply::BadResult | Reply::Block => {
            Failure::BadResult(text())
        }
    }
}
