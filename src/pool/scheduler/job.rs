//! A chunk of tasks of one function, as it waits for a worker, and what becomes of it.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::retry::Retry;
use crate::error::Failure;
use crate::limits::Limits;
use crate::pool::protocol::messages;
use crate::sys::program::code::Offset;

/// Describes what the tasks of one call of the pool have in common.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    /// `None` is one that no job has: what cannot be found in a worker is refused before.
    pub(crate) entry: Option<Offset>,
    pub(crate) function: &'static str,
    pub(crate) options: Arc<Options>,
    /// True if it has more than one task.
    pub(crate) is_map: bool,
    /// True if its function returns nothing, so that `exit(0)` is a success.
    pub(crate) returns_nothing: bool,
    /// Nanoseconds that one takes, as seen last; 0 is not known.
    pace: AtomicU64,
}

/// Tells a call from all others of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId(u64);

impl CallId {
    fn new() -> CallId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        CallId(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Describes how tasks are to be run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(crate) retry: Retry,
    pub(crate) limits: Limits,
    pub(crate) chunk_size: Option<usize>,
    /// Time that all tasks of the call have together, from the first that is handed out.
    pub(crate) total: Option<Duration>,
}

impl Call {
    pub(crate) fn new(
        entry: Option<Offset>,
        function: &'static str,
        options: Arc<Options>,
        is_map: bool,
    ) -> Call {
        let (returns_nothing, pace) = (false, AtomicU64::new(0));
        Call { id: CallId::new(), entry, function, options, is_map, returns_nothing, pace }
    }

    /// Returns what a task is called in errors.
    pub(crate) fn label(&self, number: u64) -> String {
        let name = self.options.name.as_deref().unwrap_or(self.function);
        if self.is_map { format!("{name}[{number}]") } else { name.to_owned() }
    }

    pub(crate) fn pace(&self) -> u64 {
        self.pace.load(Ordering::Relaxed)
    }

    /// Takes note of how long a task took.
    pub(crate) fn took(&self, nanoseconds: u64) {
        let old = self.pace();
        let new = if old == 0 {
            nanoseconds
        } else {
            old.saturating_mul(3).saturating_add(nanoseconds) / 4
        };
        self.pace.store(new.max(1), Ordering::Relaxed);
    }
}

/// Describes who waits for what becomes of tasks.
pub(crate) trait Sink: Send + Sync {
    fn call(&self) -> &Call;

    /// Takes what became of some. Called with the scheduler locked: it only keeps it.
    fn deliver(&self, delivery: Delivery);

    /// Wakes who waits. Called with nothing locked.
    fn wake(&self);

    /// Returns whether nobody wants to know any more.
    fn is_cancelled(&self) -> bool;
}

/// A chunk of tasks.
pub(crate) struct Job {
    pub(crate) sink: Arc<dyn Sink>,
    /// The number of the first in its call.
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// Counts how often its only task failed before.
    pub(crate) failed: u32,
    /// Counts how often a worker had it and did not begin it.
    pub(crate) put_off: u32,
    /// Place of the worker that is to have it; `None` for any.
    pub(crate) place: Option<usize>,
    /// The arguments of each, framed.
    pub(crate) bytes: Vec<u8>,
    /// The descriptors that come with the arguments of a job of one task.
    pub(crate) fds: Vec<Arc<OwnedFd>>,
}

impl Job {
    /// Cuts off all tasks from the `at`th on.
    pub(crate) fn split_off(&mut self, at: u32) -> Option<Job> {
        if at >= self.count {
            return None;
        }
        let place = self.place_of(at);
        let bytes = self.bytes.split_off(place);
        let rest = Job {
            sink: Arc::clone(&self.sink),
            first: self.first.saturating_add(at.into()),
            count: self.count.saturating_sub(at),
            failed: self.failed,
            put_off: self.put_off,
            place: self.place,
            bytes,
            fds: if at == 0 { mem::take(&mut self.fds) } else { Vec::new() },
        };
        self.count = at;
        Some(rest)
    }

    /// A job of one of its tasks, by its number in the call, that failed so often.
    pub(crate) fn one(&self, number: u64, failed: u32) -> Job {
        let place = u32::try_from(number.saturating_sub(self.first)).unwrap_or(u32::MAX);
        let (start, end) = (self.place_of(place), self.place_of(place.saturating_add(1)));
        let bytes = self.bytes[start..end].to_vec();
        let fds = if self.count == 1 { self.fds.clone() } else { Vec::new() };
        Job {
            sink: Arc::clone(&self.sink),
            first: number,
            count: 1,
            failed,
            put_off: 0,
            place: self.place,
            bytes,
            fds,
        }
    }

    /// Where the arguments of a task are.
    fn place_of(&self, number: u32) -> usize {
        let mut place = 0;
        for _ in 0..number {
            if messages::next_frame(&self.bytes, &mut place).is_none() {
                break;
            }
        }
        place
    }
}

/// Where a task ran.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

/// Describes what became of some tasks of a call that follow each other.
pub(crate) struct Delivery {
    /// The number of the first.
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) content: Content,
    pub(crate) worker: Option<Arc<Tag>>,
    /// Counts how often they were tried.
    pub(crate) attempts: u32,
}

pub(crate) enum Content {
    /// A verdict and what belongs to it for each, framed.
    Answers(Vec<u8>),
    /// The message with the verdict of the only one, a long one or one with descriptors.
    Message { bytes: Vec<u8>, fds: Vec<Arc<OwnedFd>> },
    /// Says what befell the only one, or all of them.
    Failed(Failure),
}

/// Returns what befell one task of several to which the same happened. (What the system said goes
/// as a text: it cannot be doubled.)
pub(crate) fn again(failure: &Failure) -> Failure {
    match failure {
        Failure::Cancelled(reason) => Failure::Cancelled(reason.clone()),
        Failure::NotRun(reason) => Failure::NotRun(reason.clone()),
        Failure::BadArguments(reason) => Failure::BadArguments(reason.clone()),
        other => Failure::NotRun(other.to_string()),
    }
}

/// A chunk in so many pieces and one.
pub(crate) fn split(back: Vec<Job>, pieces: u32) -> Vec<Job> {
    let mut all = Vec::new();
    for mut job in back {
        let each = job.count.div_ceil(pieces.saturating_add(1)).max(1);
        while let Some(rest) = job.split_off(each) {
            all.push(mem::replace(&mut job, rest));
        }
        all.push(job);
    }
    all
}
