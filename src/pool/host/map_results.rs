//! Where the outcomes of a map wait for whoever wants them.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::waiting::wait_until;
use crate::pool::scheduler::job::{Call, Content, Delivery, Sink};
use crate::sys::wait::poll::Deadline;

/// The place of a map's outcomes.
pub(crate) struct MapResults {
    call: Call,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrived: VecDeque<Delivery>,
    /// Counts how many outcomes have arrived so far.
    came: u64,
    is_cancelled: bool,
    /// Counts how many outcomes have arrived and were not taken, and how many are worth waking
    /// somebody for.
    here: u64,
    wanted: u64,
    waker: Option<Waker>,
    on_change: Option<Box<dyn FnMut() + Send>>,
}

impl MapResults {
    pub(crate) fn new(call: Call) -> MapResults {
        MapResults { call, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that has arrived.
    pub(crate) fn take(&self) -> VecDeque<Delivery> {
        let mut state = self.lock();
        state.here = 0;
        mem::take(&mut state.arrived)
    }

    /// Returns how many outcomes have arrived so far.
    pub(crate) fn came(&self) -> u64 {
        self.lock().came
    }

    /// Waits until so many outcomes are here that were not taken; whether any is at the deadline.
    pub(crate) fn wait(&self, wanted: u64, deadline: Deadline) -> bool {
        self.lock().wanted = wanted;
        let is_here = |state: &State| state.here >= wanted;
        wait_until(&self.changed, self.lock(), deadline, is_here) || self.lock().here > 0
    }

    /// Waits until so many outcomes have arrived; whether they have at the deadline.
    pub(crate) fn wait_for(&self, count: u64, deadline: Deadline) -> bool {
        self.lock().wanted = 0;
        wait_until(&self.changed, self.lock(), deadline, |state| state.came >= count)
    }

    /// Tells a waker of the next that arrive, unless `is_so` already.
    pub(crate) fn register(&self, waker: &Waker, is_so: impl Fn(u64, bool) -> bool) -> bool {
        let mut state = self.lock();
        let is_so = is_so(state.came, !state.arrived.is_empty());
        if !is_so {
            state.wanted = 0;
            state.waker = Some(waker.clone());
        }
        is_so
    }

    /// Calls `f`, with nothing locked, whenever something has arrived.
    pub(crate) fn on_change(&self, f: Box<dyn FnMut() + Send>) {
        self.lock().on_change = Some(f);
    }

    /// Nobody wants what comes from now on.
    pub(crate) fn cancel(&self) {
        self.lock().is_cancelled = true;
    }

    /// Enters what did not come from a worker.
    pub(crate) fn enter(&self, delivery: Delivery) {
        self.deliver(delivery);
    }
}

impl Sink for MapResults {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let mut state = self.lock();
        state.came = state.came.saturating_add(u64::from(delivery.count));
        if state.is_cancelled && !matches!(delivery.content, Content::Failed(_)) {
            return;
        }
        state.here = state.here.saturating_add(u64::from(delivery.count));
        state.arrived.push_back(delivery);
    }

    fn wake(&self) {
        let mut state = self.lock();
        if state.here < state.wanted {
            return;
        }
        let (waker, on_change) = (state.waker.take(), state.on_change.take());
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(mut on_change) = on_change {
            on_change();
            self.lock().on_change.get_or_insert(on_change);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }
}
