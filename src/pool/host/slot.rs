//! Where the outcome of one task waits for whoever wants it.

use std::any::Any;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::waiting::wait_until;
use crate::pool::scheduler::job::{Call, Delivery, Sink};
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// The place of one outcome.
pub(crate) struct Slot {
    call: Call,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    outcome: Outcome,
    is_cancelled: bool,
    waker: Option<Waker>,
    callback: Option<Callback>,
}

/// Describes what is called with the outcome, and gives it back decoded.
pub(crate) type Callback = Box<dyn FnOnce(Delivery, &Call) -> Box<dyn Any + Send> + Send>;

/// An outcome on its way to the user.
pub(crate) enum Outcome {
    Pending,
    Here(Delivery),
    /// Decoded for a callback.
    Decoded(Box<dyn Any + Send>),
    Taken,
    /// The callback that it was given to panicked.
    Spoilt,
}

impl State {
    fn is_ready(&self) -> bool {
        self.callback.is_none() && !matches!(self.outcome, Outcome::Pending)
    }
}

impl Slot {
    pub(crate) fn new(call: Call) -> Slot {
        let state =
            State { outcome: Outcome::Pending, is_cancelled: false, waker: None, callback: None };
        Slot { call, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the outcome is here, or was.
    pub(crate) fn is_ready(&self) -> bool {
        self.lock().is_ready()
    }

    /// Waits for the outcome; whether it is here at the deadline.
    pub(crate) fn wait(&self, deadline: Deadline) -> bool {
        wait_until(&self.changed, self.lock(), deadline, State::is_ready)
    }

    /// Takes the outcome, if it is here.
    pub(crate) fn take(&self) -> Option<Outcome> {
        let mut state = self.lock();
        state.is_ready().then(|| mem::replace(&mut state.outcome, Outcome::Taken))
    }

    /// `take`, or has the waker told.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Outcome> {
        {
            let mut state = self.lock();
            if !state.is_ready() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Calls `callback` with the outcome: at once, if that is here.
    pub(crate) fn call_back(&self, callback: Callback) {
        let mut state = self.lock();
        state.callback = Some(callback);
        let is_here = !matches!(state.outcome, Outcome::Pending);
        drop(state);
        if is_here {
            self.wake();
        }
    }

    /// Nobody wants the outcome that comes; this one is it. `false` if it is here already.
    pub(crate) fn cancel(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        let is_pending = matches!(state.outcome, Outcome::Pending);
        if is_pending {
            state.outcome = Outcome::Here(delivery);
            state.is_cancelled = true;
        }
        is_pending
    }
}

impl Sink for Slot {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let mut state = self.lock();
        if matches!(state.outcome, Outcome::Pending) {
            state.outcome = Outcome::Here(delivery);
        }
    }

    fn wake(&self) {
        let mut state = self.lock();
        if matches!(state.outcome, Outcome::Here(_))
            && let Some(callback) = state.callback.take()
        {
            let outcome = mem::replace(&mut state.outcome, Outcome::Pending);
            drop(state);
            let decoded = match outcome {
                // A panic in it has been shown; the value is gone with it.
                Outcome::Here(delivery) => unwind::catch(|| callback(delivery, &self.call)),
                _ => return,
            };
            state = self.lock();
            state.outcome = match decoded {
                Ok(decoded) => Outcome::Decoded(decoded),
                Err(_) => Outcome::Spoilt,
            };
        }
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }
}
