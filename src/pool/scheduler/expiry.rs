//! The time that a whole call has.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::job::{CallId, Job, Sink};
use crate::error::Failure;
use crate::limits::LimitReached;

/// The calls whose tasks have, all together, so much time.
#[derive(Default)]
pub(super) struct Expiries(Vec<Expiry>);

struct Expiry {
    call: CallId,
    /// Tells whether anybody is left who has tasks of the call or waits for them.
    sink: Weak<dyn Sink>,
    total: Duration,
    /// When the time is up; `None` for never, or if that was seen to.
    at: Option<Instant>,
    is_over: bool,
}

impl Expiries {
    /// Enters a job of a call. The time of the call begins with the first of its jobs. Returns
    /// when it ends, if this is the first.
    ///
    /// # Errors
    /// The time of the call is up.
    pub(super) fn enter(&mut self, job: &Job, now: Instant) -> Result<Option<Instant>, Failure> {
        let call = job.sink.call();
        let Some(total) = call.options.total else { return Ok(None) };
        if let Some(known) = self.0.iter().find(|known| known.call == call.id) {
            return if known.is_over { Err(expired(total)) } else { Ok(None) };
        }
        self.0.retain(|known| known.sink.strong_count() > 0);
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

    /// Takes a call whose time is up.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        let due = self.0.iter_mut().find(|known| known.at.is_some_and(|at| at <= now))?;
        due.at = None;
        due.is_over = true;
        Some(due.call)
    }

    /// Returns the time that a call has.
    pub(super) fn total_of(&self, call: CallId) -> Option<Duration> {
        self.0.iter().find(|known| known.call == call).map(|known| known.total)
    }
}

/// Returns the failure of a task that was not done when the time of its call was up.
pub(super) fn expired(total: Duration) -> Failure {
    Failure::Limit(LimitReached::Deadline(total))
}
