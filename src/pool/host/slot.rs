//! The outcome of one task between the supervisor, which delivers it, and the thread that waits for
//! it.
//!
//! # Order of operations
//!
//! 1. `deliver` stores the outcome, called with the driver locked. The first outcome counts;
//!    `cancel` may have been faster. It wakes nobody: callbacks are code of the user's.
//! 2. `wake`, with nothing locked, takes the callback, if there is one, and calls it with the
//!    outcome. Meanwhile the outcome is `Pending`, so that others still wait.
//! 3. `wake` stores what the callback gave back, and wakes the threads and the async task that
//!    wait.

use std::any::Any;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::leader::Awaited;
use super::waiting::wait_until;
use crate::pool::scheduler::job::{Call, Delivery, Sink};
use crate::sys::wait::epoll::WakeUp;
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// The outcome of one task. Shared by its job and its handle.
pub(crate) struct Slot {
    call: Call,
    state: Mutex<State>,
    changed: Condvar,
    /// Made readable when the outcome is here; there is none unless somebody asked for it.
    told: OnceLock<WakeUp>,
}

/// The outcome, and the waiters to be told.
struct State {
    outcome: Outcome,
    /// True if the outcome was set by [`Slot::cancel`]: the task need not be run any more.
    is_cancelled: bool,
    /// Number of threads that sleep on `changed`.
    sleepers: u32,
    /// The eventfd of the leader, if it is the pool's leader that waits.
    leader: Option<Arc<WakeUp>>,
    /// The async task that waits.
    waker: Option<Waker>,
    /// To be called with the outcome, before anybody else gets it.
    callback: Option<Callback>,
}

/// Decodes the outcome, calls the user's callback with it, and gives back what it has decoded: the
/// outcome stays for `join`.
pub(crate) type Callback = Box<dyn FnOnce(Delivery, &Call) -> Box<dyn Any + Send> + Send>;

/// The outcome of a task on its way to the user.
pub(crate) enum Outcome {
    /// Not there yet, or with the callback at this moment.
    Pending,
    /// Delivered, and still encoded.
    Here(Delivery),
    /// Decoded for a callback: a `Result<R, TaskError>`, whose type only the handle knows.
    Decoded(Box<dyn Any + Send>),
    /// Given to the user before.
    Taken,
    /// The callback that had it panicked.
    Spoilt,
}

impl State {
    /// Returns whether the outcome can be taken. One that a callback is to have first cannot.
    fn is_ready(&self) -> bool {
        self.callback.is_none() && !matches!(self.outcome, Outcome::Pending)
    }
}

impl Slot {
    /// A slot without an outcome.
    pub(crate) fn new(call: Call) -> Slot {
        let state = State {
            outcome: Outcome::Pending,
            is_cancelled: false,
            sleepers: 0,
            leader: None,
            waker: None,
            callback: None,
        };
        Slot { call, state: Mutex::new(state), changed: Condvar::new(), told: OnceLock::new() }
    }

    /// Locks the state. No code of users runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the outcome is here or was taken; if it has a callback, whether that has
    /// returned.
    pub(crate) fn is_ready(&self) -> bool {
        self.lock().is_ready()
    }

    /// Waits for the outcome. Returns `false` if it is not here by `deadline`.
    pub(crate) fn wait(&self, deadline: Deadline) -> bool {
        let mut state = self.lock();
        state.sleepers = state.sleepers.saturating_add(1);
        let is_ready = wait_until(&self.changed, state, deadline, State::is_ready);
        let mut state = self.lock();
        state.sleepers = state.sleepers.saturating_sub(1);
        is_ready
    }

    /// Wakes the threads that sleep on `changed`, and whoever waits for the descriptor.
    fn notify(&self, state: MutexGuard<'_, State>) {
        let is_any = state.sleepers > 0;
        drop(state);
        // A call of the kernel, which a task that the leader waits for is spared.
        if is_any {
            self.changed.notify_all();
        }
        if let Some(told) = self.told.get() {
            told.wake();
        }
    }

    /// Returns a descriptor that becomes readable, and stays so, when the outcome is here.
    ///
    /// It is made before one looks whether the outcome is here, and whoever delivers looks for it
    /// after the outcome is here: so one of the two sees the other.
    pub(crate) fn wait_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(told) = self.told.get() {
            return Ok(told.as_fd());
        }
        let made = WakeUp::new()?;
        let told = self.told.get_or_init(|| made);
        if self.is_ready() {
            told.wake();
        }
        Ok(told.as_fd())
    }

    /// Takes the outcome, if it is here.
    pub(crate) fn take(&self) -> Option<Outcome> {
        let mut state = self.lock();
        state.is_ready().then(|| mem::replace(&mut state.outcome, Outcome::Taken))
    }

    /// Takes the outcome, or registers the async task to be woken for it.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Outcome> {
        {
            let mut state = self.lock();
            if !state.is_ready() {
                // Under the lock that was held for the question: `wake` comes after this or finds
                // it ready.
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Registers a callback for the outcome, or calls it at once in this thread if that is here.
    pub(crate) fn call_back(&self, callback: Callback) {
        let mut state = self.lock();
        // Set under the lock with the question: either `wake` finds it, or this thread calls it.
        state.callback = Some(callback);
        let is_here = !matches!(state.outcome, Outcome::Pending);
        drop(state);
        if is_here {
            self.wake();
        }
    }

    /// Sets the outcome to `delivery`, a cancellation. Returns `false` if there is an outcome
    /// already.
    pub(crate) fn cancel(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        let is_pending = matches!(state.outcome, Outcome::Pending);
        if is_pending {
            state.outcome = Outcome::Here(delivery);
            // The scheduler drops the job when its turn comes.
            state.is_cancelled = true;
        }
        is_pending
    }
}

impl Awaited for Slot {
    fn call_leader(&self, leader: Option<Arc<WakeUp>>) {
        self.lock().leader = leader;
    }
}

impl Sink for Slot {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let mut state = self.lock();
        // A cancellation that came first stays, whatever the worker has sent since.
        if matches!(state.outcome, Outcome::Pending) {
            state.outcome = Outcome::Here(delivery);
        }
    }

    fn wake(&self) {
        let mut state = self.lock();
        if matches!(state.outcome, Outcome::Here(_))
            && let Some(callback) = state.callback.take()
        {
            // Pending while the callback has it: `join` in another thread waits for the callback.
            let outcome = mem::replace(&mut state.outcome, Outcome::Pending);
            drop(state);
            let decoded = match outcome {
                // A panic in it has been shown; the value is gone with it.
                Outcome::Here(delivery) => unwind::catch(|| callback(delivery, &self.call)),
                _ => return,
            };
            state = self.lock();
            state.outcome = match decoded {
                // Stored even if `cancel` was called meanwhile: the callback has seen this outcome.
                Ok(decoded) => Outcome::Decoded(decoded),
                Err(_) => Outcome::Spoilt,
            };
        }
        let (waker, leader) = (state.waker.take(), state.leader.clone());
        self.notify(state);
        if let Some(leader) = leader {
            leader.wake();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake_threads(&self) -> bool {
        let state = self.lock();
        if state.callback.is_some() || state.waker.is_some() {
            return false;
        }
        // Not the leader: it is the one who calls this.
        self.notify(state);
        true
    }

    fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }
}
