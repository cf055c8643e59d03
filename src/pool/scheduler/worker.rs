//! The scheduler's record of one worker: its state, its ledger, the last reading of its memory, and
//! the time at which to look at it next.
//!
//! A worker that has more to do publishes outcomes without waking the pool, and a hostile one may
//! never wake it. So a worker from which something may be due (more outcomes, the begin of its
//! task, the end of one with a deadline) also has a time at which it is heard unasked (`look_at`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Job, Tag};
use super::ledger::Ledger;
use super::policy::Distance;
use super::state::{Cause, KillReason, Words, WorkerState};
use crate::pool::protocol::messages::WAKE_INTERVAL;

/// Chunks that a worker has, at the least: the one that it runs, and the next.
const MIN_JOBS: usize = 2;

/// Chunks that a worker has, at the most.
const MAX_JOBS: u64 = 1024;

/// Longest time that a worker has to begin a task, whatever its deadline. A worker that takes
/// longer was stopped by somebody, and its tasks go to others.
pub(crate) const STUCK: Duration = Duration::from_secs(5);

/// Time after which a task that its worker has not begun goes to another worker, if one waits.
pub(crate) const NOT_BEGUN: Duration = Duration::from_millis(200);

/// A worker that was started and has not ended.
pub(crate) struct WorkerRecord {
    /// The stage of its life.
    pub(crate) state: WorkerState,
    /// Its tasks, and their outcomes.
    pub(crate) ledger: Ledger,
    /// The last reading of its memory.
    words: Words,
    /// True while more is to go out to it than its link has room for: it gets no more jobs.
    pub(crate) is_full: bool,
    /// True between the decision to take tasks back and the event that answers it, so that it is
    /// not decided twice.
    pub(crate) is_recalling: bool,
    /// Number of tasks that were finished at the last recall, unless it was given more since: to
    /// recall it again before it has finished another would bring nothing.
    taken_back_at: Option<u64>,
    /// Time of its start.
    pub(crate) started: Instant,
    /// Time at which to hear it next, whether or not it wakes the pool.
    pub(crate) look_at: Option<Instant>,
    /// Time of the last check whether somebody has stopped it.
    pub(crate) checked_for_stop: Instant,
    /// Number of tasks finished, and whether it had reported its start, when it was heard last.
    heard: (u64, bool),
    /// Time at work, and number of tasks finished, when its pace was measured last.
    paced: (Duration, u64),
    /// Nanoseconds that a chunk of its jobs takes; 0 while that is not known.
    pace: u64,
    /// Private memory in bytes when it became ready.
    pub(crate) resident: Option<u64>,
    /// Time of the last measurement of its memory, and the number of tasks finished then.
    pub(crate) weighed: (Instant, u64),
    /// The way to it.
    distance: Distance,
}

impl WorkerRecord {
    /// A worker that was just started and has been given nothing.
    pub(crate) fn new(
        tag: Arc<Tag>,
        fd_quota: usize,
        distance: Distance,
        now: Instant,
    ) -> WorkerRecord {
        let words = Words {
            begun: 0,
            is_closed: false,
            running_for: Duration::ZERO,
            busy: Duration::ZERO,
            read_at: now,
        };
        WorkerRecord {
            state: WorkerState::Starting,
            ledger: Ledger::new(tag, fd_quota, now),
            words,
            is_full: false,
            is_recalling: false,
            taken_back_at: None,
            started: now,
            look_at: None,
            checked_for_stop: now,
            heard: (0, false),
            paced: (Duration::ZERO, 0),
            pace: 0,
            resident: None,
            weighed: (now, 0),
            distance,
        }
    }

    /// Returns whether it has reported that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.ledger.ready, Some(Ok(())))
    }

    /// Returns whether it has no tasks.
    pub(crate) fn is_idle(&self) -> bool {
        self.ledger.jobs() == 0
    }

    /// Returns whether it would run a task at once if it were given one.
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.is_open() && self.is_ready() && self.is_idle() && !self.is_stalled()
    }

    /// Returns whether it was recalled between two tasks and has not reacted to that, as of its
    /// words: it may have been stopped, or have no processor.
    pub(crate) fn is_stalled(&self) -> bool {
        self.words.is_closed && !self.is_running()
    }

    /// Returns whether it runs a task, as of its words.
    pub(crate) fn is_running(&self) -> bool {
        self.words.begun > self.ledger.finished
    }

    /// Returns when tasks that it has could go to another worker; `None` if it has none to give, as
    /// far as is known: those that it has claimed do not come back.
    pub(crate) fn shares_at(&self, now: Instant) -> Option<Instant> {
        if !self.state.is_open()
            || self.is_recalling
            || self.taken_back_at == Some(self.ledger.finished)
        {
            return None;
        }
        // A time beyond what the clock can count is no time to share at.
        let at = |wait| self.ledger.since.checked_add(wait).map(|at| at.max(now));
        if self.ledger.has_several() {
            return at(self.distance.late);
        }
        // Its only task, if it was not begun by then.
        let is_seen = self.not_begun_by().is_some_and(|by| self.words.read_at >= by);
        if is_seen { at(NOT_BEGUN) } else { None }
    }

    /// Returns by when it is to have begun the first task that it has; `None` if it has begun one,
    /// or if it is elsewhere, where that is not known.
    fn not_begun_by(&self) -> Option<Instant> {
        if self.is_idle() || self.is_running() || self.distance.is_remote {
            return None;
        }
        self.ledger.since.checked_add(NOT_BEGUN)
    }

    /// Returns the number of chunks that it may have in addition.
    pub(crate) fn room(&self) -> usize {
        if self.is_full {
            return 0;
        }
        // As many chunks as take `ahead`: long tasks stay in the queue, where any worker can get
        // them.
        let ahead = self.distance.ahead;
        let most = match self.pace {
            0 => MIN_JOBS,
            pace => usize::try_from(ahead.checked_div(pace).unwrap_or(0).min(MAX_JOBS))
                .unwrap_or(MIN_JOBS)
                .max(MIN_JOBS),
        };
        most.saturating_sub(self.ledger.chunks())
    }

    /// Returns how long the chunks take that it has; `None` while that is not known.
    pub(crate) fn work_ahead(&self) -> Option<Duration> {
        let chunks = self.ledger.chunks() as u64;
        (self.pace > 0).then(|| Duration::from_nanos(self.pace.saturating_mul(chunks)))
    }

    /// Returns the number of tasks that it has finished or has.
    pub(crate) fn tasks_taken(&self) -> u64 {
        self.ledger.finished.saturating_add(self.ledger.tasks())
    }

    /// Enters a job that it is given.
    pub(crate) fn give(&mut self, job: Job, now: Instant) {
        let has_several = job.count > 1;
        // One that has not begun what it had before does not get more time for that.
        let since = if self.is_stalled() { self.ledger.since } else { now };
        self.ledger.enter(job, since);
        self.taken_back_at = None;
        // It publishes the first of several without waking the pool.
        if has_several || self.ledger.jobs() > 1 {
            self.look_soon(now);
        }
        self.look_when_due(now);
    }

    /// Takes in its words, after all that it had published was heard.
    pub(crate) fn listened(&mut self, words: Words, now: Instant) {
        let has_reacted = self.words.is_closed && !words.is_closed;
        self.words = words;
        // What is finished of a chunk goes to the user now: the rest may take long.
        self.ledger.flush();
        self.look_at = None;
        let heard = (self.ledger.finished, self.ledger.ready.is_some());
        // Something has come since: more may follow without a wake-up.
        if heard != self.heard || has_reacted {
            self.heard = heard;
            // Something has come of it, so its next task begins at this time, at the latest.
            self.ledger.since = now;
            if self.ledger.jobs() > 0 {
                self.look_soon(now);
            }
        }
        if self.is_stalled() {
            self.look_for_life(now);
        }
        self.measure_pace();
        self.look_when_due(now);
    }

    /// Takes back all that it has not begun, by words that were read after its claim word was
    /// closed.
    pub(crate) fn take_back(&mut self, words: Words, now: Instant) -> Vec<Job> {
        self.is_recalling = false;
        self.listened(words, now);
        let back = self.ledger.take_back(self.words.begun);
        self.taken_back_at = Some(self.ledger.finished);
        self.look_soon(now);
        back
    }

    /// Schedules another hearing soon, as it may publish something without waking the pool.
    fn look_soon(&mut self, now: Instant) {
        // From elsewhere nothing comes unheard.
        if self.distance.is_remote {
            return;
        }
        self.look_by(now.checked_add(WAKE_INTERVAL.saturating_mul(2)));
    }

    /// Schedules a hearing of a worker that does not react: it tells nobody when it goes on. At
    /// intervals that double, as it may have been stopped for long.
    fn look_for_life(&mut self, now: Instant) {
        let waits = now.saturating_duration_since(self.ledger.since);
        self.look_by(now.checked_add(waits.max(WAKE_INTERVAL)));
    }

    /// Schedules a hearing for when its task could be overdue, at the earliest, or has to be begun.
    fn look_when_due(&mut self, now: Instant) {
        self.look_by(self.not_begun_by().filter(|by| *by > now));
        let Some(left) = self.time_left(now) else { return };
        // A task that begins at this moment is overdue after its own deadline at the earliest.
        let own = self.ledger.head().and_then(|job| job.sink.call().options.deadline);
        // A time beyond what the clock can count never comes.
        self.look_by(now.checked_add(left.min(own.unwrap_or(left))));
    }

    /// Schedules a hearing for this time, at the latest.
    pub(crate) fn look_by(&mut self, at: Option<Instant>) {
        self.look_at = self.look_at.into_iter().chain(at).min();
    }

    /// Returns how much longer the task that it runs may take, or the task that it has not begun
    /// may be waited for; `None` for as long as it likes.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        let deadline = self.ledger.head()?.sink.call().options.deadline;
        // It is ended already; its grace is what counts now.
        if self.state.kill_reason().is_some() {
            return None;
        }
        let waits = now.saturating_duration_since(self.ledger.since);
        let slack = self.distance.slack;
        if self.is_running() {
            let since_read = now.saturating_duration_since(self.words.read_at);
            let ran = self.words.running_for.saturating_add(since_read);
            // The start is what the worker says. It is believed for a while only: a hostile worker
            // says what it likes, and its task has been waited for since `since` at least.
            let ran = ran.max(waits.saturating_sub(slack));
            return deadline.map(|deadline| deadline.saturating_sub(ran));
        }
        // Elsewhere, a task may be on its way for long: whoever brings it there sees to it.
        if self.distance.is_remote {
            return None;
        }
        // A worker that is ready begins at once; if not, somebody has stopped it.
        let begins = deadline
            .map_or(STUCK, |deadline| deadline.saturating_mul(2).saturating_add(slack).min(STUCK));
        self.is_ready().then(|| begins.saturating_sub(waits))
    }

    /// Measures how long its tasks and jobs take, by its own account of the time at work: three
    /// parts of what was known, one of what is new.
    fn measure_pace(&mut self) {
        let now = (self.words.busy, self.ledger.finished);
        let busy = now.0.saturating_sub(self.paced.0);
        let finished = now.1.saturating_sub(self.paced.1);
        // Nothing to divide: the next measurement includes this time.
        if finished == 0 || busy.is_zero() {
            return;
        }
        self.paced = now;
        let nanoseconds = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        // A mean over all tasks since the last time, as the worker reads its clock at strides only.
        let each = nanoseconds.checked_div(finished).unwrap_or(0);
        if let Some(job) = self.ledger.head() {
            job.sink.call().took(each);
            let job = each.saturating_mul(u64::from(job.count.min(job.chunk())));
            let old = self.pace;
            self.pace =
                if old == 0 { job } else { (old / 4).saturating_mul(3).saturating_add(job / 4) };
        } else {
            // It has finished all: the call is that of its last outcome.
            if let Some(sink) = self.ledger.delivered.last() {
                sink.call().took(each);
            }
            self.pace = each;
        }
        // 0 stands for "not known".
        self.pace = self.pace.max(1);
    }

    /// Returns whether its memory is to be measured: when it is idle and has finished something
    /// since the last time, or busy and not measured for a while.
    pub(crate) fn is_to_be_weighed(&self, now: Instant) -> bool {
        /// Time between two measurements of a busy worker.
        const INTERVAL: Duration = Duration::from_millis(50);
        let (at, finished) = self.weighed;
        let is_due = now.saturating_duration_since(at) >= INTERVAL;
        self.resident.is_some() && ((self.is_idle() && finished < self.ledger.finished) || is_due)
    }

    /// Ends it: by SIGKILL, once `grace` has passed. The caller sends SIGTERM.
    pub(crate) fn end(&mut self, reason: KillReason, grace: Duration, now: Instant) {
        self.state.end(Cause::Killed(reason), now.checked_add(grace));
    }

    /// Returns the time that it has spent on tasks, as of its words.
    pub(crate) fn busy(&self) -> Duration {
        self.words.busy
    }

    /// Takes in its words after its end, which are the last.
    pub(crate) fn ended(&mut self, words: Words) {
        self.words = words;
    }

    /// Returns the number of tasks that it has claimed, as of its words.
    pub(crate) fn begun(&self) -> u64 {
        self.words.begun
    }
}
