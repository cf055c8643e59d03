//! Runs the tasks of a worker, and tells the pool what came of each.
//!
//! The pool may take back what is not begun at any moment, and the worker may die at any
//! instruction; after either, the pool has to know which tasks were done and which one was being
//! run. The order of operations in [`TaskRunner::run`] sees to that. `tests/models` runs this file
//! with a death at every step.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::pool::protocol::claim::Epoch;
use crate::pool::protocol::messages::{self, Reply};
use crate::pool::protocol::unpublished::Unpublished;
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::sys::per_process::Generation;
use crate::sys::process::exit;
use crate::sys::program::code::Refusal;
use crate::sys::wait::poll;
use crate::unwind;

/// Bytes of answers that are published together, at the most.
const MAX_BLOCK: usize = 4096;

/// Bytes of a buffer that are kept for the next answer, at the most.
const MAX_KEPT_BUFFER: usize = 4 << 20;

/// Tasks that are begun together, at the most.
const MAX_STRIDE: u32 = 128;

/// Time that tasks begun together may take for their number to be doubled the next time.
const SHORT_STRIDE: Duration = Duration::from_micros(5);

/// The worker's end of the link to its pool.
pub(crate) trait WorkerLink {
    /// Returns whether no request waits.
    fn is_empty(&self) -> bool;

    /// Returns whether the ring has room for so many bytes.
    fn has_room(&mut self, bytes: usize) -> Result<bool, SendTransportError>;

    /// Writes `bytes[from..]` into the ring without publishing them. There is room for them.
    fn write_ahead(&mut self, from: usize, bytes: &[u8]);

    /// Returns which record what is written ahead will be.
    fn mark(&mut self) -> u32;

    /// Publishes so many bytes that were written ahead, as one message.
    fn publish(&mut self, length: usize);

    /// Wakes the pool, if it sleeps.
    fn wake_pool(&mut self) -> Result<(), SendTransportError>;

    /// Sends a message; waits for room.
    fn send(&mut self, bytes: &[u8], fds: &[Arc<OwnedFd>]) -> Result<(), SendTransportError>;

    /// Waits for a request, which it puts behind what is in `message`.
    fn recv(&mut self, message: &mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError>;
}

/// The tasks of one request.
pub(crate) trait Tasks {
    /// Returns whether the pool has to know when each of them begins.
    fn go_one_by_one(&self) -> bool;

    /// Prepares what is begun next.
    fn prepare(&mut self, memory: &WorkerMemory);

    /// Runs the next one: puts its encoded value behind what is in `onto`, and its descriptors
    /// into `fds`.
    fn next(&mut self, onto: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>;

    /// Returns whether the worker is to end after what was run last.
    fn is_last(&mut self) -> bool;
}

/// What a worker has while it runs tasks.
pub(crate) struct TaskRunner<L> {
    link: L,
    memory: WorkerMemory,
    /// The process's, which is not that of its forked copies.
    generation: Generation,
    /// Number of tasks that were begun.
    begun: u64,
    /// Answers that are written but not published, behind the head that they get.
    block: Vec<u8>,
    /// Number of these answers.
    count: u16,
    /// Number of tasks that are begun together.
    stride: u32,
    /// When the clock was looked at last.
    looked: Duration,
    /// When the pool was woken last.
    woken: Duration,
    /// Time at work so far.
    busy: Duration,
    /// True if nobody listens any more, or this worker is to end.
    is_over: bool,
}

impl<L: WorkerLink> TaskRunner<L> {
    pub(crate) fn new(link: L, memory: WorkerMemory) -> TaskRunner<L> {
        let now = poll::monotonic();
        let block = messages::block_head(0).to_vec();
        TaskRunner {
            link,
            memory,
            generation: Generation::current(),
            begun: 0,
            block,
            count: 0,
            stride: 1,
            looked: now,
            woken: now,
            busy: Duration::ZERO,
            is_over: false,
        }
    }

    /// Lets tasks be begun again that come behind what was taken back.
    pub(crate) fn open(&mut self, epoch: Epoch) {
        self.memory.open(epoch, self.begun);
    }

    /// Runs the tasks of a request, in this order:
    ///
    /// 1. Publish what came of the tasks before, so that what is begun and not answered is known
    ///    to the pool as what this worker is at.
    /// 2. Begin the next ones in the claim word: several together only if nobody has to know when
    ///    each began. If the word is closed, all that is left was taken back.
    /// 3. Run them. Each short value is written ahead into the ring and counted in the shared
    ///    memory, so a death in the next task loses nothing of it.
    pub(crate) fn run(
        &mut self,
        mut left: u32,
        fds: &mut Vec<Arc<OwnedFd>>,
        tasks: &mut impl Tasks,
    ) {
        while left > 0 && !self.is_over {
            let mut to_do = if tasks.go_one_by_one() { 1 } else { self.stride.min(left) };
            tasks.prepare(&self.memory);
            if !self.memory.begin(to_do) {
                break;
            }
            self.begun += u64::from(to_do);
            left -= to_do;
            while to_do > 0 && !self.is_over {
                self.is_over = self.stretch(&mut to_do, fds, tasks).is_err();
            }
            self.is_over |= tasks.is_last();
            self.is_over |= left > 0 && self.pause().is_err();
        }
    }

    /// After a request: has what was done known. Fails if nobody listens any more, or if the last
    /// task was the last here.
    pub(crate) fn rest(&mut self) -> Result<(), SendTransportError> {
        if self.is_over { Err(SendTransportError::Disconnected) } else { self.pause() }
    }

    /// Runs tasks, `to_do` at the most, until one comes to something else than a short value.
    #[inline]
    fn stretch(
        &mut self,
        to_do: &mut u32,
        fds: &mut Vec<Arc<OwnedFd>>,
        tasks: &mut impl Tasks,
    ) -> Result<(), SendTransportError> {
        let mut start = 0;
        // Once for all of them: to catch each for itself takes longer than a short one does.
        let done = unwind::catch(|| {
            while *to_do > 0 {
                *to_do -= 1;
                start = self.block.len();
                self.block.push(0);
                let done = tasks.next(&mut self.block, fds);
                self.leave_if_copy();
                match done {
                    Ok(()) if fds.is_empty() && self.block.len() - start - 1 <= messages::SHORT => {
                        self.note(start)?
                    }
                    other => return Ok(Some(other)),
                }
            }
            Ok(None)
        });
        match done {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(other))) => self.answer(start, Ok(other.map(|()| mem::take(fds)))),
            Ok(Err(fault)) => Err(fault),
            Err(panic) => {
                self.leave_if_copy();
                fds.clear();
                self.answer(start, Err(panic))
            }
        }
    }

    /// A task may have forked, and returns in the copy as well: that one has no business here.
    #[inline]
    fn leave_if_copy(&self) {
        if Generation::current() != self.generation {
            exit::now(0);
        }
    }

    /// Takes note of a short value, which begins at `start` of the block.
    #[inline]
    fn note(&mut self, start: usize) -> Result<(), SendTransportError> {
        if self.count == 0 && !self.link.has_room(MAX_BLOCK)? {
            return self.answer_alone(start, &[]);
        }
        messages::close_frame(&mut self.block, start);
        self.link.write_ahead(start, &self.block);
        self.count += 1;
        // Both within their bounds: a block is closed before.
        #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_BLOCK`")]
        let bytes = self.block.len() as u16;
        self.memory.has_written(Unpublished { mark: self.link.mark(), count: self.count, bytes });
        if self.block.len() + messages::SHORT + 8 > MAX_BLOCK { self.publish() } else { Ok(()) }
    }

    /// Says what became of a task that is no short value; what it wrote begins at `start` of the
    /// block.
    #[cold]
    fn answer(
        &mut self,
        start: usize,
        done: Result<Result<Vec<Arc<OwnedFd>>, Refusal>, unwind::Panic>,
    ) -> Result<(), SendTransportError> {
        match done {
            Ok(Ok(fds)) => match self.answer_alone(start, &fds) {
                Err(SendTransportError::Os(error)) => {
                    self.refuse(start, Reply::BadResult, error.to_string().as_bytes())
                }
                said => said,
            },
            Ok(Err(Refusal::Arguments(reason))) => {
                self.refuse(start, Reply::BadArguments, reason.as_bytes())
            }
            Ok(Err(Refusal::Result(reason))) => {
                self.refuse(start, Reply::BadResult, reason.as_bytes())
            }
            Err(panic) => self.refuse(start, Reply::Panicked, &messages::panic_bytes(&panic)),
        }
    }

    /// Says a value by itself.
    #[cold]
    fn answer_alone(
        &mut self,
        start: usize,
        fds: &[Arc<OwnedFd>],
    ) -> Result<(), SendTransportError> {
        // The byte in front of it was kept for its length.
        self.block[start] = Reply::Returned as u8;
        self.publish_before(start)?;
        self.link.wake_pool()?;
        let said = self.link.send(&self.block[start..], fds);
        self.block.truncate(messages::BLOCK_HEAD);
        if self.block.capacity() > MAX_KEPT_BUFFER {
            self.block.shrink_to(MAX_BLOCK);
        }
        said
    }

    fn refuse(
        &mut self,
        start: usize,
        verdict: Reply,
        reason: &[u8],
    ) -> Result<(), SendTransportError> {
        self.block.truncate(start);
        let mut message = vec![verdict as u8];
        message.extend_from_slice(reason);
        self.say(&message, &[])
    }

    /// Says something at once, behind what was written.
    fn say(&mut self, message: &[u8], fds: &[Arc<OwnedFd>]) -> Result<(), SendTransportError> {
        self.publish()?;
        self.link.wake_pool()?;
        self.link.send(message, fds)
    }

    /// Publishes what was written.
    fn publish(&mut self) -> Result<(), SendTransportError> {
        self.publish_before(self.block.len())?;
        self.block.truncate(messages::BLOCK_HEAD);
        Ok(())
    }

    /// Publishes what stands before the `end`th byte of the block.
    fn publish_before(&mut self, end: usize) -> Result<(), SendTransportError> {
        if self.count == 0 {
            return Ok(());
        }
        let head = messages::block_head(self.count);
        self.block[..head.len()].copy_from_slice(&head);
        self.link.write_ahead(0, &head);
        self.link.publish(end);
        self.count = 0;
        Ok(())
    }

    /// Between tasks that are not begun together: has what was done known, and sees how long it
    /// took.
    fn pause(&mut self) -> Result<(), SendTransportError> {
        // Before the next begins: so the pool knows which one that is.
        self.publish()?;
        let now = poll::monotonic();
        let took = now.saturating_sub(self.looked);
        self.looked = now;
        self.busy += took;
        self.memory.was_busy(self.busy);
        if took < SHORT_STRIDE {
            self.stride = (self.stride * 2).min(MAX_STRIDE);
        } else if took > 4 * SHORT_STRIDE {
            self.stride = (self.stride / 4).max(1);
        }
        if now.saturating_sub(self.woken) > messages::WAKE_INTERVAL {
            self.woken = now;
            self.link.wake_pool()?;
        }
        Ok(())
    }

    /// Waits for the next order; whether there is one.
    pub(crate) fn receive(&mut self, message: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> bool {
        let is_idle = self.link.is_empty();
        if is_idle && (self.publish().is_err() || self.link.wake_pool().is_err()) {
            return false;
        }
        message.clear();
        match self.link.recv(message) {
            Ok(came) => *fds = came,
            Err(_) => return false,
        }
        if is_idle {
            self.looked = poll::monotonic();
            self.woken = self.looked;
        }
        true
    }
}
