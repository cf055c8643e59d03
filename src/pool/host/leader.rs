//! The leader: a user thread that hears workers itself while it waits for an outcome, so that an
//! answer wakes the thread that wants it, and no other.
//!
//! At most one thread leads; others wait at their sinks, and the supervisor passes their outcomes
//! on. The leader does what can be done by any thread: it hears links and gives waiting jobs to the
//! workers that it has heard. What is left for the supervisor is what runs code of users
//! (callbacks, wakers, loggers), takes long (starting workers), is due at a time, or concerns the
//! ends of workers.
//!
//! # Sleep and wake-up
//!
//! 1. The leader takes the seat (`is_led`).
//! 2. It registers its eventfd with the sink that it waits for, under the sink's lock.
//! 3. It looks whether its outcome is here, and leaves if so.
//! 4. It sleeps on the leader's set, which has the links and its eventfd.
//! 5. It hears what the set told of, wakes the threads whose outcomes have come with that, and
//!    wakes the supervisor if something is left for it. Back to 3.
//! 6. It withdraws the eventfd from the sink, and gives up the seat.
//!
//! Why no wake-up is lost:
//!
//! - *Its outcome, delivered by another thread*: whoever delivers wakes the sink afterwards, and so
//!   finds the eventfd if step 2 came before; if not, step 3 finds the outcome. The eventfd stays
//!   readable until a leader clears it, which looks for its outcome after that.
//! - *An answer, while nobody sleeps on the leader's set*: the kernel wakes the supervisor as well,
//!   as each set tells of a link for as long as there is something to take. What a leader was told
//!   of it hears in any case (step 5), before it leaves.
//! - *Others that wait*: nothing has to be handed over when a leader leaves, as the supervisor
//!   sleeps on the same links all the time.
//! - *What a turn leaves*: it is in the driver, or with the scheduler, when the supervisor is
//!   woken.
//!
//! A leader that cannot go on (the system refuses it something) waits as others do. Its seat is
//! given up by a guard, also if it panics. A forked copy of the process and the supervisor itself,
//! in a callback, do not lead.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::event_sets::{self, Told};
use super::supervisor::Shared;
use crate::pool::scheduler::job::Sink;
use crate::sys::wait::epoll::WakeUp;
use crate::sys::wait::poll::Deadline;

/// What a thread waits for: a sink with threads, and perhaps a leader.
pub(crate) trait Awaited {
    /// Registers the eventfd of the leader that waits for this, or withdraws it.
    fn call_leader(&self, leader: Option<Arc<WakeUp>>);
}

/// The leader's seat. Given up when this is dropped.
struct Seat<'a, A: Awaited> {
    pool: &'a Shared,
    awaited: &'a A,
}

impl<'a, A: Awaited> Seat<'a, A> {
    /// Takes the seat; `None` if it is taken, or this thread may not lead. Steps 1 and 2.
    fn take(pool: &'a Shared, awaited: &'a A) -> Option<Seat<'a, A>> {
        if !pool.is_ours() || pool.is_supervisor() {
            return None;
        }
        // Acquire: a leader sees what the one before it has left behind.
        pool.is_led.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        awaited.call_leader(Some(Arc::clone(&pool.sets.leader_call)));
        Some(Seat { pool, awaited })
    }
}

impl<A: Awaited> Drop for Seat<'_, A> {
    /// Step 6.
    fn drop(&mut self) {
        self.awaited.call_leader(None);
        // Release: see `take`.
        self.pool.is_led.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Waits until `is_here` holds of `awaited`, as the leader if nobody leads, else by `follow`,
    /// which waits at the sink. Returns `false` if it does not hold by `deadline`.
    pub(crate) fn wait_for<A: Awaited>(
        &self,
        awaited: &A,
        deadline: Deadline,
        is_here: impl Fn(&A) -> bool,
        follow: impl FnOnce(&A, Deadline) -> bool,
    ) -> bool {
        // Without the seat for what is a question only.
        if is_here(awaited) {
            return true;
        }
        if deadline.is_over() {
            return false;
        }
        let led = Seat::take(self, awaited)
            .and_then(|seat| self.lead(deadline, || is_here(seat.awaited)));
        // The seat is free again: another thread may lead while this one follows.
        led.unwrap_or_else(|| follow(awaited, deadline))
    }

    /// Leads until `is_here` holds or the deadline is over: steps 3 to 5. `None` if it cannot go
    /// on.
    fn lead(&self, deadline: Deadline, is_here: impl Fn() -> bool) -> Option<bool> {
        let mut events = Vec::new();
        loop {
            if is_here() {
                return Some(true);
            }
            if deadline.is_over() {
                return Some(false);
            }
            events.clear();
            self.sets.wait_as_leader(&mut events, deadline).ok()?;
            if !self.hear_as_leader(&events) {
                return None;
            }
        }
    }

    /// Hears the links that the set has told of, passes on what has come, and leaves the rest to
    /// the supervisor. Returns `false` if the system has refused what a message needs: the
    /// supervisor asks again after a pause.
    fn hear_as_leader(&self, events: &[u64]) -> bool {
        let mut driver = self.lock();
        for event in events {
            match event_sets::told(*event) {
                // Cleared before the leader looks for its outcome.
                Told::WakeUp => self.sets.leader_call.clear(),
                Told::Link(number) => self.hear_link(&mut driver, number),
                // In the supervisor's set only.
                Told::Records(_) | Told::End(_) => {}
            }
        }
        driver.settle();
        let touched = driver.scheduler.take_touched();
        let mut is_left = driver.needs_supervisor();
        let is_refused = driver.is_refused();
        drop(driver);
        // With nothing locked, as these threads go on at once.
        let (_, left): (Vec<_>, Vec<_>) =
            touched.into_iter().partition(|sink: &Arc<dyn Sink>| sink.wake_threads());
        if !left.is_empty() {
            is_left = true;
            self.lock().scheduler.put_back_touched(left);
        }
        if is_left {
            self.sets.wake_up.wake();
        }
        !is_refused
    }
}
