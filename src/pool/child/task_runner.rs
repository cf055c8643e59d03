//! Runs the tasks of a worker and sends the pool what came of each.
//!
//! The pool may take back what is not begun at any moment, and the worker may be killed at any
//! instruction. After either, the pool has to know which tasks are done, which one was running, and
//! which were not begun. It knows that from three things that the worker leaves behind, whatever
//! happens to it:
//!
//! - the *claim word* counts the tasks that were begun,
//! - the *ring* has the answers that were published, in order,
//! - the *unpublished word* tells of answers that are written behind those.
//!
//! So tasks begun, minus answers, is what the worker was running when it ended: one task, as
//! answers of a stride are in the unpublished word before the next of its tasks is called. The
//! order of operations in [`TaskRunner::run`] keeps that true at every instruction; `tests/models`
//! runs this very file with a death at every step.
//!
//! Speed shapes the rest. A task may take less than a microsecond, so tasks are begun in *strides*
//! of up to 128, their answers are published in *blocks* of up to 4 KiB, one `catch_unwind` covers
//! a stretch of tasks, and the clock is read once for each stride.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::current_task;
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

/// Bytes of a block, at the most: so many that publishing costs little for each answer, and so few
/// that the pool is not kept waiting. They fit into the ring many times.
const MAX_BLOCK: usize = 4096;

/// Bytes of a buffer that are kept for the next answer, at the most. A larger one, for one huge
/// value, is given back to the system.
const MAX_KEPT_BUFFER: usize = 4 << 20;

/// Tasks that are begun together, at the most. What is begun stays with its worker, so this bounds
/// how many tasks wait if the first of them turns out to be long.
const MAX_STRIDE: u32 = 128;

/// Time that a stride may take for the next one to be twice as long. A stride that takes four times
/// as long quarters the next.
const SHORT_STRIDE: Duration = Duration::from_micros(5);

/// The worker's end of the link to its pool. A trait, so that the models can put a modelled ring in
/// its place.
pub(crate) trait WorkerLink {
    /// Returns whether no request waits to be read.
    fn is_empty(&self) -> bool;

    /// Returns whether the ring has room for `bytes` more bytes in one message.
    ///
    /// # Errors
    /// The pool is gone.
    fn has_room(&mut self, bytes: usize) -> Result<bool, SendTransportError>;

    /// Writes `bytes[from..]` behind the published end of the ring, at offset `from` of the next
    /// message, without publishing it. The caller has asked [`has_room`](WorkerLink::has_room) for
    /// as much.
    fn write_ahead(&mut self, from: usize, bytes: &[u8]);

    /// Returns the sequence number that the next published message gets.
    fn mark(&mut self) -> u32;

    /// Publishes the first `length` bytes of what was written ahead, as one message.
    fn publish(&mut self, length: usize);

    /// Wakes the pool's supervisor, if it sleeps on this link.
    ///
    /// # Errors
    /// The pool is gone.
    fn wake_pool(&mut self) -> Result<(), SendTransportError>;

    /// Sends a message, and waits for room as long as that takes.
    ///
    /// # Errors
    /// The pool is gone, or the system refuses the descriptors.
    fn send(&mut self, bytes: &[u8], fds: &[Arc<OwnedFd>]) -> Result<(), SendTransportError>;

    /// Waits for the next request, and appends it to `message`. Returns its descriptors.
    ///
    /// # Errors
    /// The pool has dismissed this worker or is gone.
    fn recv(&mut self, message: &mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError>;
}

/// The tasks of one request, in order. The runner asks for one after the other.
pub(crate) trait Tasks {
    /// Returns whether each task must be claimed by itself, because its time or its limits count
    /// from its own begin.
    fn go_one_by_one(&self) -> bool;

    /// Returns how many tasks may be begun together: as many as the user wants in a chunk. The
    /// others can still be given to other workers while these run.
    fn together(&self) -> u32;

    /// Prepares the next task or stride; called before it is claimed. A task that is claimed
    /// afterwards thus has its timer and its start in place, and one that is not claimed leaves
    /// both unused.
    fn prepare(&mut self, memory: &WorkerMemory);

    /// Runs the next task. Appends its encoded value to `onto`, and adds the value's descriptors to
    /// `fds`.
    fn next(&mut self, onto: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>;

    /// Returns whether the worker has to end after the last task: its own timer has fired
    /// meanwhile.
    fn is_last(&mut self) -> bool;
}

/// The state of a worker's loop. One for each worker process, used by its main thread only.
pub(crate) struct TaskRunner<L> {
    link: L,
    memory: WorkerMemory,
    /// Generation of the process that made this. A fork of it by a task has another.
    generation: Generation,
    /// Number of tasks claimed since the worker started: the truth, where the claim word also
    /// counts attempts that failed.
    begun: u64,
    /// The unpublished block: a head to be filled in, then the answers. A copy of what was written
    /// ahead, with the answer that is being written at its end.
    block: Vec<u8>,
    /// Number of answers in the block.
    count: u16,
    /// Number of tasks that are claimed together, from 1 to [`MAX_STRIDE`].
    stride: u32,
    /// Last reading of the clock: the begin of the current stride.
    looked: Duration,
    /// Time of the last wake-up of the pool.
    woken: Duration,
    /// Time spent on tasks so far, as the pool's statistics show it.
    busy: Duration,
    /// True if the pool is gone, or this worker is to end after its last task.
    is_over: bool,
}

impl<L: WorkerLink> TaskRunner<L> {
    /// A runner that has begun nothing. The link has carried nothing but `Ready`.
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

    /// Follows [`Request::Open`](messages::Request::Open): what the pool took back is behind, and
    /// what follows may be begun.
    pub(crate) fn open(&mut self, epoch: Epoch) {
        self.memory.open(epoch, self.begun);
    }

    /// Runs the `left` tasks of a request. `fds` are the descriptors of the arguments of a single
    /// task.
    ///
    /// The order of operations, and why it holds if the worker is killed between two steps:
    ///
    /// 1. **Publish** what came of the tasks before (in `pause`, or in `receive` if the worker was
    ///    idle). So what is claimed and not answered is of one stride, hence of one job; the pool
    ///    relies on that when it takes tasks back. Killed here: nothing is claimed, all that is
    ///    left goes to other workers.
    /// 2. **Prepare**: set the timer and the start of a task with a deadline. Killed here: as in 1;
    ///    the start that was written belongs to no claimed task, and nobody reads it.
    /// 3. **Claim** the next task, or a stride of tasks if none has to be begun by itself and all
    ///    are of one chunk. If the
    ///    word is closed, the pool has taken back all that is left, and the rest of the request is
    ///    dropped. Killed after the claim: the first claimed task counts as the one that was
    ///    running, the others of its stride as not begun.
    /// 4. **Run** each task, and **write** its short value ahead into the ring. Killed in the task:
    ///    it was running. Killed before the value is counted: likewise, though it is done; it fails
    ///    or is retried.
    /// 5. **Count** the value in the unpublished word. Killed from here on: the pool takes the
    ///    value out of the ring, and the next task is the one that was running.
    /// 6. **Publish** the block when it is full or the stride ends, and wake the pool now and then.
    ///    Killed between writing and waking: the pool reads the ring when it learns of the death.
    pub(crate) fn run(
        &mut self,
        mut left: u32,
        fds: &mut Vec<Arc<OwnedFd>>,
        tasks: &mut impl Tasks,
    ) {
        while left > 0 && !self.is_over {
            let mut stride = if tasks.go_one_by_one() { 1 } else { self.stride.min(left) };
            // Step 2, ahead of the claim: see the order above.
            tasks.prepare(&self.memory);
            left -= stride;
            while stride > 0 && !self.is_over {
                let mut to_do = stride.min(tasks.together());
                // Step 3. The word may close at any moment, but not between its look and its claim:
                // both are one instruction.
                if !self.memory.begin(to_do) {
                    return;
                }
                // Only what was claimed counts; `open` writes this number into the word.
                self.begun += u64::from(to_do);
                stride -= to_do;
                while to_do > 0 && !self.is_over {
                    self.is_over = self.stretch(&mut to_do, fds, tasks).is_err();
                }
                // The next chunk may be a long one. Without the clock, which `pause` reads.
                self.is_over |= stride > 0 && self.publish().is_err();
            }
            // After the stride and before the next claim: a worker that has been told to end by its
            // timer begins nothing more.
            self.is_over |= tasks.is_last();
            // The last pause of a request is `rest`: more work may wait in the link, and then it
            // need not pause at all.
            self.is_over |= left > 0 && self.pause().is_err();
        }
    }

    /// Pauses after a request, so that the pool can know what came of it.
    ///
    /// # Errors
    /// The pool is gone, or the last task was the last of this worker: its loop ends.
    pub(crate) fn rest(&mut self) -> Result<(), SendTransportError> {
        if self.is_over { Err(SendTransportError::Disconnected) } else { self.pause() }
    }

    /// Runs up to `to_do` tasks, until one comes to something other than a short value without
    /// descriptors: that one is answered by a message of its own. Counts `to_do` down.
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
                // Before the task runs: if it panics, it is done.
                *to_do -= 1;
                start = self.block.len();
                // Kept for the length of a short value, or for the reply byte of another one.
                self.block.push(0);
                let done = tasks.next(&mut self.block, fds);
                self.leave_if_copy();
                match done {
                    // The common case: a short value, which goes into the block.
                    Ok(()) if fds.is_empty() && self.block.len() - start - 1 <= messages::SHORT => {
                        self.note(start)?
                    }
                    other => return Ok(Some(other)),
                }
            }
            Ok(None)
        });
        match done {
            // The stretch is over.
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(other))) => self.answer(start, Ok(other.map(|()| mem::take(fds)))),
            Ok(Err(fault)) => Err(fault),
            // The panic has been shown by the hook, with the task's name. What the task had encoded
            // so far is cut off in `answer`.
            Err(panic) => {
                self.leave_if_copy();
                fds.clear();
                self.answer(start, Err(panic))
            }
        }
    }

    /// Ends this process if it is a fork that a task made and that has returned from the task as
    /// well: the link, the claim word and the rest of the tasks are the original's.
    #[inline]
    fn leave_if_copy(&self) {
        // Without exit handlers: those of the original are not the copy's to run.
        if Generation::current() != self.generation {
            exit::now(0);
        }
    }

    /// Adds a short value to the block, which it ends; it begins at `start`. Steps 4 to 6 of
    /// [`run`](TaskRunner::run).
    #[inline]
    fn note(&mut self, start: usize) -> Result<(), SendTransportError> {
        // Room for a whole block is asked for once, with its first answer. Without room, the answer
        // waits as a message of its own, which blocks until the pool has read something.
        if self.count == 0 && !self.link.has_room(MAX_BLOCK)? {
            return self.answer_alone(start, &[]);
        }
        messages::close_frame(&mut self.block, start);
        // The second half of step 4 ...
        self.link.write_ahead(start, &self.block);
        self.count += 1;
        // Both within their bounds: a block is closed before.
        #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_BLOCK`")]
        let bytes = self.block.len() as u16;
        // ... and step 5, in this order: the word must never count bytes that are not there.
        self.memory.has_written(Unpublished { mark: self.link.mark(), count: self.count, bytes });
        // Full if the next short value, with its length, might not fit.
        if self.block.len() + messages::SHORT + 8 > MAX_BLOCK { self.publish() } else { Ok(()) }
    }

    /// Answers for a task that came to something else than a short value. What it encoded begins at
    /// `start` of the block; it is sent from there or cut off.
    #[cold]
    fn answer(
        &mut self,
        start: usize,
        done: Result<Result<Vec<Arc<OwnedFd>>, Refusal>, unwind::Panic>,
    ) -> Result<(), SendTransportError> {
        match done {
            Ok(Ok(fds)) => match self.answer_alone(start, &fds) {
                // The system refuses the value's descriptors (too many in flight, say). That is a
                // failure of this task, not of the worker.
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
            Err(panic) => {
                current_task::report(&panic);
                self.refuse(start, Reply::Panicked, &messages::panic_bytes(&panic))
            }
        }
    }

    /// Sends a value in a message of its own: a long one, one with descriptors, or one for which
    /// the ring had no room.
    #[cold]
    fn answer_alone(
        &mut self,
        start: usize,
        fds: &[Arc<OwnedFd>],
    ) -> Result<(), SendTransportError> {
        // The byte in front of it was kept for its length.
        self.block[start] = Reply::Returned as u8;
        // First what came before: answers carry no numbers, their order tells whose they are.
        self.publish_before(start)?;
        // A pool that sleeps with a full ring must be woken before this thread waits for room.
        self.link.wake_pool()?;
        let said = self.link.send(&self.block[start..], fds);
        self.block.truncate(messages::BLOCK_HEAD);
        // The buffer has grown for this value; the next ones are likely to be short.
        if self.block.capacity() > MAX_KEPT_BUFFER {
            self.block.shrink_to(MAX_BLOCK);
        }
        said
    }

    /// Answers that a task has failed, with `reason`, and cuts off what it had encoded.
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

    /// Publishes the block, then sends `message` behind it.
    fn say(&mut self, message: &[u8], fds: &[Arc<OwnedFd>]) -> Result<(), SendTransportError> {
        self.publish()?;
        self.link.wake_pool()?;
        self.link.send(message, fds)
    }

    /// Publishes the block, if there is anything in it, and empties it.
    fn publish(&mut self) -> Result<(), SendTransportError> {
        self.publish_before(self.block.len())?;
        self.block.truncate(messages::BLOCK_HEAD);
        Ok(())
    }

    /// Publishes the part of the block before offset `end`. The bytes from there on stay in the
    /// buffer: they are an answer that is sent by itself.
    fn publish_before(&mut self, end: usize) -> Result<(), SendTransportError> {
        if self.count == 0 {
            return Ok(());
        }
        // The head is written last, as the number of answers is known only now. The answers are in
        // the ring already.
        let head = messages::block_head(self.count);
        self.block[..head.len()].copy_from_slice(&head);
        self.link.write_ahead(0, &head);
        // A death before this leaves the block unpublished but counted; one after it leaves a word
        // whose mark is of the past. The pool counts the answers once in both cases.
        self.link.publish(end);
        self.count = 0;
        Ok(())
    }

    /// Between strides: publishes the block, measures the stride, and wakes the pool if it was not
    /// woken for [`messages::WAKE_INTERVAL`].
    fn pause(&mut self) -> Result<(), SendTransportError> {
        // Step 1 of `run`: before the next claim, so that the pool knows which task is running.
        self.publish()?;
        let now = poll::monotonic();
        let took = now.saturating_sub(self.looked);
        self.looked = now;
        self.busy += took;
        // Here and not at each task: the clock is read once for each stride.
        self.memory.was_busy(self.busy);
        // Doubles while strides are short beside the cost of a claim, and shrinks faster than it
        // grows: a task that is suddenly long should hold up few others.
        if took < SHORT_STRIDE {
            self.stride = (self.stride * 2).min(MAX_STRIDE);
        } else if took > 4 * SHORT_STRIDE {
            self.stride = (self.stride / 4).max(1);
        }
        // Not at each pause: a wake-up costs a system call. The pool looks by itself soon after.
        if now.saturating_sub(self.woken) > messages::WAKE_INTERVAL {
            self.woken = now;
            self.link.wake_pool()?;
        }
        Ok(())
    }

    /// Waits for the next request. Returns `false` if this worker is to end: the pool has dismissed
    /// it, or is gone.
    pub(crate) fn receive(&mut self, message: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> bool {
        // Asked before the wait: afterwards, nothing tells whether this thread slept.
        let is_idle = self.link.is_empty();
        // About to sleep: what was done must be known first, and the pool must be told, as this
        // worker does not come back to it until there is work. With a request waiting, `pause` sees
        // to it in time.
        if is_idle && (self.publish().is_err() || self.link.wake_pool().is_err()) {
            return false;
        }
        message.clear();
        match self.link.recv(message) {
            Ok(came) => *fds = came,
            Err(_) => return false,
        }
        // Time asleep is not time at work. A worker that was not idle measures on from its last
        // pause.
        if is_idle {
            self.looked = poll::monotonic();
            self.woken = self.looked;
        }
        true
    }
}
