//! Waiting as a member of a table without a thread of one's own: at a condition or a barrier.
//!
//! Who waits there has a cell in a thread's robust list, so that a death is seen, and only that
//! thread can take it out again. A task has no thread: its next poll may be on another one. So a
//! thread of this library is the member in its place, its *deputy*, from before the task counts as
//! waiting until the task has what it came for, or is dropped.
//!
//! 1. The task engages a deputy with an errand.
//! 2. The deputy does the errand, and tells the task of each step.
//! 3. The task is done, or is dropped: its deputy is told which, and woken wherever it sleeps. What
//!    that means for others, the errand knows.
//!
//! The deputy belongs to the process as the task does: if that is killed, both are gone, and the
//! cell tells the others. A forked copy has no deputy: a future that is polled there is told so.
//!
//! Deputies without an errand wait `LINGER` for the next one.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sys::per_process::{Generation, PerProcess};

/// Time after which a thread without an errand ends.
const LINGER: Duration = Duration::from_secs(2);

/// How a task leaves its deputy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync) enum End {
    /// It has what it came for.
    Done,
    /// It was dropped before.
    Left,
}

/// What a task and its deputy have of each other.
#[derive(Debug)]
struct Post<T> {
    state: Mutex<State<T>>,
    /// Told of the end.
    ended: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// What the deputy has told and the task has not taken yet.
    news: VecDeque<T>,
    /// True once there will be no more news.
    is_over: bool,
    waker: Option<Waker>,
    end: Option<End>,
}

impl<T> Post<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's side. Dropping it calls the deputy off.
pub(in crate::sync) struct Deputy<T, W: Fn()> {
    post: Arc<Post<T>>,
    /// Wakes the deputy wherever its errand has it sleep.
    stir: W,
    process: Generation,
}

impl<T: Send + 'static, W: Fn()> Deputy<T, W> {
    /// Has a thread do `errand`. `stir` has to end any sleep in it, now or one that is about to
    /// begin.
    ///
    /// # Errors
    /// No thread can be made.
    pub(in crate::sync) fn engage(
        errand: impl FnOnce(&Orders<T>) + Send + 'static,
        stir: W,
    ) -> io::Result<Deputy<T, W>> {
        let state = State { news: VecDeque::new(), is_over: false, waker: None, end: None };
        let post = Arc::new(Post { state: Mutex::new(state), ended: Condvar::new() });
        let orders = Orders(Arc::clone(&post));
        assign(Box::new(move || errand(&orders)))?;
        Ok(Deputy { post, stir, process: Generation::current() })
    }

    /// Waits for what the deputy tells next; `None` if it tells no more, or is not in this process.
    /// May be dropped at any time.
    pub(in crate::sync) async fn news(&self) -> Option<T> {
        poll_fn(|context| self.poll_news(context)).await
    }

    fn poll_news(&self, context: &Context<'_>) -> Poll<Option<T>> {
        if !self.process.is_current() {
            return Poll::Ready(None);
        }
        // The waker is code of the executor's: cloned and dropped without the lock.
        let waker = context.waker().clone();
        let mut state = self.post.lock();
        if let Some(news) = state.news.pop_front() {
            return Poll::Ready(Some(news));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl<T, W: Fn()> Deputy<T, W> {
    /// The task has what it came for.
    pub(in crate::sync) fn done(self) {
        self.end(End::Done);
    }

    fn end(&self, end: End) {
        // In a forked copy, a thread that is not there may hold the lock, and nobody is to be told.
        if !self.process.is_current() {
            return;
        }
        let mut state = self.post.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        let waker = state.waker.take();
        let is_over = state.is_over;
        drop(state);
        drop(waker);
        if !is_over {
            self.post.ended.notify_all();
            // After the end is written: whoever is stirred finds it.
            (self.stir)();
        }
    }
}

impl<T, W: Fn()> Drop for Deputy<T, W> {
    fn drop(&mut self) {
        self.end(End::Left);
    }
}

impl<T, W: Fn()> fmt::Debug for Deputy<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deputy")
    }
}

/// The deputy's side. Dropping it says that there are no more news.
pub(in crate::sync) struct Orders<T>(Arc<Post<T>>);

impl<T> Orders<T> {
    /// Tells the task of a step.
    pub(in crate::sync) fn tell(&self, news: T) {
        let mut state = self.0.lock();
        state.news.push_back(news);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns true once the task is done or was dropped. To be asked behind whatever `stir` would
    /// end from then on, and before the sleep.
    pub(in crate::sync) fn is_over(&self) -> bool {
        self.0.lock().end.is_some()
    }

    /// Waits until the task is done or was dropped.
    pub(in crate::sync) fn wait_over(&self) -> End {
        let mut state = self.0.lock();
        loop {
            if let Some(end) = state.end {
                return end;
            }
            state = self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Orders<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_over = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

type Errand = Box<dyn FnOnce() + Send>;

/// The deputies without an errand. A copy of the process has none.
static IDLE: PerProcess<Mutex<Idle>> = PerProcess::new();

#[derive(Default)]
struct Idle {
    waiting: Vec<(u64, Sender<Errand>)>,
    next: u64,
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.get_or_init(|_| Mutex::default()).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives an errand to a deputy that has none, or to a new one.
fn assign(errand: Errand) -> io::Result<()> {
    // A statement of its own, so that the list is unlocked before the other thread goes on.
    let waiting = idle().waiting.pop();
    let errand = match waiting {
        // Who is in the list waits for one.
        Some((_, deputy)) => match deputy.send(errand) {
            Ok(()) => return Ok(()),
            Err(unsent) => unsent.0,
        },
        None => errand,
    };
    let thread = std::thread::Builder::new().name("multiproc-waits".into());
    thread.spawn(move || serve(errand)).map(drop)
}

/// The life of a deputy.
fn serve(first: Errand) {
    let (sender, errands) = channel();
    let mut errand = first;
    loop {
        errand();
        match next(&sender, &errands) {
            Some(next) => errand = next,
            None => return,
        }
    }
}

/// Waits for an errand as one of those who have none; `None` if none comes.
fn next(sender: &Sender<Errand>, errands: &Receiver<Errand>) -> Option<Errand> {
    let number = {
        let mut idle = idle();
        idle.next += 1;
        let number = idle.next;
        idle.waiting.push((number, sender.clone()));
        number
    };
    if let Ok(errand) = errands.recv_timeout(LINGER) {
        return Some(errand);
    }
    let mut idle = idle();
    let at = idle.waiting.iter().position(|(other, _)| *other == number);
    match at {
        Some(at) => {
            idle.waiting.remove(at);
            None
        }
        // Taken out for an errand, which is on its way.
        None => {
            drop(idle);
            errands.recv().ok()
        }
    }
}
