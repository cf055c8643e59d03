//! What goes into the scheduler and what comes out of it.
//!
//! Workers are named by their place in the pool, counted from 0. A place has one worker at a time.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::job::{CallId, Tag};
use super::state::Words;
use crate::error::Failure;

/// Something that happened.
pub(crate) enum Event<'a> {
    /// A worker was started.
    Started { place: usize, tag: Arc<Tag>, fd_quota: usize },
    /// A worker could not be started.
    StartFailed { place: usize, reason: String },
    /// A worker sent a message. The scheduler may take what is in it.
    Heard { place: usize, message: &'a mut Vec<u8>, fds: Vec<Arc<OwnedFd>> },
    /// All messages that a worker had published were reported, and this is how it stands.
    Listened { place: usize, words: Words, link: Link },
    /// A job did not fit into the link whole.
    Full { place: usize },
    /// [`Action::Recall`] was carried out: the worker begins nothing that is not begun by now.
    Recalled { place: usize, words: Words, why: Recall },
    /// The answer to [`Action::Weigh`]: private memory in bytes, if it could be told.
    Weighed { place: usize, bytes: Option<u64> },
    /// The system forbids this program to signal the worker, which was told to leave.
    Unkillable { place: usize },
    /// A worker is gone. All that it had published was reported before.
    Ended {
        place: usize,
        words: Words,
        /// Number of answers that it had written and not published, and their frames.
        unpublished: Option<(u32, &'a [u8])>,
        /// How it ended.
        why: Failure,
    },
    /// The pool takes no more tasks.
    Closed,
    /// The pool does no more tasks.
    Terminated,
    /// Nobody wants the outcomes of a call any more; `kills` those of its tasks that run.
    Cancelled { call: CallId, kills: bool },
    /// All tasks that no worker has begun are called off.
    PendingCancelled,
    /// Time has passed.
    Tick,
    /// The host has failed and carries out no more actions. Workers are reported as ended next.
    Abandoned,
}

/// How a link stands after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Open, and all that the worker was given has gone into it.
    Open,
    /// Open, but there is more to go out than it has room for. The host listens again when there
    /// is room, and at this time if nothing tells it of that.
    Full { retry_at: Option<Instant> },
    /// The worker's end is gone, or the stream on it makes no sense.
    Ended,
    /// It is of no use any more, for this reason of this program's.
    Broken(&'static str),
}

/// Something to be done. The host carries actions out in the order in which they come.
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
    /// Send SIGKILL to the worker and all that it started.
    Kill { place: usize },
    /// Forget a worker that cannot be signalled: answer with [`Event::Ended`].
    GiveUp { place: usize },
    /// Start a worker: answer with [`Event::Started`] or [`Event::StartFailed`].
    Start { place: usize },
}

/// Why tasks are taken back from a worker, which decides what becomes of them.
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
