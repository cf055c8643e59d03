//! The function that a worker's process runs, from its start to its end.
//!
//! 1. Install what tasks can ask about: worker number, task names in panic texts, the forwarding
//!    logger.
//! 2. Run the initializer, and send `Ready`, with the reason if it failed; then the worker ends.
//! 3. Wait for requests and follow them, until the pool ends the link or a task's timer has fired.
//!
//! A request names an *entry*, a function that was instantiated for the target's types
//! ([`tasks_entry`]). The entry decodes, calls and encodes; [`TaskRunner`] owns the order of
//! operations around it. The runner is in a thread-local while no task runs and is moved into
//! [`run`] while one does: an entry has the signature of all entries, which has no place for it.

use std::any::type_name;
use std::io;
use std::mem;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::current_task::{CurrentTask, NUMBER, TASK, WORKER};
use super::lasting::Lasting;
use super::left::Left;
use super::task_runner::{TaskRunner, Tasks, WorkerLink};
use crate::channel::pipe::link::RingLink;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::codec::{self, Carried, Ends};
use crate::limits::Limits;
use crate::pool::protocol::messages::{self, Reply, Request};
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::relay::records;
use crate::sys::limits::watch;
use crate::sys::parcel::Parcel;
use crate::sys::program::code::{self, Entry, Offset, Refusal};
use crate::sys::wait::poll::{self, Deadline};
use crate::target::Target;
#[cfg(feature = "tracing")]
use crate::trace::teller;
use crate::trace_context;
use crate::unwind;

/// The data that a worker starts with: the argument of [`serve`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Duty {
    /// The worker's end of the link.
    pub(crate) link: RingLink,
    /// The words that it shares with the pool.
    pub(crate) memory: WorkerMemory,
    /// Number of its place in the pool, from 1.
    pub(crate) id: usize,
    /// The function to run before the first task.
    pub(crate) initializer: Option<Initializer>,
    /// The socket for log records, and the level of the least important to be sent.
    pub(crate) records: Option<(Carried, usize)>,
    /// The greatest level of spans and events to be told over that socket; 0 for none.
    pub(crate) trace_level: u8,
}

/// A function to run in each worker before its first task, with its encoded arguments.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) entry: Offset,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Carried>,
}

/// Bytes of a buffer that are kept for the next request, at the most.
const MAX_KEPT_BUFFER: usize = 4 << 20;

/// Time by which the worker's own timer comes later than the pool, when a task is past its
/// deadline. The pool's report is the better one, so the pool gets the first try; the timer is for
/// a pool that may not signal this process or is stopped itself.
const HANDICAP: Duration = Duration::from_millis(50);

thread_local! {
    /// The runner; `None` while it runs tasks, as `run` has taken it.
    static RUNNER: Lasting<Box<TaskRunner<RingLink>>> = const { Lasting::new() };

    /// What they have left behind.
    static LEFT: Lasting<Left> = const { Lasting::new() };

    /// The part of the request about the tasks that its entry is about to run.
    static REQUEST: Lasting<Todo> = const { Lasting::new() };
}

/// The entry of an initializer. It leaves what the function returns in the worker's state, where
/// [`with_worker_state`](super::with_worker_state) finds it.
pub(crate) fn initializer_entry<F, Args>() -> Entry
where
    F: Target<Args>,
    Args: DeserializeOwned,
    F::Output: 'static,
{
    |arguments, fds| {
        // An initializer that cannot decode fails the worker's start: no task could do better.
        let arguments = codec::decode::<Args>(arguments, fds).map_err(Refusal::Arguments)?;
        let state = code::conjure::<F>().call(arguments);
        WORKER.with(|worker| worker.with_mut(|(_, place)| *place = Some(Box::new(state))));
        Ok(Parcel::default())
    }
}

/// The entry for tasks of `F`: runs all tasks of the current request.
///
/// Each instantiation contains the whole loop of the runner, so decoding, call and encoding of
/// short tasks are inlined into it.
pub(crate) fn tasks_entry<F, Args>() -> Entry
where
    F: Target<Args>,
    Args: DeserializeOwned,
    F::Output: Serialize,
{
    |arguments, fds| {
        run(type_name::<F>(), arguments, fds, |arguments, onto, fds| {
            // Only a job of a single task has descriptors; they are its arguments'. The vector is
            // then free for those of its value.
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

/// Serves a pool: the main function of a worker's process.
pub(crate) fn serve(duty: Duty) {
    work(duty);
    // The state is the user's; the panic of its destructor has been shown.
    let _ = unwind::catch(|| drop(WORKER.with(Lasting::take)));
    drop(RUNNER.with(Lasting::take));
}

/// Does what is to be done, up to the end.
fn work(duty: Duty) {
    let Duty { mut link, memory, id, initializer, records, trace_level } = duty;
    // Before the initializer, which may ask for its worker's number.
    WORKER.with(|worker| worker.set((id, None)));
    // Called by the panic hook, perhaps while the task's name is borrowed or the thread is ending:
    // it then gives no name rather than a second panic.
    unwind::name_tasks(|| TASK.with(|task| task.look(|task| task.name().to_owned())));
    if let Some((Carried(socket), level)) = records {
        records::install_teller(&socket, trace_level);
        records::install(socket, level);
    }
    let mut ready = vec![Reply::Ready as u8];
    if let Some(reason) = initializer.and_then(initialize) {
        ready.extend_from_slice(reason.as_bytes());
    }
    // The pool is gone, or has been told why this worker cannot serve.
    if link.send(&ready, &[], Deadline::Never).is_err() || ready.len() > 1 {
        return;
    }
    let mut message = Vec::new();
    let mut fds = Vec::new();
    RUNNER.with(|runner| runner.set(Box::new(TaskRunner::new(link, memory))));
    LEFT.with(|left| left.set(Left::new()));
    while with_runner(|runner| runner.receive(&mut message, &mut fds)) == Some(true) {
        if !obey(&message, mem::take(&mut fds))
            || with_runner(|runner| runner.rest().is_ok()) != Some(true)
        {
            return;
        }
        // One huge request should not cost its memory for ever.
        if message.capacity() > MAX_KEPT_BUFFER {
            message = Vec::new();
        }
    }
}

/// Calls `f` with the runner; `None` if a task has it, which cannot be between two requests.
fn with_runner<T>(f: impl FnOnce(&mut TaskRunner<RingLink>) -> T) -> Option<T> {
    RUNNER.with(|runner| runner.with_mut(|runner| f(runner)))
}

/// Runs the initializer. Returns the reason if it failed.
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

/// Follows a request. Returns `false` for one that makes no sense: the worker then ends, and the
/// pool gives its tasks to another.
fn obey(message: &[u8], fds: Vec<Arc<OwnedFd>>) -> bool {
    match messages::understand(message) {
        Some((Request::Open(epoch), _)) => {
            with_runner(|runner| runner.open(epoch));
            true
        }
        Some((
            Request::Tasks { entry, count, chunk, first, name, deadline, limits, traced, context },
            arguments,
        )) => {
            // The pool checks entries before it sends them, so this is garbage.
            let Some(entry) = entry.and_then(Offset::entry) else { return false };
            let todo = Todo { name, count, chunk, first, deadline, limits, traced, context };
            REQUEST.with(|request| request.set(todo));
            // Outcomes have gone to the link; the entry itself has none.
            let _ = entry(arguments, fds);
            TASK.with(Lasting::take);
            true
        }
        None => false,
    }
}

/// A request's part about its tasks.
struct Todo {
    name: Option<String>,
    count: u32,
    /// Number of tasks of a chunk; `None` if they are one.
    chunk: Option<NonZeroU32>,
    first: u64,
    /// Time that each may take, and time that this process has then to end.
    deadline: Option<(Duration, Duration)>,
    /// Limits of each task.
    limits: Option<Box<Limits>>,
    /// The job's number in what is told of its tasks, and the greatest level that is told of.
    traced: Option<(u64, u8)>,
    /// The context of the trace that they are part of.
    context: Option<String>,
}

/// Tells of what the program wants by now; returns the job's number.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "nothing is told"))]
fn follow((number, level): (u64, u8)) -> u64 {
    #[cfg(feature = "tracing")]
    teller::set_level(level);
    number
}

/// Runs the tasks of the current request. `call` decodes the arguments of one task, taking their
/// descriptors out of its last argument, calls the function, appends the encoded value to its
/// second argument, and puts the value's descriptors into the last.
fn run(
    function: &'static str,
    arguments: &[u8],
    mut fds: Vec<Arc<OwnedFd>>,
    call: impl Fn(&[u8], &mut Vec<u8>, &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>,
) {
    // Both are there, unless a task calls an entry by itself, which nothing offers.
    let Some(mut runner) = RUNNER.with(Lasting::take) else { return };
    let Some(todo) = REQUEST.with(Lasting::take) else { return };
    let Todo { name, count, chunk, first, deadline, limits, traced, context } = todo;
    let traced = traced.map(follow);
    trace_context::enter(context);
    TASK.with(|task| task.set(CurrentTask { name, function, number: first, deadline: None }));
    let mut tasks =
        Running { arguments, at: 0, next: first, chunk, deadline, limits, traced, call };
    runner.run(count, &mut fds, &mut tasks);
    // Before the runner is back: `current_task` gives nothing between two tasks.
    TASK.with(Lasting::take);
    trace_context::enter(None);
    // Back in its place for the next request.
    RUNNER.with(|place| place.set(runner));
}

/// The tasks of a request while they run.
struct Running<'a, C> {
    arguments: &'a [u8],
    /// Offset of the arguments of the next task.
    at: usize,
    /// Number of the next task in its map.
    next: u64,
    /// Number of tasks of a chunk; `None` if they are one.
    chunk: Option<NonZeroU32>,
    /// Time that each may take, and time that this process has then to end.
    deadline: Option<(Duration, Duration)>,
    limits: Option<Box<Limits>>,
    /// The job's number in what is told of its tasks; `None` if nothing is told.
    traced: Option<u64>,
    call: C,
}

impl<C> Tasks for Running<'_, C>
where
    C: Fn(&[u8], &mut Vec<u8>, &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>,
{
    fn go_one_by_one(&self) -> bool {
        self.deadline.is_some() || self.limits.is_some()
    }

    fn together(&self) -> u32 {
        self.chunk.map_or(u32::MAX, NonZeroU32::get)
    }

    fn prepare(&mut self, memory: &WorkerMemory) {
        let Some((deadline, grace)) = self.deadline else { return };
        // The pool comes first, unless it may not signal this process. Without a timer (the user
        // has none left), it is the only one.
        let _ = watch::begin_task(deadline, HANDICAP, grace);
        // The pool counts the deadline from here, so it comes before the timer, by `HANDICAP`.
        memory.starts(poll::monotonic());
        TASK.with(|task| {
            task.with_mut(|task| task.deadline = Instant::now().checked_add(deadline))
        });
    }

    #[inline]
    fn next(&mut self, onto: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal> {
        // A cell of its own, as a name is cloned only when somebody asks.
        NUMBER.set(self.next);
        self.next += 1;
        // A request with fewer frames than tasks is garbage; its tasks fail to decode an empty
        // value or, without arguments, run.
        let arguments = messages::next_frame(self.arguments, &mut self.at).unwrap_or_default();
        // Until the end of this function: the limits are lifted before the next task.
        let _in_force = match &self.limits {
            Some(limits) => Some(limits.for_task().map_err(not_in_force)?),
            None => None,
        };
        if self.traced.is_some() {
            return self.next_traced(arguments, onto, fds);
        }
        (self.call)(arguments, onto, fds)
    }

    fn is_last(&mut self) -> bool {
        // If the timer has fired, the task is done in its grace, as the last one here.
        self.deadline.is_some() && watch::end_task()
    }
}

impl<C> Running<'_, C>
where
    C: Fn(&[u8], &mut Vec<u8>, &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>,
{
    /// Runs the task whose number was set, and tells of its begin and its end. Of a panic, the
    /// runner tells, which catches it.
    #[cold]
    fn next_traced(
        &self,
        arguments: &[u8],
        onto: &mut Vec<u8>,
        fds: &mut Vec<Arc<OwnedFd>>,
    ) -> Result<(), Refusal> {
        #[cfg(feature = "tracing")]
        TASK.with(|task| {
            task.look(|task| {
                teller::begun(self.traced.unwrap_or_default(), NUMBER.get(), task.name());
            })
        });
        let done = (self.call)(arguments, onto, fds);
        #[cfg(feature = "tracing")]
        match &done {
            Ok(()) => teller::returned(),
            Err(Refusal::Arguments(reason)) => {
                teller::failed(&format!("its arguments could not be decoded: {reason}"));
            }
            Err(Refusal::Result(reason)) => {
                teller::failed(&format!("its result could not be sent: {reason}"));
            }
        }
        done
    }
}

/// The refusal of a task whose limits the system does not accept.
#[cold]
fn not_in_force(error: io::Error) -> Refusal {
    Refusal::Result(format!("its limits cannot be put in force: {error}"))
}

/// Forwards to the link, whose methods serve both of its ends.
impl WorkerLink for RingLink {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn has_room(&mut self, bytes: usize) -> Result<bool, SendTransportError> {
        self.outbound().has_room(bytes)
    }

    #[inline]
    fn write_ahead(&mut self, from: usize, bytes: &[u8]) {
        self.outbound().write_ahead(from, bytes);
    }

    #[inline]
    fn mark(&mut self) -> u32 {
        self.outbound().mark()
    }

    fn publish(&mut self, length: usize) {
        self.outbound().publish(length);
    }

    fn wake_pool(&mut self) -> Result<(), SendTransportError> {
        self.wake_peer()
    }

    fn send(&mut self, bytes: &[u8], fds: &[Arc<OwnedFd>]) -> Result<(), SendTransportError> {
        self.send(bytes, fds, Deadline::Never)
    }

    fn recv(&mut self, message: &mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        loop {
            let is_idle = self.is_empty();
            let due = LEFT.with(|left| left.with_mut(|left| left.due(is_idle))).flatten();
            match self.recv(message, u64::MAX, due.map_or(Deadline::Never, Deadline::at)) {
                Err(RecvTransportError::Empty) if due.is_some() => {}
                came => {
                    if is_idle {
                        LEFT.with(|left| left.with_mut(Left::begin));
                    }
                    return came;
                }
            }
        }
    }
}
