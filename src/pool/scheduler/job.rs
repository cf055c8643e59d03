//! Jobs: chunks of tasks of one function, as they wait for a worker, and the deliveries of what
//! came of them.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::retry::Retry;
use crate::error::Failure;
use crate::limits::Limits;
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::messages;
use crate::sys::program::code::Offset;
#[cfg(feature = "tracing")]
use crate::trace::origin::Origin;
use crate::trace_context;

/// The common part of all tasks of one call of the pool. Shared by all jobs of the call.
#[derive(Debug)]
pub(crate) struct Call {
    /// Identifies the call.
    pub(crate) id: CallId,
    /// The function's entry in this program's code. `None` for code of a dynamic library: such a
    /// call is refused before it has jobs.
    pub(crate) entry: Option<Offset>,
    /// Path of the function, which names the tasks unless the user has.
    pub(crate) function: &'static str,
    /// Settings of the tasks.
    pub(crate) options: Arc<Options>,
    /// True if the call has numbered tasks.
    pub(crate) is_map: bool,
    /// True if the function's result has no size, so that `exit(0)` counts as success.
    pub(crate) returns_nothing: bool,
    /// Nanoseconds that a task takes, a moving average; 0 while that is not known. Written with the
    /// driver locked, read by the chunker without.
    pace: AtomicU64,
    /// The context of the trace that the call is part of.
    pub(crate) context: Option<Arc<str>>,
    /// The span that was current where the call was made.
    #[cfg(feature = "tracing")]
    pub(crate) origin: Origin,
    /// The number that a pool elsewhere has given its only job, which is run here for that pool,
    /// and the greatest level of spans and events that it wants.
    #[cfg(feature = "tracing")]
    pub(crate) traced: Option<(u64, u8)>,
}

/// Identifies a call among all of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallId(u64);

impl CallId {
    /// An id that no call has had.
    fn new() -> CallId {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Relaxed: the numbers need only differ. 64 bits do not run out.
        CallId(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Settings of tasks, as [`Tasks`](crate::Tasks) collects them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Name of the tasks in errors.
    pub(crate) name: Option<String>,
    /// Time that each task may take, from its begin.
    pub(crate) deadline: Option<Duration>,
    /// Time between SIGTERM and SIGKILL, if not the pool's.
    pub(crate) grace: Option<Duration>,
    /// Which failures are tried again.
    pub(crate) retry: Retry,
    /// Limits of each task, beside those of its worker.
    pub(crate) limits: Limits,
    /// Tasks in a chunk of a map, if not as many as seem right.
    pub(crate) chunk_size: Option<usize>,
    /// Time that all tasks of the call have together, from the first that is submitted.
    pub(crate) total: Option<Duration>,
    /// True if no task is to be run again when the machine that had it is gone.
    pub(crate) once: bool,
}

impl Call {
    /// A call that has no jobs yet.
    pub(crate) fn new(
        entry: Option<Offset>,
        function: &'static str,
        options: Arc<Options>,
        is_map: bool,
    ) -> Call {
        let (returns_nothing, pace) = (false, AtomicU64::new(0));
        Call {
            id: CallId::new(),
            entry,
            function,
            options,
            is_map,
            returns_nothing,
            pace,
            context: trace_context::to_pass_on(),
            #[cfg(feature = "tracing")]
            origin: Origin::current(),
            #[cfg(feature = "tracing")]
            traced: None,
        }
    }

    /// Returns the name of a task in errors, with its number if the call has several.
    pub(crate) fn label(&self, number: u64) -> String {
        let name = self.options.name.as_deref().unwrap_or(self.function);
        if self.is_map { format!("{name}[{number}]") } else { name.to_owned() }
    }

    /// Returns the nanoseconds that a task takes; 0 if that is not known.
    pub(crate) fn pace(&self) -> u64 {
        // Relaxed: an estimate, with nothing else to be seen behind it.
        self.pace.load(Ordering::Relaxed)
    }

    /// Averages in how long a task took: three parts of what was known, one of what is new, so that
    /// one slow task does not change the size of chunks much.
    pub(crate) fn took(&self, nanoseconds: u64) {
        let old = self.pace();
        let new = if old == 0 {
            nanoseconds
        } else {
            old.saturating_mul(3).saturating_add(nanoseconds) / 4
        };
        // 0 stands for "not known".
        self.pace.store(new.max(1), Ordering::Relaxed);
    }
}

/// The destination of a job's outcomes: a slot or a map's results.
pub(crate) trait Sink: Send + Sync {
    /// The call whose outcomes these are.
    fn call(&self) -> &Call;

    /// Stores outcomes. Called with the driver locked: it wakes nobody and calls no code of users.
    fn deliver(&self, delivery: Delivery);

    /// Wakes the waiting threads and tasks, and calls callbacks. Called with nothing locked, after
    /// one or more deliveries.
    fn wake(&self);

    /// Wakes the waiting threads, as [`wake`](Sink::wake) does, unless code of users is to be
    /// called as well. Returns `false` if so: nothing was done, and `wake` is still to be called.
    fn wake_threads(&self) -> bool {
        false
    }

    /// Returns whether nobody wants the outcomes: jobs that wait are then dropped. Called with the
    /// driver locked.
    fn is_cancelled(&self) -> bool;
}

/// Tasks of one call, with consecutive numbers: a chunk, or several of the size that the user has
/// chosen, which wait and go out together as long as one worker gets them.
pub(crate) struct Job {
    pub(crate) sink: Arc<dyn Sink>,
    /// Number of the first in its call.
    pub(crate) first: u64,
    /// Number of tasks, at least 1.
    pub(crate) count: u32,
    /// Number of times that its only task has failed. A job of several has not failed yet: a task
    /// that is retried gets a job of its own.
    pub(crate) failed: u32,
    /// Number of workers that had it and did not begin it.
    pub(crate) put_off: u32,
    /// Place of the worker that is to have it; `None` for any.
    pub(crate) place: Option<usize>,
    /// The arguments of each task, framed.
    pub(crate) bytes: Bulk,
    /// The descriptors of the arguments, in a job of one task.
    pub(crate) fds: Vec<Arc<OwnedFd>>,
}

impl Job {
    /// Returns the number of tasks of a chunk, the last of which may have fewer.
    pub(crate) fn chunk(&self) -> u32 {
        let chosen = self.sink.call().options.chunk_size;
        chosen.map_or(u32::MAX, |size| u32::try_from(size).unwrap_or(u32::MAX).max(1))
    }

    /// Returns the number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        // The usual case, without a division.
        if self.count == 1 { 1 } else { chunks(self.count, self.chunk()) }
    }

    /// Cuts the job: keeps the first `at` tasks, and returns the others. `None` if there are no
    /// others.
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
            // Only a job of one task has descriptors, and `at` is 0 for it.
            fds: if at == 0 { mem::take(&mut self.fds) } else { Vec::new() },
        };
        self.count = at;
        Some(rest)
    }

    /// Copies one task out of the job, by its number in the call, with the number of times that it
    /// has failed.
    pub(crate) fn one(&self, number: u64, failed: u32) -> Job {
        let place = u32::try_from(number.saturating_sub(self.first)).unwrap_or(u32::MAX);
        let (start, end) = (self.place_of(place), self.place_of(place.saturating_add(1)));
        let bytes = Bulk::new(self.bytes[start..end].to_vec());
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

    /// Returns the offset of a task's arguments. Walks the frames before it, which is rare: only
    /// what is cut or retried is walked.
    fn place_of(&self, number: u32) -> usize {
        let mut place = 0;
        for _ in 0..number {
            // Fewer frames than tasks cannot be: this process wrote them.
            if messages::next_frame(&self.bytes, &mut place).is_none() {
                break;
            }
        }
        place
    }
}

/// Returns the number of chunks of `chunk` tasks that so many tasks are.
pub(crate) fn chunks(tasks: u32, chunk: u32) -> usize {
    tasks.div_ceil(chunk.max(1)) as usize
}

/// Name and pid of a worker, for errors.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

/// The outcomes of some tasks of a call with consecutive numbers.
pub(crate) struct Delivery {
    /// Number of the first.
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) content: Content,
    /// The worker in which they ran; `None` if none has had them.
    pub(crate) worker: Option<Arc<Tag>>,
    /// Number of times that they were run.
    pub(crate) attempts: u32,
}

/// Outcomes, still encoded.
pub(crate) enum Content {
    /// The reply and value of each task, framed.
    Answers(Vec<u8>),
    /// The whole message of a single task, as its value is long or has descriptors.
    Message { bytes: Bulk, fds: Vec<Arc<OwnedFd>> },
    /// The failure of the only task, or of all of them.
    Failed(Failure),
}

/// Copies a failure for the next of several tasks. An error of the system has no copy; it becomes a
/// text.
pub(crate) fn again(failure: &Failure) -> Failure {
    match failure {
        Failure::Cancelled(reason) => Failure::Cancelled(reason.clone()),
        Failure::NotRun(reason) => Failure::NotRun(reason.clone()),
        Failure::BadArguments(reason) => Failure::BadArguments(reason.clone()),
        // The time of a whole call, which is up for all that waits.
        Failure::Limit(limit) => Failure::Limit(*limit),
        Failure::Lost(reason) => Failure::Lost(reason.clone()),
        Failure::NodeLost(reason) => Failure::NodeLost(reason.clone()),
        // The other variants never hit several tasks at once, except an error of the system.
        other => Failure::NotRun(other.to_string()),
    }
}

/// Cuts jobs into `pieces` and one more: one for each worker that waits, and one for the worker
/// that had them.
pub(crate) fn split(back: Vec<Job>, pieces: u32) -> Vec<Job> {
    let mut all = Vec::new();
    for mut job in back {
        // Rounded up, so that there are no more pieces than asked for.
        let each = job.count.div_ceil(pieces.saturating_add(1)).max(1);
        while let Some(rest) = job.split_off(each) {
            all.push(mem::replace(&mut job, rest));
        }
        all.push(job);
    }
    all
}
