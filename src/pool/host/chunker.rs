//! Describes what pulls the inputs of a map, makes chunks of them, and hands out no more than is
//! needed.

use std::any::type_name;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::map_results::MapResults;
use super::supervisor::Shared;
use crate::codec;
use crate::error::Failure;
use crate::limits::LimitReached;
use crate::pool::protocol::messages;
use crate::pool::scheduler::job::{self, Content, Delivery, Job, Sink};
use crate::unwind;

/// Sets how long a chunk is to take, in nanoseconds: long beside what it costs to hand it out,
/// short beside what anybody waits for.
const CHUNK: u64 = 400_000;

/// The most tasks in a chunk, and the most bytes of their arguments.
const MAX_TASKS: u64 = 8192;
const MAX_BYTES: usize = 12 << 10;

/// So many bytes are made room for at once, and kept if they are too many.
const FEW: usize = 16;

/// Sets how much is to be out for each worker, in nanoseconds, and the most chunks that may be.
const AHEAD: u64 = 2_000_000;
const MAX_CHUNKS: u64 = 1024;

/// Sets how many bytes of arguments may be out, beyond two chunks for each worker.
const MAX_BYTES_OUT: usize = 4 << 20;

/// Sets how many chunks are handed out together, and how long they may wait for it.
const BATCH: usize = 256;
const BATCH_TIME: Duration = Duration::from_micros(100);

/// For how long, in nanoseconds, who waits for outcomes may be left alone.
const SOON: u64 = 100_000;

/// The inputs of a map on their way out.
pub(crate) struct Chunker<I, Args> {
    inputs: I,
    results: Arc<MapResults>,
    pool: Arc<Shared>,
    /// The number of the next input.
    next: u64,
    /// Counts how many tasks are handed out and not taken back by the user.
    out: u64,
    chunks_out: u64,
    bytes_out: usize,
    pub(crate) is_exhausted: bool,
    /// Chunks that are not handed out yet.
    batch: Vec<Job>,
    /// Why nothing can be handed out.
    refusal: Option<Failure>,
    /// When the time of the whole call is up, once something was handed out.
    ends_at: Option<Instant>,
    types: PhantomData<fn() -> Args>,
}

/// Inputs that were pulled together.
struct Chunk {
    /// Their arguments, framed, and how many there are.
    bytes: Vec<u8>,
    count: u32,
    /// Where the arguments of the last begin; whether they are being encoded; and their
    /// descriptors, if they have any, which is not among those that count.
    last: usize,
    is_encoding: bool,
    fds: Vec<Arc<OwnedFd>>,
}

impl<I, Args> Chunker<I, Args>
where
    I: Iterator<Item = Args>,
    Args: Serialize,
{
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
            batch: Vec::new(),
            refusal,
            ends_at: None,
            types: PhantomData,
        }
    }

    /// Returns how many inputs were pulled.
    pub(crate) fn pulled(&self) -> u64 {
        self.next
    }

    /// Returns whether this is a forked copy of the process that began it.
    pub(crate) fn is_copy(&self) -> bool {
        self.refusal.is_none() && !self.pool.is_ours()
    }

    /// Nothing more comes, from the outcome of this number on.
    pub(crate) fn lose(&mut self, next: u64) {
        self.is_exhausted = true;
        self.next = next;
        self.out = 0;
    }

    /// Returns how many tasks are out.
    pub(crate) fn out(&self) -> u64 {
        self.out
    }

    /// Returns how many there are at all, if the inputs tell.
    pub(crate) fn total(&self) -> Option<u64> {
        match self.inputs.size_hint() {
            _ if self.is_exhausted => Some(self.next),
            (least, Some(most)) if least == most => Some(self.next.saturating_add(least as u64)),
            _ => None,
        }
    }

    /// Takes note that outcomes went to the user.
    pub(crate) fn came_back(&mut self, count: u32) {
        let count = u64::from(count).min(self.out);
        // Chunks come back in parts at times; on the whole, this is right.
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

    /// Pulls and hands out as much as is needed now.
    pub(crate) fn fill(&mut self) {
        // Not one by one: each call costs as much as some short tasks.
        let window = self.window();
        if self.chunks_out > window.saturating_sub(window / 4) {
            return;
        }
        let mut since = None;
        while !self.is_exhausted && self.chunks_out < self.window() && self.has_room() {
            self.make_chunk();
            // Handed out together, but not kept from workers by inputs that are slow to come.
            let is_enough =
                self.batch.len() >= if since.is_some() { BATCH } else { self.pool.processes };
            if is_enough || since.get_or_insert_with(Instant::now).elapsed() > BATCH_TIME {
                self.hand_out();
                since = Some(Instant::now());
            }
        }
        self.hand_out();
    }

    /// Pulls and hands out all.
    pub(crate) fn send_all(&mut self) {
        while !self.is_exhausted {
            self.make_chunk();
            if self.batch.len() >= BATCH {
                self.hand_out();
            }
        }
        self.hand_out();
    }

    /// Returns how many outcomes to wait for before there is something to do, when so many have
    /// arrived: more than one of tasks that are short.
    pub(crate) fn worth_waking_for(&self, arrived: u64) -> u64 {
        let pace = self.results.call().pace();
        let soon =
            ((self.pool.processes as u64).saturating_mul(SOON)).checked_div(pace).unwrap_or(1);
        soon.min(self.next.saturating_sub(arrived) / 2).max(1)
    }

    /// Returns how many chunks are to be out.
    fn window(&self) -> u64 {
        let chunk = self
            .results
            .call()
            .pace()
            .saturating_mul(self.out.checked_div(self.chunks_out).unwrap_or(1));
        (self.pool.processes as u64)
            .saturating_mul(AHEAD.checked_div(chunk).unwrap_or(2).clamp(2, MAX_CHUNKS))
    }

    /// Returns whether there is no harm in more.
    fn has_room(&self) -> bool {
        let processes = self.pool.processes;
        self.chunks_out < (processes as u64).saturating_mul(2)
            || self.bytes_out < MAX_BYTES_OUT.saturating_mul(processes)
    }

    /// Returns how many tasks the next chunk is to have: those that were asked for; or so many that
    /// a chunk takes a while, but every worker gets several.
    fn chunk_size(&self) -> u64 {
        if let Some(size) = self.results.call().options.chunk_size {
            return size as u64;
        }
        let by_time = match self.results.call().pace() {
            0 => 1,
            pace => CHUNK.checked_div(pace).unwrap_or(1).clamp(1, MAX_TASKS),
        };
        match self.inputs.size_hint() {
            (least, Some(most)) if least == most => by_time
                .min((least as u64).div_ceil((self.pool.processes as u64).saturating_mul(3)))
                .max(1),
            _ => by_time,
        }
    }

    /// Pulls a chunk of inputs. If the iterator panics, what was pulled before goes out.
    fn make_chunk(&mut self) {
        if self.ends_at.is_some_and(|at| at <= Instant::now()) {
            return self.end_late();
        }
        let size = self.chunk_size();
        let first = self.next;
        let bytes = Vec::with_capacity(if size < 16 { FEW } else { MAX_BYTES + 64 });
        let mut chunk = Chunk { bytes, count: 0, last: 0, is_encoding: false, fds: Vec::new() };
        let pulled = unwind::hold(|| self.pull(&mut chunk, size));
        let Chunk { mut bytes, count, last, is_encoding, fds } = chunk;
        let own = if is_encoding || !fds.is_empty() { bytes.split_off(last) } else { Vec::new() };
        if bytes.capacity() > FEW {
            bytes.shrink_to_fit();
        }
        self.add(first, count, bytes, Vec::new());
        let reason = match pulled {
            // One with descriptors goes alone.
            Ok(Ok(())) if !fds.is_empty() => {
                return self.add(self.next.saturating_sub(1), 1, own, fds);
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
        self.out = self.out.saturating_add(1);
        self.fail(
            self.next.saturating_sub(1),
            1,
            Failure::BadArguments(format!("cannot be encoded: {reason}")),
        );
    }

    /// The time of the whole call is up: the next input fails, if there is one, and no more are
    /// pulled, as there may be any number of them.
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

    /// Pulls inputs and encodes them, up to one with descriptors or one that cannot be encoded.
    fn pull(&mut self, chunk: &mut Chunk, size: u64) -> Result<(), String> {
        let is_free = self.results.call().options.chunk_size.is_none();
        while u64::from(chunk.count) < size && !(is_free && chunk.bytes.len() >= MAX_BYTES) {
            let Some(input) = self.inputs.next() else {
                self.is_exhausted = true;
                break;
            };
            self.next = self.next.saturating_add(1);
            chunk.last = chunk.bytes.len();
            chunk.is_encoding = true;
            let most = chunk.last.saturating_add(messages::LONGEST);
            let fds = &mut chunk.fds;
            let ends = messages::framed(&mut chunk.bytes, |onto| {
                codec::encode_within(&input, onto, most, fds)
            })?;
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

    fn add(&mut self, first: u64, count: u32, bytes: Vec<u8>, fds: Vec<Arc<OwnedFd>>) {
        if count == 0 {
            return;
        }
        self.out = self.out.saturating_add(u64::from(count));
        self.chunks_out = self.chunks_out.saturating_add(1);
        self.bytes_out = self.bytes_out.saturating_add(bytes.len());
        let sink = Arc::clone(&self.results) as Arc<dyn Sink>;
        self.batch.push(Job { sink, first, count, failed: 0, put_off: 0, place: None, bytes, fds });
    }

    /// Hands out what was pulled.
    fn hand_out(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(total) = self.results.call().options.total
            && self.ends_at.is_none()
        {
            self.ends_at = Instant::now().checked_add(total);
        }
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

    fn fail(&self, first: u64, count: u32, failure: Failure) {
        let content = Content::Failed(failure);
        self.results.enter(Delivery { first, count, content, worker: None, attempts: 0 });
        self.results.wake();
    }
}

impl<I, Args> Chunker<I, Args> {
    pub(crate) fn results(&self) -> &Arc<MapResults> {
        &self.results
    }

    pub(crate) fn pool(&self) -> &Arc<Shared> {
        &self.pool
    }

    /// Nobody wants what is out: what is not begun will not be run.
    pub(crate) fn abandon(&self) {
        if self.out > 0 && self.pool.is_ours() {
            self.results.cancel();
            self.pool.cancel(self.results.call().id, false);
        }
    }
}
