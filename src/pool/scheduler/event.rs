//! The scheduler's inputs and outputs: events and actions.
//!
//! Workers are named by their place in the pool, counted from 0. A place has one worker at a time:
//! an event that names a place is of the worker that is there now, which the host sees to.
//!
//! For each worker, the host reports events in this order: `Started`, then any number of `Heard`,
//! each batch closed by `Listened` or `Recalled`, then `Ended`. All other events may come at any
//! time.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::job::{CallId, Tag};
use super::state::Words;
use crate::error::Failure;

/// Something that happened.
pub(crate) enum Event<'a> {
    /// A worker was started in a place that was empty.
    Started { place: usize, tag: Arc<Tag>, fd_quota: usize },
    /// A worker could not be started; the place is still empty.
    StartFailed { place: usize, reason: String },
    /// A worker sent a message. The scheduler may take the message and its descriptors.
    Heard { place: usize, message: &'a mut Vec<u8>, fds: Vec<Arc<OwnedFd>> },
    /// All messages that a worker had published by now were reported; its words and its link stand
    /// like this. The words were read after the messages.
    Listened { place: usize, words: Words, link: Link },
    /// The job that was given last did not fit into the link whole: give no more until `Listened`.
    Full { place: usize },
    /// [`Action::Recall`] was carried out: the worker begins nothing that is not begun in `words`,
    /// and all that it had published was reported.
    Recalled { place: usize, words: Words, why: Recall },
    /// The answer to [`Action::Weigh`]: private memory in bytes; `None` if it could not be
    /// measured.
    Weighed { place: usize, bytes: Option<u64> },
    /// The answer to [`Action::Kill`] if the system forbids it. The worker was told to leave
    /// instead.
    Unkillable { place: usize },
    /// A worker is gone, and its place is empty. All that it had published was reported before.
    Ended {
        place: usize,
        words: Words,
        /// Number of answers that it had written and not published, and their frames.
        unpublished: Option<(u32, &'a [u8])>,
        /// The way it ended: the failure of the task that it was running, if the pool has no better
        /// reason.
        why: Failure,
    },
    /// The user has closed the pool: it takes no more tasks.
    Closed,
    /// The user has terminated the pool: it does no more tasks.
    Terminated,
    /// The user has cancelled a call: nobody wants its outcomes any more. With `kills`, those of
    /// its tasks that run are killed.
    Cancelled { call: CallId, kills: bool },
    /// The user has cancelled all tasks that no worker has begun.
    PendingCancelled,
    /// Time has passed; the host sends this at the time of
    /// [`next_look`](super::scheduler::Scheduler::next_look) at the latest.
    Tick,
    /// No worker can be had, for this reason, and waiting would not help.
    Hopeless { why: String },
    /// The host has failed and carries out no more actions. It reports all workers as ended next.
    Abandoned,
}

/// The state of a link to a worker after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Open, and all that the worker was given has gone into it.
    Open,
    /// Open, but there is more to go out than it has room for. The host listens again when there is
    /// room; at this time if nothing tells it so.
    Full { retry_at: Option<Instant> },
    /// The worker's end is gone, or what it sends makes no sense.
    Ended,
    /// Of no use any more, for this reason of this program's.
    Broken(&'static str),
}

/// Something to be done. The host carries actions out in the order in which they come, each before
/// it asks for the next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send the job that was entered last in the worker's ledger.
    Give { place: usize },
    /// Read what the worker has published: answer with [`Event::Listened`].
    Listen { place: usize },
    /// Keep the worker from beginning what it has not begun: answer with [`Event::Recalled`].
    Recall { place: usize, why: Recall },
    /// Measure the worker's private memory: answer with [`Event::Weighed`].
    Weigh { place: usize },
    /// Send SIGCONT if somebody has stopped the worker.
    Continue { place: usize },
    /// Tell the worker to leave, by ending its link.
    Dismiss { place: usize },
    /// Send SIGTERM to the worker and all that it started.
    Terminate { place: usize },
    /// Send SIGKILL to the worker and all that it started; answer with [`Event::Unkillable`] if
    /// that is forbidden.
    Kill { place: usize },
    /// Forget a worker that cannot be signalled: answer with [`Event::Ended`].
    GiveUp { place: usize },
    /// Start a worker: answer with [`Event::Started`] or [`Event::StartFailed`].
    Start { place: usize },
}

/// The reason to take tasks back from a worker. It decides what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    /// Other workers have nothing to do.
    Share,
    /// The worker has reached its limit of tasks or memory.
    Spent,
    /// Its task is past its deadline, or, if `is_frozen`, was not begun in time.
    Overdue { is_frozen: bool },
    /// A call was cancelled; `kills` the worker if it runs one of its tasks.
    Cancelled { call: CallId, kills: bool },
    /// The time of a whole call is up.
    Expired { call: CallId },
    /// All tasks that are not begun were called off.
    Pending,
    /// The pool was terminated, or cannot go on.
    Terminated,
}
