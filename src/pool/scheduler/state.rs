//! The life of a worker, as a state machine.
//!
//! ```text
//!            ready                 limit reached             idle
//! Starting --------> Serving --------------------> Retiring -----> Ending (dismissed)
//!     |                 |                              |               |
//!     +-----------------+--------- killed, or ---------+               | time is up
//!                       |      its link has ended                      v
//!                       +---------------------------> Ending --------> Ending (SIGKILL sent)
//! ```
//!
//! A worker in any state may die. Its death is the event [`Ended`](super::event::Event::Ended),
//! after which it has no state: its place is empty.
//!
//! The pool bounds the time in `Ending` by [`Due`], and the time that a ready worker takes to begin
//! a task by [`STUCK`](super::worker::STUCK). It does not bound `Starting`, as an initializer may
//! take as long as it needs, nor a task without a deadline; either ends when the pool is
//! terminated.

use std::time::{Duration, Instant};

/// The stage of a worker's life. Changes only in the one scheduler that owns it.
#[derive(Debug)]
pub(crate) enum WorkerState {
    /// Started, and has not reported that it is ready. It may be given tasks, which wait in its
    /// ring.
    Starting,
    /// Ready, and takes tasks.
    Serving,
    /// Past its task or memory limit: takes no more tasks, and is dismissed once it is idle.
    Retiring,
    /// On its way out: takes no more tasks, and its last answers still count.
    Ending { cause: Cause, due: Due },
}

/// The cause of a worker's end.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The pool told it to leave, as it had nothing to do any more.
    Dismissed,
    /// Its end of the link is gone, so it is about to end by itself.
    LinkLost,
    /// The pool ends it.
    Killed(KillReason),
}

/// The next step towards the end of a worker that is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// SIGKILL is sent at this time; `None` is a time that never comes.
    KillAt(Option<Instant>),
    /// SIGKILL was sent; the worker's end has yet to be reported.
    KillSent,
    /// This program may not signal the worker. It is given up at this time, if it has not ended by
    /// then.
    GiveUpAt(Option<Instant>),
    /// Given up: the host has been asked to forget it.
    GivenUp,
}

/// The pool's reason to end a worker.
#[derive(Debug)]
pub(crate) enum KillReason {
    /// Its task took longer than this deadline.
    Deadline(Duration),
    /// The task that it was running was cancelled.
    Cancelled,
    /// The pool was terminated.
    Terminated,
    /// It did what no working worker does: what that was.
    Rogue(&'static str),
}

/// The number of tasks that a worker has begun of which that is not known: all that it was given
/// may have been begun.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// A reading of the memory that a worker shares with its pool. None of it is to be
/// trusted beyond the worker's own tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Number of tasks that it has claimed since it started.
    pub(crate) begun: u64,
    /// True if it was recalled, and has not come to what opens its claim word again.
    pub(crate) is_closed: bool,
    /// Time since the task that it claimed last with a deadline.
    pub(crate) running_for: Duration,
    /// Time that it has spent on tasks so far.
    pub(crate) busy: Duration,
    /// Time of the reading.
    pub(crate) read_at: Instant,
}

impl WorkerState {
    /// Returns whether the worker may be given tasks.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, WorkerState::Starting | WorkerState::Serving)
    }

    /// Returns why the pool ends the worker, if it does.
    pub(crate) fn kill_reason(&self) -> Option<&KillReason> {
        match self {
            WorkerState::Ending { cause: Cause::Killed(reason), .. } => Some(reason),
            _ => None,
        }
    }

    /// Returns whether there is a link to the worker: not after it was dismissed, or told to leave
    /// as it cannot be signalled.
    pub(crate) fn has_link(&self) -> bool {
        !matches!(
            self,
            WorkerState::Ending { cause: Cause::Dismissed, .. }
                | WorkerState::Ending { due: Due::GiveUpAt(_) | Due::GivenUp, .. }
        )
    }

    /// Returns when the next step towards its end is due.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        match self {
            WorkerState::Ending { due: Due::KillAt(at) | Due::GiveUpAt(at), .. } => *at,
            _ => None,
        }
    }

    /// Makes the worker end: killed at `at`, or earlier if that was decided before. The first
    /// reason to kill it stays, as it is the one that its task fails with; a kill is a stronger
    /// cause than a dismissal or a lost link.
    pub(crate) fn end(&mut self, cause: Cause, at: Option<Instant>) {
        match self {
            WorkerState::Ending { cause: old, due } => {
                if matches!((&*old, &cause), (Cause::Dismissed | Cause::LinkLost, Cause::Killed(_)))
                {
                    *old = cause;
                }
                // Never later than was decided: a second reason must not give it more time.
                if let Due::KillAt(old) = due {
                    *old = (*old).into_iter().chain(at).min();
                }
            }
            _ => *self = WorkerState::Ending { cause, due: Due::KillAt(at) },
        }
    }
}
