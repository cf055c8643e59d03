//! The outcomes of a map, one after the other, whoever shows its progress.
//!
//! A lazy map runs in the thread that asks it for outcomes. Each call first gives what is here,
//! else pulls inputs until the workers have enough to do, and only then sleeps. So inputs are
//! pulled no faster than outcomes are taken, and no thread is needed for it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::pool::host::chunker::Chunker;
use crate::pool::host::decode::Opened;
use crate::pool::scheduler::job::{Delivery, Sink};
use crate::sys::wait::poll::Deadline;

/// Time between two calls of a progress function, at the least.
pub(super) const SHOWN: Duration = Duration::from_millis(100);

/// What a map shows its progress to.
pub(super) trait Audience {
    /// Returns true if anybody wants to see it.
    fn is_there(&self) -> bool;

    /// An outcome was given.
    fn gave(&mut self, is_failure: bool);

    /// Shows the progress, unless that was done a moment ago. The last is always shown.
    fn show(&mut self, total: Option<u64>, done: u64, running: usize, is_last: bool);
}

/// Nobody.
impl Audience for () {
    fn is_there(&self) -> bool {
        false
    }

    fn gave(&mut self, _: bool) {}

    fn show(&mut self, _: Option<u64>, _: u64, _: usize, _: bool) {}
}

/// The state of a lazy map. Dropping it ends the map.
pub(super) struct Lazy<I, Args, R, P> {
    /// The inputs, as they are pulled and submitted.
    chunker: Chunker<I, Args>,
    /// Deliveries that arrived ahead of their turn, by the number of their first task.
    early: BTreeMap<u64, Delivery>,
    /// Deliveries that arrived, if their order does not matter.
    ready: VecDeque<Delivery>,
    /// The delivery whose outcomes are being given.
    current: Option<Opened<R>>,
    /// Number of outcomes given so far.
    next: u64,
    /// Number of outcomes that have arrived.
    arrived: u64,
    /// True if outcomes are given in the order of the inputs.
    is_ordered: bool,
    /// True if all outcomes are kept by who asks for them: then those that wait for their turn make
    /// room for more inputs, too.
    keeps_all: bool,
    /// Who is shown the progress.
    progress: P,
}

impl<I, Args, R, P> Lazy<I, Args, R, P>
where
    I: Iterator<Item = Args>,
    Args: Serialize,
    R: DeserializeOwned,
    P: Audience,
{
    /// A map that has pulled nothing.
    pub(super) fn new(
        chunker: Chunker<I, Args>,
        is_ordered: bool,
        progress: P,
    ) -> Lazy<I, Args, R, P> {
        Lazy {
            chunker,
            early: BTreeMap::new(),
            ready: VecDeque::new(),
            current: None,
            next: 0,
            arrived: 0,
            is_ordered,
            keeps_all: false,
            progress,
        }
    }

    /// Has outcomes make room for more inputs when they arrive, not when their turn comes: for who
    /// keeps all of them anyway. Else one task that takes long would have the workers idle.
    pub(super) fn keep_all(&mut self) {
        self.keeps_all = true;
    }

    /// Polls for the next outcome. Wakes the waker of the last call only.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<R, TaskError>>> {
        loop {
            if let Some(found) = self.next_ready() {
                return Poll::Ready(Some(found));
            }
            if let Some(lost) = self.lost_to_copy() {
                return Poll::Ready(lost.map(Err));
            }
            self.chunker.fill();
            if self.is_at_end() {
                return Poll::Ready(None);
            }
            // Registered under the same lock that is looked at: what arrives afterwards wakes.
            if !self.chunker.results().register(context.waker(), |_, is_any| is_any) {
                return Poll::Pending;
            }
        }
    }

    /// Returns the inputs.
    #[cfg(feature = "async")]
    pub(super) fn inputs_mut(&mut self) -> &mut I {
        self.chunker.inputs_mut()
    }

    /// Asks the inputs for more although they had none; not in a forked copy, where the map is
    /// over.
    #[cfg(feature = "async")]
    pub(super) fn go_on(&mut self) {
        if !self.chunker.is_copy() {
            self.chunker.is_exhausted = false;
        }
    }

    /// Returns true in a forked copy of the process, to which no outcomes come.
    #[cfg(feature = "async")]
    pub(super) fn is_lost(&self) -> bool {
        self.chunker.is_copy()
    }

    /// Returns the next outcome, or the end, if it arrives by `deadline`.
    pub(super) fn next_by(&mut self, deadline: Deadline) -> Option<Option<Result<R, TaskError>>> {
        loop {
            if let Some(found) = self.next_ready() {
                return Some(Some(found));
            }
            if let Some(lost) = self.lost_to_copy() {
                return Some(lost.map(Err));
            }
            self.chunker.fill();
            if self.is_at_end() {
                self.show(true);
                return Some(None);
            }
            // With a progress function, the wait is cut in pieces so that elapsed time is shown.
            let until =
                if self.progress.is_there() { deadline.within_next(SHOWN) } else { deadline };
            let wanted = self.chunker.worth_waking_for(self.arrived);
            let came = self.chunker.results().wait(self.chunker.pool(), wanted, until);
            self.show(false);
            // Woken without an outcome (a piece of the wait is over) it goes round again.
            if !came && deadline.is_over() {
                return None;
            }
        }
    }

    /// In a forked copy of the process: gives one error, then the end.
    fn lost_to_copy(&mut self) -> Option<Option<TaskError>> {
        if !self.chunker.is_copy() {
            return None;
        }
        let is_at_end = self.is_at_end();
        // So that the map ends after one error, however many inputs there are.
        self.chunker.lose(self.next);
        let lost = || {
            TaskError::new(
                self.chunker.results().call().label(self.next),
                None,
                0,
                self.chunker.pool().lost_to_copy(),
            )
        };
        Some((!is_at_end).then(lost))
    }

    /// Returns the next outcome if it is here.
    fn next_ready(&mut self) -> Option<Result<R, TaskError>> {
        loop {
            if let Some(opened) = &mut self.current {
                if let Some(outcome) = opened.next(self.chunker.results().call()) {
                    self.next = self.next.saturating_add(1);
                    self.progress.gave(outcome.is_err());
                    // With the last outcome, as nobody may ask for another.
                    if self.next == self.chunker.pulled() && self.chunker.is_exhausted {
                        self.show(true);
                    }
                    return Some(outcome);
                }
                self.current = None;
            }
            // What arrived before comes first; the lock is taken only if that is used up.
            let mut turn = self.take_turn();
            if turn.is_none() {
                for delivery in self.chunker.results().take() {
                    self.arrived = self.arrived.saturating_add(u64::from(delivery.count));
                    if self.keeps_all {
                        self.chunker.came_back(delivery.count);
                    }
                    // By number of the first task: deliveries of a chunk that was cut come in any
                    // order.
                    if self.is_ordered {
                        self.early.insert(delivery.first, delivery);
                    } else {
                        self.ready.push_back(delivery);
                    }
                }
                turn = self.take_turn();
            }
            let delivery = turn?;
            if !self.keeps_all {
                self.chunker.came_back(delivery.count);
            }
            self.current = Some(Opened::new(delivery));
            // While the user looks at these, others are to be at work.
            self.chunker.fill();
            self.show(false);
        }
    }

    /// Takes the delivery whose turn it is, if it is here.
    fn take_turn(&mut self) -> Option<Delivery> {
        if self.is_ordered { self.early.remove(&self.next) } else { self.ready.pop_front() }
    }

    /// Returns whether all inputs were pulled and all outcomes given.
    fn is_at_end(&self) -> bool {
        self.chunker.is_exhausted && self.next == self.chunker.pulled() && self.chunker.out() == 0
    }

    /// Shows the progress, if anybody wants to see it.
    fn show(&mut self, is_last: bool) {
        if !self.progress.is_there() {
            return;
        }
        // Arrived counts here, not given: an outcome may wait for one before it.
        let running = self.chunker.pulled().saturating_sub(self.arrived);
        let running =
            usize::try_from(running).unwrap_or(usize::MAX).min(self.chunker.pool().hands());
        self.progress.show(self.chunker.total(), self.arrived, running, is_last);
    }

    /// Returns how many outcomes there are left, if that is known.
    pub(super) fn left(&self) -> Option<usize> {
        let left = self.chunker.total()?.saturating_sub(self.next);
        usize::try_from(left).ok()
    }

    /// Returns a descriptor that becomes readable when `is_ready` may have changed.
    pub(super) fn wait_fd(&self) -> std::io::Result<BorrowedFd<'_>> {
        self.chunker.results().wait_fd()
    }

    /// Returns true if an outcome is here, or nobody would tell of one.
    pub(super) fn is_ready(&self) -> bool {
        let is_here = self.current.as_ref().is_some_and(Opened::has_more)
            || self.early.contains_key(&self.next)
            || !self.ready.is_empty();
        // Nobody would tell of outcomes of tasks that are not submitted.
        let is_idle = self.chunker.out() == 0 || self.chunker.is_copy();
        let is_turn = |delivery: &Delivery| !self.is_ordered || delivery.first == self.next;
        is_here || is_idle || self.chunker.results().look(|_, arrived| arrived.iter().any(is_turn))
    }
}

impl<I, Args, R, P> Drop for Lazy<I, Args, R, P> {
    fn drop(&mut self) {
        self.chunker.abandon();
    }
}

impl<I, Args, R, P> fmt::Debug for Lazy<I, Args, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("next", &self.next)
            .field("is_ordered", &self.is_ordered)
            .finish_non_exhaustive()
    }
}
