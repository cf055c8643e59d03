//! The outcomes of a map between the supervisor, which delivers them in any order, and the thread
//! that waits for them.
//!
//! # Wake-ups
//!
//! To wake the waiting thread for each outcome would cost more than a short task, so the thread
//! says how many outcomes are worth a wake-up (`wanted`):
//!
//! 1. The waiter locks the state, sets `wanted`, and sleeps unless as many are here. `wait` checks
//!    again under the lock, so outcomes that come in between are not missed.
//! 2. `deliver` stores outcomes, called with the driver locked. It wakes nobody: the woken thread
//!    would run into the driver's lock.
//! 3. `wake` is called after each batch of deliveries, with nothing locked, and wakes the waiter
//!    only if `wanted` outcomes are here. The driver's deliveries are always followed by a call of
//!    it, so the last batch is never missed.
//!
//! The number that a waiter asks for never exceeds those that are on their way to it
//! (`Chunker::worth_waking_for`), so it does not sleep for what cannot come.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use super::leader::Awaited;
use super::supervisor::Shared;
use super::waiting::wait_until;
use crate::pool::scheduler::job::{Call, Content, Delivery, Sink};
use crate::sys::wait::epoll::WakeUp;
use crate::sys::wait::poll::Deadline;

/// The outcomes of one map. Shared by its jobs, which deliver into it, and its handle.
pub(crate) struct MapResults {
    call: Call,
    state: Mutex<State>,
    changed: Condvar,
    /// Made readable when outcomes have come; there is none unless somebody asked for it.
    told: OnceLock<WakeUp>,
}

/// The outcomes that arrived, and the waiters to be told.
#[derive(Default)]
struct State {
    /// Deliveries that nobody has taken, in the order in which they came.
    arrived: VecDeque<Delivery>,
    /// Number of outcomes that have arrived since the beginning.
    came: u64,
    /// True once nobody wants outcomes that have not arrived yet.
    is_cancelled: bool,
    /// Number of outcomes in `arrived`.
    here: u64,
    /// Number of outcomes for which the waiter is woken; 0 for any delivery.
    wanted: u64,
    /// Number of threads that sleep on `changed`.
    sleepers: u32,
    /// The eventfd of the leader, if it is the pool's leader that waits.
    leader: Option<Arc<WakeUp>>,
    /// The async task that waits.
    waker: Option<Waker>,
    /// Called at each wake-up, for [`MapTask::on_done`](crate::MapTask::on_done).
    on_change: Option<Box<dyn FnMut() + Send>>,
}

impl MapResults {
    /// The results of a call, with nothing in them.
    pub(crate) fn new(call: Call) -> MapResults {
        MapResults { call, state: Mutex::default(), changed: Condvar::new(), told: OnceLock::new() }
    }

    /// Locks the state. No code of users runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all deliveries that are here.
    pub(crate) fn take(&self) -> VecDeque<Delivery> {
        let mut state = self.lock();
        state.here = 0;
        mem::take(&mut state.arrived)
    }

    /// Returns the number of outcomes that have arrived since the beginning.
    pub(crate) fn came(&self) -> u64 {
        self.lock().came
    }

    /// Waits until `wanted` outcomes are here. Returns whether any is, at `deadline` at the latest.
    pub(crate) fn wait(&self, pool: &Shared, wanted: u64, deadline: Deadline) -> bool {
        self.lock().wanted = wanted;
        self.wait_until(pool, deadline, |state| state.here >= wanted) || self.lock().here > 0
    }

    /// Waits until `count` outcomes have arrived since the beginning. Returns `false` if they have
    /// not by `deadline`.
    pub(crate) fn wait_for(&self, pool: &Shared, count: u64, deadline: Deadline) -> bool {
        // Each delivery wakes this thread: it counts those that were taken before, too, which
        // `wanted` does not.
        self.lock().wanted = 0;
        self.wait_until(pool, deadline, |state| state.came >= count)
    }

    /// Waits until something holds of the state, as the pool's leader if nobody leads.
    fn wait_until(
        &self,
        pool: &Shared,
        deadline: Deadline,
        is_so: impl Fn(&State) -> bool + Copy,
    ) -> bool {
        let follow = |results: &MapResults, deadline| {
            let mut state = results.lock();
            state.sleepers = state.sleepers.saturating_add(1);
            let is_here = wait_until(&results.changed, state, deadline, is_so);
            let mut state = results.lock();
            state.sleepers = state.sleepers.saturating_sub(1);
            is_here
        };
        pool.wait_for(self, deadline, |results| is_so(&results.lock()), follow)
    }

    /// Registers a waker for the next delivery, unless `is_so` holds, which is given the number of
    /// outcomes that have arrived and whether any is here. Returns what `is_so` said.
    pub(crate) fn register(&self, waker: &Waker, is_so: impl Fn(u64, bool) -> bool) -> bool {
        let mut state = self.lock();
        let is_so = is_so(state.came, !state.arrived.is_empty());
        // Under the lock that was held for the question: no delivery comes in between.
        if !is_so {
            state.wanted = 0;
            state.waker = Some(waker.clone());
        }
        is_so
    }

    /// Returns a descriptor that becomes readable when outcomes have come since
    /// [`look`](MapResults::look) found too few.
    pub(crate) fn wait_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(told) = self.told.get() {
            return Ok(told.as_fd());
        }
        let made = WakeUp::new()?;
        Ok(self.told.get_or_init(|| made).as_fd())
    }

    /// Returns whether `is_so` holds, which is given the number of outcomes that have arrived and
    /// the deliveries that are here. If not, the descriptor tells of the next delivery.
    pub(crate) fn look(&self, is_so: impl Fn(u64, &VecDeque<Delivery>) -> bool) -> bool {
        let mut state = self.lock();
        let is_so = is_so(state.came, &state.arrived);
        if !is_so {
            state.wanted = 0;
            // Under the lock of the question: whatever is delivered later tells anew. Left as it is
            // if it holds, as others may wait for the same.
            if let Some(told) = self.told.get() {
                told.clear();
            }
        }
        is_so
    }

    /// Makes the descriptor readable, if there is one.
    fn tell(&self) {
        if let Some(told) = self.told.get() {
            told.wake();
        }
    }

    /// Registers `f` to be called at each wake-up, with nothing locked. The caller wakes once
    /// afterwards, for what has arrived before.
    pub(crate) fn on_change(&self, f: Box<dyn FnMut() + Send>) {
        self.lock().on_change = Some(f);
    }

    /// Declares that nobody wants outcomes from now on. The jobs that wait are dropped when their
    /// turn comes.
    pub(crate) fn cancel(&self) {
        self.lock().is_cancelled = true;
    }

    /// Enters outcomes that no worker sent: failures of tasks that could not be handed out.
    pub(crate) fn enter(&self, delivery: Delivery) {
        self.deliver(delivery);
    }
}

impl Awaited for MapResults {
    fn call_leader(&self, leader: Option<Arc<WakeUp>>) {
        self.lock().leader = leader;
    }
}

impl Sink for MapResults {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let mut state = self.lock();
        // Failures and cancelled outcomes count: `wait_for` waits for tasks to be done, not for
        // values.
        state.came = state.came.saturating_add(u64::from(delivery.count));
        // Counted, but not kept: values may be large. Failures are few and small, and whoever joins
        // after `cancel` is to see that tasks were cancelled.
        if state.is_cancelled && !matches!(delivery.content, Content::Failed(_)) {
            return;
        }
        state.here = state.here.saturating_add(u64::from(delivery.count));
        state.arrived.push_back(delivery);
    }

    fn wake(&self) {
        let mut state = self.lock();
        // Not worth a wake-up yet. The waiter sleeps on, and its waker stays registered.
        if state.here < state.wanted {
            return;
        }
        // Taken out, so that they are called with nothing locked: both are code of users.
        let (waker, on_change) = (state.waker.take(), state.on_change.take());
        let (is_any, leader) = (state.sleepers > 0, state.leader.clone());
        drop(state);
        if is_any {
            self.changed.notify_all();
        }
        self.tell();
        if let Some(leader) = leader {
            leader.wake();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(mut on_change) = on_change {
            on_change();
            // Back in its place, unless another took it meanwhile.
            self.lock().on_change.get_or_insert(on_change);
        }
    }

    fn wake_threads(&self) -> bool {
        let state = self.lock();
        if state.here < state.wanted {
            return true;
        }
        if state.waker.is_some() || state.on_change.is_some() {
            return false;
        }
        let is_any = state.sleepers > 0;
        drop(state);
        // Not the leader: it is the one who calls this.
        if is_any {
            self.changed.notify_all();
        }
        self.tell();
        true
    }

    fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }
}
