//! Questions that code in a worker can ask: its task, its worker, and the worker's state.
//!
//! All of it is thread-local and set in the worker's main thread only. Reading is cheap: the name
//! of a task is copied when [`current_task`] is called, not when a task begins.

use std::any::Any;
use std::cell::Cell;
use std::time::{Duration, Instant};

use super::lasting::Lasting;
#[cfg(feature = "tracing")]
use crate::trace::teller;
use crate::unwind::Panic;

/// The initializer's value; `None` if there was none, or while [`with_worker_state`] lends
/// it.
type State = Option<Box<dyn Any>>;

thread_local! {
    /// The task that runs, with the number of the first of its request.
    pub(super) static TASK: Lasting<CurrentTask> = const { Lasting::new() };
    /// Number of the task that runs. Apart from the rest, which is the same for all tasks of a
    /// request, as it is written at every task.
    pub(super) static NUMBER: Cell<u64> = const { Cell::new(0) };
    /// Number of the worker, and its state.
    pub(super) static WORKER: Lasting<(usize, State)> = const { Lasting::new() };
}

/// Reports the panic of the task that this thread runs: one event of `tracing`, if the program
/// listens to those, or else one record of `log`, which does nothing without a logger.
#[cold]
pub(super) fn report(panic: &Panic) {
    #[cfg(feature = "tracing")]
    if teller::panicked(panic) {
        return;
    }
    let name = TASK.with(|task| task.look(|task| task.name().to_owned())).unwrap_or_default();
    let backtrace = panic.backtrace().map(|text| format!("\n{text}")).unwrap_or_default();
    log::error!(target: "multiproc::task", "task {name} panicked: {panic}{backtrace}");
}

/// The task that this thread runs, in a pool's worker: what [`current_task`] returns.
///
/// It is a snapshot: it can be kept, cloned, and sent to another thread. CPython has no
/// counterpart; a `Pool` there does not tell a function which task it is.
///
/// ```
/// use multiproc::{Pool, current_task};
///
/// fn label(_: char) -> String {
///     let task = current_task().unwrap();
///     format!("{} {}", task.name(), task.number())
/// }
///
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.tasks().name("letter").map(label, ['a', 'b'])?, ["letter 0", "letter 1"]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CurrentTask {
    pub(super) name: Option<String>,
    pub(super) function: &'static str,
    pub(super) number: u64,
    pub(super) deadline: Option<Instant>,
}

impl CurrentTask {
    /// Returns the task's name: the one set by [`Tasks::name`](crate::Tasks::name), or else the
    /// path of its function.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.function)
    }

    /// Returns the task's number: the position of its input in the map, from 0; for
    /// [`broadcast`](crate::Tasks::broadcast), the worker's number less one; for a single task, 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the time at which the pool ends the worker if the task is still running; `None` if
    /// the task may take as long as it needs.
    ///
    /// It is the deadline of this task alone:
    /// [`Tasks::overall_deadline`](crate::Tasks::overall_deadline) may end it earlier.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the time until the [`deadline`](CurrentTask::deadline); zero if it is past, `None`
    /// if there is none.
    ///
    /// A task that checks it now and then can return what it has so far instead of being killed:
    /// see the example of [`current_task`].
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Returns the task that this thread runs; `None` outside of a pool's worker, between two tasks, in
/// an initializer, and in threads that a task has started.
///
/// Costs a copy of the task's name, if it has one of its own.
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Pool, current_task};
///
/// fn as_far_as_time_allows(most: u64) -> u64 {
///     let task = current_task().unwrap();
///     let has_time = |_: &u64| task.time_left().unwrap() > Duration::from_secs(59);
///     (0..most).take_while(has_time).last().unwrap_or(0)
/// }
///
/// let pool = Pool::new(1)?;
/// let tasks = pool.tasks().deadline(Duration::from_secs(60));
/// let reached = tasks.apply(as_far_as_time_allows, (1000,))?;
/// assert!(reached < 1000);
/// assert!(current_task().is_none());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use]
pub fn current_task() -> Option<CurrentTask> {
    TASK.with(|task| task.look(|task| CurrentTask { number: NUMBER.get(), ..task.clone() }))
}

/// Returns the number of the worker whose main thread this is, from 1 to
/// [`Pool::processes`](crate::Pool::processes); `None` elsewhere.
///
/// A worker that replaces another has its number, so it can serve to pick one of as many files,
/// ports or processors. CPython has the same number at the end of a worker's name only, and counts
/// on when it replaces a worker.
///
/// ```
/// use multiproc::{Pool, worker_id};
///
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.apply(worker_id, ())?, Some(1));
/// assert_eq!(worker_id(), None);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use]
pub fn worker_id() -> Option<usize> {
    WORKER.with(|worker| worker.look(|(id, _)| *id))
}

/// Calls `f` with the worker's state, which is what the pool's
/// [initializer](crate::PoolBuilder::initializer) returned in this worker, and returns what `f`
/// returns.
///
/// The state lives as long as the worker: a database connection, a loaded model, a cache. Tasks run
/// one after the other, so `f` has it to itself. A worker that replaces another starts with a fresh
/// state. In CPython, initializers leave such things in global variables.
///
/// Returns `None`, without calling `f`:
/// - in a thread that is not a worker's main thread, such as one that a task has started;
/// - if the pool has no initializer, or it returns another type than `T`;
/// - within another call of this function, which has the state.
///
/// If `f` panics, the state is kept as `f` left it.
///
/// ```
/// use multiproc::{Pool, with_worker_state};
///
/// fn open(first: u32) -> Vec<u32> { vec![first] }
/// fn remember(n: u32) -> usize {
///     with_worker_state(|seen: &mut Vec<u32>| { seen.push(n); seen.len() }).unwrap()
/// }
///
/// let pool = Pool::builder().processes(1).initializer(open, (7,)).build()?;
/// assert_eq!(pool.map(remember, [1, 2, 3])?, [2, 3, 4]);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn with_worker_state<T: 'static, R>(f: impl FnOnce(&mut T) -> R) -> Option<R> {
    /// Puts the state back, even if `f` panics.
    struct Borrowed(State);
    impl Drop for Borrowed {
        fn drop(&mut self) {
            let state = self.0.take();
            WORKER.with(|worker| worker.with_mut(|(_, place)| *place = state));
        }
    }
    // Taken out, not borrowed, while `f` runs: a task may call `worker_id` or this function in it.
    let mut borrowed =
        Borrowed(WORKER.with(|worker| worker.with_mut(|(_, state)| state.take())).flatten());
    borrowed.0.as_mut()?.downcast_mut().map(f)
}
