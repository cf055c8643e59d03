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
use super::task_runner::{TaskRunner, Tasks, WorkerLink};
use crate::channel::pipe::link::RingLink;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::codec::{self, Carried, Ends};
use crate::limits::Limits;
use crate::pool::protocol::messages::{self, Reply, Request};
use crate::pool::protocol::records;
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::sys::limits::watch;
use crate::sys::parcel::Parcel;
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

/// Bytes of a buffer that are kept for the next request, at the most.
const MAX_KEPT_BUFFER: usize = 4 << 20;

/// Sets how much later than the deadline of its task a worker ends itself.
const HANDICAP: Duration = Duration::from_millis(50);

thread_local! {
    /// What runs this worker's tasks; `None` while it does, as the task is then in between.
    static RUNNER: RefCell<Option<Box<TaskRunner<RingLink>>>> = const { RefCell::new(None) };

    /// What the request says that is about to be followed.
    static REQUEST: RefCell<Option<Todo>> = const { RefCell::new(None) };
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
    RUNNER.set(Some(Box::new(TaskRunner::new(link, memory))));
    while with_runner(|runner| runner.receive(&mut message, &mut fds)) == Some(true) {
        if !obey(&message, mem::take(&mut fds))
            || with_runner(|runner| runner.rest().is_ok()) != Some(true)
        {
            return;
        }
        if message.capacity() > MAX_KEPT_BUFFER {
            message = Vec::new();
        }
    }
}

fn with_runner<T>(f: impl FnOnce(&mut TaskRunner<RingLink>) -> T) -> Option<T> {
    RUNNER.with_borrow_mut(|runner| runner.as_deref_mut().map(f))
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
            with_runner(|runner| runner.open(epoch));
            true
        }
        Some((Request::Tasks { entry, count, first, name, deadline, limits }, arguments)) => {
            let Some(entry) = entry.and_then(Offset::entry) else { return false };
            REQUEST.set(Some(Todo { name, count, first, deadline, limits }));
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
    let Some(mut runner) = RUNNER.take() else { return };
    let Some(Todo { name, count, first, deadline, limits }) = REQUEST.take() else { return };
    TASK.set(Some(CurrentTask { name, function, number: first, deadline: None }));
    let mut tasks = Running { arguments, at: 0, next: first, deadline, limits, call };
    runner.run(count, &mut fds, &mut tasks);
    TASK.set(None);
    RUNNER.set(Some(runner));
}

/// The tasks of a request, while they are run.
struct Running<'a, C> {
    arguments: &'a [u8],
    /// Where the arguments of the next task begin.
    at: usize,
    /// Number of the next task in its call.
    next: u64,
    /// How long each may take, and this process has then to end.
    deadline: Option<(Duration, Duration)>,
    limits: Option<Box<Limits>>,
    call: C,
}

impl<C> Tasks for Running<'_, C>
where
    C: Fn(&[u8], &mut Vec<u8>, &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal>,
{
    fn go_one_by_one(&self) -> bool {
        self.deadline.is_some() || self.limits.is_some()
    }

    fn prepare(&mut self, memory: &WorkerMemory) {
        let Some((deadline, grace)) = self.deadline else { return };
        // The pool comes first, unless it may not signal this process. Without a timer (the user
        // has none left), it is the only one.
        let _ = watch::begin_task(deadline, HANDICAP, grace);
        memory.starts(poll::monotonic());
        TASK.with_borrow_mut(|task| {
            if let Some(task) = task {
                task.deadline = Instant::now().checked_add(deadline);
            }
        });
    }

    #[inline]
    fn next(&mut self, onto: &mut Vec<u8>, fds: &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal> {
        NUMBER.set(self.next);
        self.next += 1;
        let arguments = messages::next_frame(self.arguments, &mut self.at).unwrap_or_default();
        let _in_force = match &self.limits {
            Some(limits) => Some(limits.for_task().map_err(not_in_force)?),
            None => None,
        };
        (self.call)(arguments, onto, fds)
    }

    fn is_last(&mut self) -> bool {
        // Done in its grace, as the last task here.
        self.deadline.is_some() && watch::end_task()
    }
}

#[cold]
fn not_in_force(error: io::Error) -> Refusal {
    Refusal::Result(format!("its limits cannot be put in force: {error}"))
}

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
        self.recv(message, u64::MAX, Deadline::Never)
    }
}
