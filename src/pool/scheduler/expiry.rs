//! The time that all tasks of one call have together: [`Tasks::overall_deadline`].
//!
//! The time of a call begins when its first job is submitted. When it is up, what waits fails, what
//! workers have is taken back and fails, and workers that run a task of the call are killed. Jobs
//! of the call that are submitted later fail at once, so an entry is kept as long as anybody has a
//! job of the call or waits for its outcomes.
//!
//! [`Tasks::overall_deadline`]: crate::Tasks::overall_deadline

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::job::{CallId, Job, Sink};
use crate::error::Failure;
use crate::limits::LimitReached;

/// The calls that have such a time. A list, as there are few: it is searched at each job of such a
/// call only.
#[derive(Default)]
pub(super) struct Expiries(Vec<Expiry>);

/// The time of one call.
struct Expiry {
    call: CallId,
    /// Alive as long as anybody has jobs of the call or waits for them.
    sink: Weak<dyn Sink>,
    /// The time that the call has, for error texts.
    total: Duration,
    /// End of the time; `None` for never, or once it was handled.
    at: Option<Instant>,
    /// True once the time was up.
    is_over: bool,
}

impl Expiries {
    /// Enters a job that is being submitted. Returns when the time of its call ends, if this is the
    /// first job of the call.
    ///
    /// # Errors
    /// The time of the call is up: the job is not to be queued.
    pub(super) fn enter(&mut self, job: &Job, now: Instant) -> Result<Option<Instant>, Failure> {
        let call = job.sink.call();
        let Some(total) = call.options.total else { return Ok(None) };
        // Not the first job of the call: its time is running, or was up.
        if let Some(known) = self.0.iter().find(|known| known.call == call.id) {
            return if known.is_over { Err(expired(total)) } else { Ok(None) };
        }
        // Forgets the calls that are done, whenever a new one comes.
        self.0.retain(|known| known.sink.strong_count() > 0);
        // `None` beyond what the clock can count: never.
        let at = now.checked_add(total);
        let sink = Arc::downgrade(&job.sink);
        self.0.push(Expiry { call: call.id, sink, total, at, is_over: false });
        Ok(at)
    }

    /// Returns when the time of a call is up next.
    pub(super) fn next(&self) -> Option<Instant> {
        let pending = self.0.iter().filter(|known| known.sink.strong_count() > 0);
        pending.filter_map(|known| known.at).min()
    }

    /// Takes one call whose time is up, once.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        let due = self.0.iter_mut().find(|known| known.at.is_some_and(|at| at <= now))?;
        // Stays in the list, for jobs that are submitted later.
        due.at = None;
        due.is_over = true;
        Some(due.call)
    }

    /// Returns the time that a call has, if it has one.
    pub(super) fn total_of(&self, call: CallId) -> Option<Duration> {
        self.0.iter().find(|known| known.call == call).map(|known| known.total)
    }
}

/// The failure of a task that was not done when the time of its call was up.
pub(super) fn expired(total: Duration) -> Failure {
    Failure::Limit(LimitReached::Deadline(total))
}
