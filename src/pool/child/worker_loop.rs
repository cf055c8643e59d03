//! A worker's life: it takes tasks from its link, runs them one after the other, and says what
//! became of each.

use std::any::type_name;
use std::cell::RefCell;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::current_task::{CurrentTask, NUMBER, TASK, WORKER};
use crate::channel::pipe::link::RingLink;
use crate::channel::transport::SendTransportError;
use crate::codec::{self, Carried, Ends};
use crate::limits::Limits;
use crate::pool::protocol::messages::{self, Reply, Request};
use crate::pool::protocol::records;
use crate::pool::protocol::unpublished::Unpublished;
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::sys::limits::watch;
use crate::sys::parcel::Parcel;
use crate::sys::per_process::Generation;
use crate::sys::process::exit;
use crate::sys::program::code::{self, Entry, Offset, Refusal};
use crate::sys::wait::poll::{self, Deadline};
use crate::target::Target;
use crate::unwind;

/// Describes what a worker is started with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Duty {
    pub(crate) link: RingLink,
    pub(crate) memory: WorkerMemory,
    pub(crate) id: usize,
    pub(crate) initializer: Option<Initializer>,
    /// Where records go, and the least important that does.
    pub(crate) records: Option<(Carried, usize)>,
}

/// Describes what runs in a worker before its first task, with encoded arguments.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) entry: Offset,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Carried>,
}

/// The most bytes of answers that are published together.
const MAX_BLOCK: usize = 4096;

/// The most bytes that are kept for the next order, and for the next answer.
const MAX_KEPT_BUFFER: usize = 4 << 20;

/// The most tasks that are begun together, and how long they may take for it to be more the next
/// time.
const MAX_STRIDE: u32 = 128;
const SHORT_STRIDE: Duration = Duration::from_micros(5);

/// Sets how much later than the deadline of its task a worker ends itself.
const HANDICAP: Duration = Duration::from_millis(50);

/// Describes what a worker has while it runs tasks.
struct WorkerLoop {
    link: RingLink,
    memory: WorkerMemory,
    /// The process's, which is not that of its forked copies.
    generation: Generation,
    /// Holds what the order says that is about to be followed.
    order: Option<Todo>,
    /// Counts how many tasks were begun.
    begun: u64,
    /// Answers that are written but not published, behind the head that they get, and how many
    /// there are.
    block: Vec<u8>,
    count: u16,
    /// Counts how many tasks are begun together.
    stride: u32,
    /// When the clock was looked at, and when the pool was last woken.
    looked: Duration,
    woken: Duration,
    /// Says how long it was at work.
    busy: Duration,
    /// Nobody listens any more.
    is_over: bool,
}

thread_local! {
    static WORKER_LOOP: RefCell<Option<Box<WorkerLoop>>> = const { RefCell::new(None) };
}

/// The entry for an initializer: it leaves what the function returns in the worker.
pub(crate) fn initializer_entry<F, Args>() -> Entry
where
    F: Target<Args>,
    Args: DeserializeOwned,
    F::Output: 'static,
{
    |arguments, fds| {
        let arguments = codec::decode::<Args>(arguments, fds).map_err(Refusal::Arguments)?;
        let state = code::conjure::<F>().call(arguments);
        WORKER.with_borrow_mut(|worker| {
            if let Some((_, place)) = worker {
                *place = Some(Box::new(state));
            }
        });
        Ok(Parcel::default())
    }
}

/// The entry for tasks of a function: it runs all whose arguments it gets.
pub(crate) fn tasks_entry<F, Args>() -> Entry
where
    F: Target<Args>,
    Args: DeserializeOwned,
    F::Output: Serialize,
{
    |arguments, fds| {
        run(type_name::<F>(), arguments, fds, |arguments, onto, fds| {
            let came = if fds.is_empty() { Vec::new() } else { mem::take(fds) };
            let arguments = codec::decode::<Args>(arguments, came).map_err(Refusal::Arguments)?;
            let output = code::conjure::<F>().call(arguments);
            codec::encode_within(&output, onto, messages::LONGEST, fds)
                .map(Ends::keep)
                .map_err(Refusal::Result)
        });
        Ok(Parcel::default())
    }
}

/// The function that a worker's process runs.
pub(crate) fn serve(duty: Duty) {
    let Duty { mut link, memory, id, initializer, records } = duty;
    WORKER.set(Some((id, None)));
    unwind::name_tasks(|| {
        let name = TASK
            .try_with(|task| task.try_borrow().ok()?.as_ref().map(|task| task.name().to_owned()));
        name.ok().flatten()
    });
    if let Some((socket, level)) = records {
        records::install(socket, level);
    }
    let mut ready = vec![Reply::Ready as u8];
    if let Some(reason) = initializer.and_then(initialize) {
        ready.extend_from_slice(reason.as_bytes());
    }
    if link.send(&ready, &[], Deadline::Never).is_err() || ready.len() > 1 {
        return;
    }
    let mut message = Vec::new();
    let mut fds = Vec::new();
    WORKER_LOOP.set(Some(Box::new(WorkerLoop::new(link, memory))));
    while with_worker_loop(|worker_loop| worker_loop.receive(&mut message, &mut fds)) == Some(true)
    {
        if !obey(&message, mem::take(&mut fds))
            || with_worker_loop(|worker_loop| !worker_loop.is_over && worker_loop.pause().is_ok())
                != Some(true)
        {
            return;
        }
        if message.capacity() > MAX_KEPT_BUFFER {
            message = Vec::new();
        }
    }
}

fn with_worker_loop<T>(f: impl FnOnce(&mut WorkerLoop) -> T) -> Option<T> {
    WORKER_LOOP.with_borrow_mut(|worker_loop| worker_loop.as_deref_mut().map(f))
}

/// Runs what is to run before the first task; the reason if it fails.
fn initialize(Initializer { entry, bytes, fds }: Initializer) -> Option<String> {
    let Some(entry) = entry.entry() else {
        return Some("its initializer is not in this program's code".to_owned());
    };
    let fds = fds.into_iter().map(|fd| fd.0).collect();
    match unwind::catch(|| entry(&bytes, fds)) {
        Ok(Ok(_)) => None,
        Ok(Err(Refusal::Arguments(reason) | Refusal::Result(reason))) => {
            Some(format!("its initializer could not decode its arguments: {reason}"))
        }
        Err(panic) => Some(format!("its initializer panicked: {panic}")),
    }
}

/// Does what an order says; whether it could be understood.
fn obey(message: &[u8], fds: Vec<Arc<OwnedFd>>) -> bool {
    match messages::understand(message) {
        Some((Request::Open(epoch), _)) => {
            with_worker_loop(|worker_loop| worker_loop.memory.open(epoch, worker_loop.begun));
            true
        }
        Some((Request::Tasks { entry, count, first, name, deadline, limits }, arguments)) => {
            let Some(entry) = entry.and_then(Offset::entry) else { return false };
            with_worker_loop(|worker_loop| {
                worker_loop.order = Some(Todo { name, count, first, deadline, limits })
            });
            let _ = entry(arguments, fds);
            TASK.set(None);
            true
        }
        None => false,
    }
}

/// Describes what an order says of its tasks.
struct Todo {
    name: Option<String>,
    count: u32,
    first: u64,
    /// Says how long each may take, and this process has then to end.
    deadline: Option<(Duration, Duration)>,
    /// Holds what else each may use.
    limits: Option<Box<Limits>>,
}

/// Runs tasks: `call` decodes the arguments of one, which may take descriptors out of the second
/// vector, runs it, puts its encoded value behind what is in the first, and its descriptors into
/// the second.
fn run(
    function: &'static str,
    arguments: &[u8],
    mut fds: Vec<Arc<OwnedFd>>,
    call: impl Fn(&[u8], &mut Vec<u8>, &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>,
) {
    let Some(mut worker_loop) = WORKER_LOOP.take() else { return };
    let Some(Todo { name, count: mut left, first: mut next, deadline: limit, limits }) =
        worker_loop.order.take()
    else {
        return;
    };
    TASK.set(Some(CurrentTask { name, function, number: next, deadline: None }));
    let mut at = 0;
    while left > 0 && !worker_loop.is_over {
        // Together only if nobody has to know when each began.
        let mut to_do =
            if limit.is_some() || limits.is_some() { 1 } else { worker_loop.stride.min(left) };
        if let Some((limit, grace)) = limit {
            // The pool comes first, unless it may not signal this process. Without a timer (the
            // user has none left), it is the only one.
            let _ = watch::begin_task(limit, HANDICAP, grace);
            worker_loop.memory.starts(poll::monotonic());
            TASK.with_borrow_mut(|task| {
                if let Some(task) = task {
                    task.deadline = Instant::now().checked_add(limit);
                }
            });
        }
        if !worker_loop.memory.begin(to_do) {
            // All that is left was taken back.
            break;
        }
        worker_loop.begun += u64::from(to_do);
        left -= to_do;
        while to_do > 0 && !worker_loop.is_over {
            let done = worker_loop.stretch(&mut to_do, &mut fds, |onto, fds| {
                NUMBER.set(next);
                next += 1;
                let arguments = messages::next_frame(arguments, &mut at).unwrap_or_default();
                let _in_force = match &limits {
                    Some(limits) => Some(limits.for_task().map_err(not_in_force)?),
                    None => None,
                };
                call(arguments, onto, fds)
            });
            worker_loop.is_over = done.is_err();
        }
        // Done in its grace, as the last task here.
        worker_loop.is_over |= limit.is_some() && watch::end_task();
        worker_loop.is_over |= left > 0 && worker_loop.pause().is_err();
    }
    TASK.set(None);
    WORKER_LOOP.set(Some(worker_loop));
}

#[cold]
fn not_in_force(error: io::Error) -> Refusal {
    Refusal::Result(format!("its limits cannot be put in force: {error}"))
}

impl WorkerLoop {
    fn new(link: RingLink, memory: WorkerMemory) -> WorkerLoop {
        let now = poll::monotonic();
        let block = messages::block_head(0).to_vec();
        WorkerLoop {
            link,
            memory,
            generation: Generation::current(),
            order: None,
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

    /// Runs tasks, `to_do` at the most, until one comes to something else than a short value.
    /// `task` runs the next, and puts its encoded value behind what is in the vector.
    #[inline]
    fn stretch(
        &mut self,
        to_do: &mut u32,
        fds: &mut Vec<Arc<OwnedFd>>,
        mut task: impl FnMut(&mut Vec<u8>, &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>,
    ) -> Result<(), SendTransportError> {
        let mut start = 0;
        // Once for all of them: to catch each for itself takes longer than a short one does.
        let done = unwind::catch(|| {
            while *to_do > 0 {
                *to_do -= 1;
                start = self.block.len();
                self.block.push(0);
                let done = task(&mut self.block, fds);
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
        if self.count == 0 && !self.link.outbound().has_room(MAX_BLOCK)? {
            return self.answer_alone(start, &[]);
        }
        messages::close_frame(&mut self.block, start);
        self.link.outbound().write_ahead(start, &self.block);
        self.count += 1;
        // Both within their bounds: a block is closed before.
        #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_BLOCK`")]
        let bytes = self.block.len() as u16;
        self.memory.has_written(Unpublished {
            mark: self.link.outbound().mark(),
            count: self.count,
            bytes,
        });
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
        self.link.wake_peer()?;
        let said = self.link.send(&self.block[start..], fds, Deadline::Never);
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
        self.link.wake_peer()?;
        self.link.send(message, fds, Deadline::Never)
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
        self.link.outbound().write_ahead(0, &head);
        self.link.outbound().publish(end);
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
            self.link.wake_peer()?;
        }
        Ok(())
    }

    /// Waits for the next order; whether there is one.
    fn receive(&mut self, message: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> bool {
        let is_idle = self.link.is_empty();
        if is_idle && (self.publish().is_err() || self.link.wake_peer().is_err()) {
            return false;
        }
        message.clear();
        match self.link.recv(message, u64::MAX, Deadline::Never) {
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
