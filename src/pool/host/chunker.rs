//! Pulls the inputs of a map, encodes them in chunks, and submits no more of them than the workers
//! need.
//!
//! Two sizes are chosen as the map goes, from the pace that the scheduler measures for the call:
//!
//! - the *chunk*: so many tasks that they take about [`CHUNK`], long beside the cost of handing a
//!   job to a worker and short beside what anybody waits for;
//! - the *window*: so many chunks in flight that each worker has about [`AHEAD`] of work, so an
//!   endless iterator is pulled no faster than its outcomes are taken.
//!
//! The chunker runs in the thread that asks for outcomes, as inputs are code of the user's. It has
//! no lock; the pool's is taken for each batch.
//!
//! # Panics of inputs
//!
//! The iterator and `Serialize` may panic in the middle of a chunk. What was pulled before is
//! submitted; a panic of the iterator goes on to the caller, who may ask again; a panic of
//! `Serialize` fails its task. So every input that was pulled has exactly one outcome.

use std::any::type_name;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::map_results::MapResults;
use super::supervisor::Shared;
use crate::codec;
use crate::error::Failure;
use crate::limits::LimitReached;
use crate::pool::protocol::bulk::{self, Bulk};
use crate::pool::protocol::messages;
use crate::pool::scheduler::job::{self, Content, Delivery, Job, Sink};
use crate::unwind;

/// Nanoseconds that a chunk is to take.
const CHUNK: u64 = 400_000;

/// Tasks in a chunk, at the most.
const MAX_TASKS: u64 = 8192;
/// Bytes of arguments after which a chunk of free size is full.
const MAX_BYTES: usize = 12 << 10;

/// Nanoseconds of work that each worker is to have in flight.
const AHEAD: u64 = 2_000_000;
/// Chunks in flight for each worker, at the most.
const MAX_CHUNKS: u64 = 1024;

/// Bytes of arguments in flight for each worker, at the most, unless that is less than two chunks.
const MAX_BYTES_OUT: usize = 4 << 20;

/// Chunks that are submitted together, at the most: one lock of the pool for all of them.
const BATCH: usize = 256;
/// Time that a chunk waits for others to be submitted with it, at the most: inputs may be slow to
/// come.
const BATCH_TIME: Duration = Duration::from_micros(100);

/// Nanoseconds for which a waiting thread is left asleep while outcomes gather.
const SOON: u64 = 100_000;

/// The inputs of a map on their way to the workers.
pub(crate) struct Chunker<I, Args> {
    inputs: I,
    /// The outcomes, as they arrive.
    results: Arc<MapResults>,
    pool: Arc<Shared>,
    /// Number of the next input.
    next: u64,
    /// Number of tasks that were submitted and whose outcomes the user has not got.
    out: u64,
    /// Number of chunks that these were in; an estimate, as chunks come back in parts.
    chunks_out: u64,
    /// Bytes of their arguments; an estimate, too.
    bytes_out: usize,
    /// True if no more inputs come, or none are wanted.
    pub(crate) is_exhausted: bool,
    /// True if the last arguments were long: the next ones probably are as well.
    is_long: bool,
    /// The job that the next chunk goes into, if they are small and of a size that the user chose.
    open: Open,
    /// Jobs that are not submitted yet.
    batch: Vec<Job>,
    /// Number of chunks in them.
    waiting: usize,
    /// Reason why no task of this call can be run.
    refusal: Option<Failure>,
    /// End of the time of the whole call; known once something was submitted.
    ends_at: Option<Instant>,
    types: PhantomData<fn() -> Args>,
}

/// A job that is being made of chunks.
#[derive(Default)]
struct Open {
    /// Number of the first task.
    first: u64,
    count: u32,
    bytes: Vec<u8>,
    /// Number of these bytes that count as being on their way.
    counted: usize,
}

/// A chunk that is being filled.
struct Chunk {
    /// The arguments that are encoded, framed, the last of them perhaps in part. Those of the
    /// chunks before it in the same job come first.
    bytes: Vec<u8>,
    /// Number of tasks in the chunk, without one that has descriptors or could not be encoded.
    count: u32,
    /// Offset of the last arguments.
    last: usize,
    /// True while arguments are being encoded: tells a panic of `Serialize` from one of the
    /// iterator.
    is_encoding: bool,
    /// Descriptors of the last arguments. A task that has some goes in a job of its own.
    fds: Vec<Arc<OwnedFd>>,
}

impl<I, Args> Chunker<I, Args>
where
    I: Iterator<Item = Args>,
    Args: Serialize,
{
    /// A chunker that has pulled nothing.
    pub(crate) fn new(
        inputs: I,
        results: Arc<MapResults>,
        pool: Arc<Shared>,
        refusal: Option<Failure>,
    ) -> Chunker<I, Args> {
        Chunker {
            inputs,
            results,
            pool,
            next: 0,
            out: 0,
            chunks_out: 0,
            bytes_out: 0,
            is_exhausted: false,
            is_long: false,
            open: Open::default(),
            batch: Vec::new(),
            waiting: 0,
            refusal,
            ends_at: None,
            types: PhantomData,
        }
    }

    /// Returns the inputs.
    #[cfg(feature = "async")]
    pub(crate) fn inputs_mut(&mut self) -> &mut I {
        &mut self.inputs
    }

    /// Returns the number of inputs pulled so far.
    pub(crate) fn pulled(&self) -> u64 {
        self.next
    }

    /// Returns whether this is a forked copy of the process in which the map began.
    pub(crate) fn is_copy(&self) -> bool {
        self.refusal.is_none() && !self.pool.is_ours()
    }

    /// Ends the map: outcomes from number `next` on never come.
    pub(crate) fn lose(&mut self, next: u64) {
        self.is_exhausted = true;
        self.next = next;
        self.out = 0;
    }

    /// Returns the number of tasks whose outcomes the user has not got.
    pub(crate) fn out(&self) -> u64 {
        self.out
    }

    /// Returns the number of all inputs, if the iterator knows it.
    pub(crate) fn total(&self) -> Option<u64> {
        match self.inputs.size_hint() {
            _ if self.is_exhausted => Some(self.next),
            (least, Some(most)) if least == most => Some(self.next.saturating_add(least as u64)),
            _ => None,
        }
    }

    /// Records that `count` outcomes went to the user, which makes room for more inputs.
    pub(crate) fn came_back(&mut self, count: u32) {
        let count = u64::from(count).min(self.out);
        // Chunks may come back in parts, so what is left is estimated in proportion; the estimate
        // is set right whenever nothing is out.
        if let Some(each) = self.out.checked_div(self.chunks_out) {
            self.chunks_out = self
                .chunks_out
                .saturating_sub(count.checked_div(each).unwrap_or(0).min(self.chunks_out));
        }
        self.bytes_out = self.bytes_out.saturating_sub(
            usize::try_from(
                (self.bytes_out as u64).saturating_mul(count).checked_div(self.out).unwrap_or(0),
            )
            .unwrap_or(0),
        );
        self.out = self.out.saturating_sub(count);
        if self.out == 0 {
            self.chunks_out = 0;
            self.bytes_out = 0;
        }
    }

    /// Pulls and submits as many inputs as are needed now.
    pub(crate) fn fill(&mut self) {
        // Only once a quarter of the window is free: to submit costs as much as some short tasks.
        let window = self.window();
        if self.chunks_out > window.saturating_sub(window / 4) {
            return;
        }
        let mut since = None;
        while !self.is_exhausted && self.chunks_out < self.window() && self.has_room() {
            self.make_chunk();
            // The first chunks go out as soon as there is one for each worker, so that all of them
            // have work; later ones in larger batches, but never held back for slow inputs.
            let is_enough = self.waiting >= if since.is_some() { BATCH } else { self.pool.hands() };
            if is_enough || since.get_or_insert_with(Instant::now).elapsed() > BATCH_TIME {
                self.hand_out();
                since = Some(Instant::now());
            }
        }
        self.hand_out();
    }

    /// Pulls and submits all inputs, without regard to the window.
    pub(crate) fn send_all(&mut self) {
        while !self.is_exhausted {
            self.make_chunk();
            if self.waiting >= BATCH {
                self.hand_out();
            }
        }
        self.hand_out();
    }

    /// Returns how many outcomes are worth waking the waiting thread for, of those that have not
    /// arrived: as many as the workers finish in [`SOON`], but no more than half of what is on its
    /// way.
    pub(crate) fn worth_waking_for(&self, arrived: u64) -> u64 {
        let pace = self.results.call().pace();
        let soon = ((self.pool.hands() as u64).saturating_mul(SOON)).checked_div(pace).unwrap_or(1);
        soon.min(self.next.saturating_sub(arrived) / 2).max(1)
    }

    /// Returns the number of chunks that are to be in flight.
    fn window(&self) -> u64 {
        let ahead = AHEAD.saturating_mul(self.pool.stretch());
        let chunk = self
            .results
            .call()
            .pace()
            .saturating_mul(self.out.checked_div(self.chunks_out).unwrap_or(1));
        (self.pool.hands() as u64)
            .saturating_mul(ahead.checked_div(chunk).unwrap_or(2).clamp(2, MAX_CHUNKS))
    }

    /// Returns whether the arguments in flight leave room for more.
    fn has_room(&self) -> bool {
        let processes = self.pool.hands();
        // Two chunks for each worker are out whatever their size, or large inputs would run one by
        // one.
        self.chunks_out < (processes as u64).saturating_mul(2)
            || self.bytes_out < MAX_BYTES_OUT.saturating_mul(processes)
    }

    /// Returns the number of tasks for the next chunk: the user's choice; else as many as take
    /// [`CHUNK`], but few enough that each worker gets several chunks.
    fn chunk_size(&self) -> u64 {
        // Asked for by the user, so neither time nor bytes bound it.
        if let Some(size) = self.results.call().options.chunk_size {
            return size as u64;
        }
        let by_time = match self.results.call().pace() {
            // Nothing is known yet: single tasks find out soonest.
            0 => 1,
            pace => CHUNK
                .saturating_mul(self.pool.stretch())
                .checked_div(pace)
                .unwrap_or(1)
                .clamp(1, MAX_TASKS),
        };
        match self.inputs.size_hint() {
            // Three chunks for each worker: those that finish early find something to take.
            (least, Some(most)) if least == most => by_time
                .min((least as u64).div_ceil((self.pool.hands() as u64).saturating_mul(3)))
                .max(1),
            _ => by_time,
        }
    }

    /// Pulls one chunk into the batch. If the iterator panics, submits what was pulled before, and
    /// goes on with the panic.
    fn make_chunk(&mut self) {
        if self.ends_at.is_some_and(|at| at <= Instant::now()) {
            return self.end_late();
        }
        let size = self.chunk_size();
        let bytes = self.open(size);
        let mut chunk = Chunk { bytes, count: 0, last: 0, is_encoding: false, fds: Vec::new() };
        // Held, not caught: a panic of the user's iterator goes on after the chunk was saved.
        let pulled = unwind::hold(|| self.pull(&mut chunk, size));
        let Chunk { mut bytes, count, last, is_encoding, fds } = chunk;
        // The last arguments are cut off if they failed, or go alone as they have descriptors.
        let own = if is_encoding || !fds.is_empty() { bytes.split_off(last) } else { Vec::new() };
        self.add(count, bytes);
        let reason = match pulled {
            // One with descriptors goes alone.
            Ok(Ok(())) if !fds.is_empty() => {
                self.close();
                self.count(1, own.len());
                return self.push(self.next.saturating_sub(1), 1, own, fds);
            }
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(panic) if is_encoding => {
                format!("{}: it panicked: {}", type_name::<Args>(), panic.into_text())
            }
            Err(panic) => {
                self.hand_out();
                panic.go_on()
            }
        };
        // The input that could not be encoded: it was pulled, so it has a number and gets an
        // outcome.
        self.out = self.out.saturating_add(1);
        self.fail(
            self.next.saturating_sub(1),
            1,
            Failure::BadArguments(format!("cannot be encoded: {reason}")),
        );
    }

    /// Ends the map as the time of the whole call is up. The next input, if there is one, fails, so
    /// that the caller learns of it; the others are not pulled, as there may be no end of them.
    fn end_late(&mut self) {
        let next = unwind::hold(|| self.inputs.next());
        self.is_exhausted = true;
        match next {
            Ok(None) => {}
            Ok(Some(_)) => {
                let total = self.results.call().options.total.unwrap_or_default();
                self.out = self.out.saturating_add(1);
                self.next = self.next.saturating_add(1);
                let failure = Failure::Limit(LimitReached::Deadline(total));
                self.fail(self.next.saturating_sub(1), 1, failure);
            }
            Err(panic) => panic.go_on(),
        }
    }

    /// Pulls inputs into a chunk and encodes them, up to one that has descriptors.
    ///
    /// # Errors
    /// Why the last input pulled cannot be encoded or sent.
    fn pull(&mut self, chunk: &mut Chunk, size: u64) -> Result<(), String> {
        let is_free = self.results.call().options.chunk_size.is_none();
        while u64::from(chunk.count) < size && !(is_free && chunk.bytes.len() >= MAX_BYTES) {
            let Some(input) = self.inputs.next() else {
                self.is_exhausted = true;
                break;
            };
            self.next = self.next.saturating_add(1);
            chunk.last = chunk.bytes.len();
            // From here to the end of this turn, a panic is of `Serialize`.
            chunk.is_encoding = true;
            let most = chunk.last.saturating_add(messages::LONGEST);
            let fds = &mut chunk.fds;
            let ends = messages::framed(&mut chunk.bytes, self.is_long, |onto| {
                codec::encode_within(&input, onto, most, fds)
            })?;
            self.is_long = chunk.bytes.len().saturating_sub(chunk.last) > messages::SHORT;
            // The end of a pipe can be sent once only, which does not go with retries.
            self.results.call().options.retry.check(&ends)?;
            ends.keep();
            chunk.is_encoding = false;
            if !chunk.fds.is_empty() {
                break;
            }
            chunk.count = chunk.count.saturating_add(1);
        }
        Ok(())
    }

    /// Returns the buffer that the next chunk goes into.
    ///
    /// Small chunks of one size are one job until a worker gets a part of it: they wait, go out and
    /// come back together, but are begun one by one.
    fn open(&mut self, size: u64) -> Vec<u8> {
        let is_joined = self.results.call().options.chunk_size.is_some()
            && self.open.bytes.len() < MAX_BYTES
            && u64::from(self.open.count) < MAX_TASKS
            && self.open.first.saturating_add(self.open.count.into()) == self.next;
        if self.open.count > 0 && is_joined {
            return mem::take(&mut self.open.bytes);
        }
        self.close();
        self.open.first = self.next;
        let mut bytes = bulk::spare();
        if size >= 16 {
            bytes.reserve(MAX_BYTES + 64);
        }
        bytes
    }

    /// Adds a chunk to the job that is open.
    fn add(&mut self, count: u32, bytes: Vec<u8>) {
        if count > 0 {
            self.count(count, bytes.len().saturating_sub(self.open.counted));
        }
        self.open.counted = bytes.len();
        self.open.bytes = bytes;
        self.open.count = self.open.count.saturating_add(count);
    }

    /// Counts a chunk.
    fn count(&mut self, tasks: u32, bytes: usize) {
        self.out = self.out.saturating_add(u64::from(tasks));
        self.chunks_out = self.chunks_out.saturating_add(1);
        self.bytes_out = self.bytes_out.saturating_add(bytes);
        self.waiting = self.waiting.saturating_add(1);
    }

    /// Puts the job that is open into the batch.
    fn close(&mut self) {
        let Open { first, count, bytes, .. } = mem::take(&mut self.open);
        if count > 0 {
            self.push(first, count, bytes, Vec::new());
        }
    }

    /// Adds a job to the batch.
    fn push(&mut self, first: u64, count: u32, bytes: Vec<u8>, fds: Vec<Arc<OwnedFd>>) {
        let (sink, bytes) = (Arc::clone(&self.results) as Arc<dyn Sink>, Bulk::new(bytes));
        self.batch.push(Job { sink, first, count, failed: 0, put_off: 0, place: None, bytes, fds });
    }

    /// Submits the batch. If the pool takes no tasks, all of the batch fails, and no more inputs
    /// are pulled.
    fn hand_out(&mut self) {
        self.close();
        self.waiting = 0;
        if self.batch.is_empty() {
            return;
        }
        // The scheduler begins the time of the call with its first job, so it begins here.
        if let Some(total) = self.results.call().options.total
            && self.ends_at.is_none()
        {
            self.ends_at = Instant::now().checked_add(total);
        }
        // Kept aside: a pool that refuses them may have dropped the jobs.
        let all: Vec<_> = self.batch.iter().map(|job| (job.first, job.count)).collect();
        let submitted = match &self.refusal {
            Some(refusal) => Err(job::again(refusal)),
            None => self.pool.submit(self.batch.drain(..)),
        };
        match submitted {
            Ok(()) => {}
            Err(failure) => {
                // An endless iterator ends here, too.
                self.is_exhausted = true;
                self.batch.clear();
                for (first, count) in all {
                    self.fail(first, count, job::again(&failure));
                }
            }
        }
    }

    /// Enters the failure of tasks that were not submitted.
    fn fail(&self, first: u64, count: u32, failure: Failure) {
        let content = Content::Failed(failure);
        self.results.enter(Delivery { first, count, content, worker: None, attempts: 0 });
        self.results.wake();
    }
}

impl<I, Args> Chunker<I, Args> {
    /// The outcomes, as they arrive.
    pub(crate) fn results(&self) -> &Arc<MapResults> {
        &self.results
    }

    /// The pool that runs the tasks.
    pub(crate) fn pool(&self) -> &Arc<Shared> {
        &self.pool
    }

    /// Cancels what is not begun, as nobody wants the outcomes any more. What runs goes on.
    pub(crate) fn abandon(&self) {
        // Without tasks in flight there is nothing to cancel, and the pool's lock is not taken.
        if self.out > 0 && self.pool.is_ours() {
            self.results.cancel();
            self.pool.cancel(self.results.call().id, false);
        }
    }
}
