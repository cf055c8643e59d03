//! What code in a worker can ask: which task and worker it runs in, and the worker's state.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// Describes what the initializer returned.
type State = Option<Box<dyn Any>>;

thread_local! {
    pub(super) static TASK: RefCell<Option<CurrentTask>> = const { RefCell::new(None) };
    /// The number of the task, apart from what it has in common with those after it.
    pub(super) static NUMBER: Cell<u64> = const { Cell::new(0) };
    pub(super) static WORKER: RefCell<Option<(usize, State)>> = const { RefCell::new(None) };
}

/// The task that this thread, a pool's worker's, runs: what [`current_task`] gives.
#[derive(Clone, Debug)]
pub struct CurrentTask {
    pub(super) name: Option<String>,
    pub(super) function: &'static str,
    pub(super) number: u64,
    pub(super) deadline: Option<Instant>,
}

impl CurrentTask {
    /// The name that it was given, or that of its function.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.function)
    }

    /// Its number in its map, from 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the worker will be told to end if the task is not done.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns how long it is until then; zero if that is past, `None` if the task may take as long
    /// as it likes.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// The task that this thread runs; `None` outside of a pool's worker, and in threads that a task
/// started.
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
    TASK.with_borrow(|task| {
        task.as_ref().map(|task| CurrentTask { number: NUMBER.get(), ..task.clone() })
    })
}

/// The number of the worker that this thread serves in, from 1; `None` elsewhere.
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
    WORKER.with_borrow(|worker| worker.as_ref().map(|(id, _)| *id))
}

/// Calls `f` with what the pool's [initializer](crate::PoolBuilder::initializer) returned in this
/// worker, if that is a `T`.
///
/// `None` outside of a worker's own thread, if there is no initializer or it returned another type,
/// and within another call of this function.
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
    /// Puts the state back, also if `f` panics.
    struct Borrowed(State);
    impl Drop for Borrowed {
        fn drop(&mut self) {
            let state = self.0.take();
            WORKER.with_borrow_mut(|worker| {
                if let Some((_, place)) = worker {
                    *place = state;
                }
            });
        }
    }
    let mut borrowed = Borrowed(
        WORKER.with_borrow_mut(|worker| worker.as_mut().and_then(|(_, state)| state.take())),
    );
    borrowed.0.as_mut()?.downcast_mut().map(f)
}
