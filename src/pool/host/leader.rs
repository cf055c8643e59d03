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
//! 1. The leader takes the seat: it locks it as long as it leads.
//! 2. It looks at the rings of the workers that have tasks for a while, if these were last seen on
//!    other processors. With the driver locked, it takes their flags down, so that they answer
//!    without a call of the kernel. What they publish it hears, and what waits for room in a ring
//!    it sends; at the end of its looks, it raises the flags and looks once more.
//! 3. It registers its eventfd with the sink that it waits for, under the sink's lock.
//! 4. It looks whether its outcome is here, and leaves if so.
//! 5. It sleeps on the leader's set, which has the links and its eventfd.
//! 6. It hears what the set told of. Back to 2.
//! 7. It withdraws the eventfd from the sink, and gives up the seat.
//!
//! Whenever it has heard something, it wakes the threads whose outcomes have come with that, and
//! wakes the supervisor if something is left for it.
//!
//! Why no wake-up is lost:
//!
//! - *Its outcome, delivered by another thread*: whoever delivers wakes the sink afterwards, and so
//!   finds the eventfd if step 3 came before; if not, step 4 finds the outcome. The eventfd stays
//!   readable until a leader clears it, which looks for its outcome after that.
//! - *An answer, while nobody sleeps on the leader's set*: the kernel wakes the supervisor as well,
//!   as each set tells of a link for as long as there is something to take. What a leader was told
//!   of it hears in any case (step 6), before it leaves.
//! - *An answer, while the flags are down*: the leader raises them before it sleeps or leaves, and
//!   then looks: either it sees the answer, or the worker sees the flag. Each worker has a flag of
//!   its own, and only who has the driver locked changes it; somebody else that hears the worker
//!   meanwhile raises it early, which costs a wake-up.
//! - *Others that wait*: nothing has to be handed over when a leader leaves, as the supervisor
//!   sleeps on the same links all the time.
//! - *What a turn leaves*: it is in the driver, or with the scheduler, when the supervisor is
//!   woken.
//!
//! # Futures
//!
//! A future must not sleep, and may be forgotten at any time, so it does not lead. But when it is
//! polled first, it takes the seat and does step 2 for [`BRIEFLY`], if nothing else is under way in
//! the pool: a worker that is awake on another processor answers a short task in that time, and
//! nobody has to be woken. The flags are raised when that poll returns; what comes later, the
//! supervisor hears, and wakes the task of the executor.
//!
//! A leader that cannot go on (the system refuses it something) waits as others do. Its seat is
//! given up by a guard, also if it panics. A forked copy of the process and the supervisor itself,
//! in a callback, do not lead.

use std::cell::Cell;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::event_sets::{self, Told};
use super::supervisor::Shared;
use crate::channel::spin::{BRIEFLY, Spin};
use crate::error::Failure;
use crate::pool::scheduler::job::{Job, Sink};
use crate::sys::process::threads;
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
    /// True once the eventfd is registered.
    is_registered: Cell<bool>,
    spin: MutexGuard<'a, Spin>,
}

impl<'a, A: Awaited> Seat<'a, A> {
    /// Takes the seat; `None` if it is taken, or this thread may not lead.
    fn take(pool: &'a Shared, awaited: &'a A) -> Option<Seat<'a, A>> {
        if !pool.is_ours() || pool.is_supervisor() {
            return None;
        }
        let spin = match pool.seat.try_lock() {
            Ok(spin) => spin,
            // A leader that panicked has left nothing half done: it held no other lock.
            Err(TryLockError::Poisoned(spin)) => spin.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Seat { pool, awaited, is_registered: Cell::new(false), spin })
    }

    /// Registers the eventfd, if that was not done.
    fn register(&self) {
        if !self.is_registered.replace(true) {
            self.awaited.call_leader(Some(Arc::clone(&self.pool.sets.leader_call)));
        }
    }

    /// Leads until `is_here` holds or the deadline is over: steps 2 to 6. `None` if it cannot go
    /// on.
    fn lead(&mut self, deadline: Deadline, is_here: impl Fn(&A) -> bool) -> Option<bool> {
        let mut events = Vec::new();
        loop {
            let since = self.look(Duration::MAX, deadline, &is_here);
            self.register();
            if is_here(self.awaited) {
                return Some(true);
            }
            if deadline.is_over() {
                return Some(false);
            }
            events.clear();
            self.pool.sets.wait_as_leader(&mut events, deadline).ok()?;
            if let Some(since) = since {
                self.spin.slept(since.elapsed());
            }
            if !self.pool.hear_events(&events) {
                return None;
            }
        }
    }

    /// Looks at the rings for a while, and hears what comes, until `is_here` holds, the deadline is
    /// over, or nothing comes for as long as is worth it, or for `limit`. Step 2. Returns when it
    /// began to look in vain.
    fn look(
        &mut self,
        limit: Duration,
        deadline: Deadline,
        is_here: &impl Fn(&A) -> bool,
    ) -> Option<Instant> {
        let own = own_cpu();
        let mut glances = self.pool.lock().glances(own);
        loop {
            let is_any = || glances.iter().any(|(_, glance)| glance.is_any());
            // They are on other processors than ours: asked before. If there are none, it is not
            // worth it; what was submitted may be done all the same.
            let peer = if glances.is_empty() { own } else { u64::MAX };
            let looked = self.spin.until_within(limit, own, peer, is_any);
            let mut driver = self.pool.lock();
            for (number, glance) in &glances {
                if let Some(place) = driver.place_of(*number).filter(|_| glance.is_any()) {
                    driver.attend_awake(place);
                }
            }
            // With the driver locked, which is the outer lock.
            let is_over = looked.is_err()
                || is_here(self.awaited)
                || driver.is_refused()
                || deadline.is_over();
            if is_over {
                driver.look_no_more();
            }
            driver.settle();
            if !is_over {
                // Those that have tasks by now; the flags of the others are raised.
                glances = driver.glances(own);
            }
            self.pool.pass_on(driver);
            if is_over {
                return looked.err();
            }
        }
    }
}

/// The processor of this thread, as rings have it: 0 there is nowhere.
fn own_cpu() -> u64 {
    threads::cpu().saturating_add(1)
}

impl<A: Awaited> Drop for Seat<'_, A> {
    fn drop(&mut self) {
        if self.is_registered.get() {
            self.awaited.call_leader(None);
        }
        // In a panic only: else looks are ended where they were begun.
        if thread::panicking() {
            self.pool.lock().look_no_more();
        }
    }
}

impl Shared {
    /// Submits a job, and leads until its outcome is here, if nobody leads. The caller waits for
    /// what it cannot wait for here.
    ///
    /// # Errors
    /// Why the pool takes no tasks.
    pub(crate) fn submit_and_lead<A: Awaited>(
        &self,
        job: Job,
        awaited: &A,
        is_here: impl Fn(&A) -> bool,
    ) -> Result<(), Failure> {
        let Some(mut seat) = Seat::take(self, awaited) else { return self.submit([job]) };
        self.lock().submit_led(job)?;
        seat.lead(Deadline::Never, is_here);
        Ok(())
    }

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
        let led = Seat::take(self, awaited).and_then(|mut seat| seat.lead(deadline, is_here));
        // The seat is free again: another thread may lead while this one follows.
        led.unwrap_or_else(|| follow(awaited, deadline))
    }

    /// Looks for an outcome for a moment, if it is all that the pool has to do: what a future does
    /// when it is polled first. Returns when it began to look in vain, for
    /// [`came_late`](Shared::came_late).
    pub(crate) fn look_briefly<A: Awaited>(
        &self,
        awaited: &A,
        is_here: impl Fn(&A) -> bool,
    ) -> Option<Instant> {
        let mut seat = Seat::take(self, awaited)?;
        // With others under way, the supervisor is about to be woken anyway; and an executor with
        // many futures would look for each of them.
        if !self.lock().has_one_to_hear() {
            return None;
        }
        seat.look(BRIEFLY, Deadline::after(BRIEFLY), &is_here)
    }

    /// Notes that an outcome has come that a look was in vain for: the next look is longer or
    /// shorter, by what that would have helped.
    pub(crate) fn came_late(&self, since: Instant) {
        if let Ok(mut spin) = self.seat.try_lock() {
            spin.slept(since.elapsed());
        }
    }

    /// Hears the links that the leader's set has told of. Returns `false` if the system has refused
    /// what a message needs: the supervisor asks again after a pause.
    fn hear_events(&self, events: &[u64]) -> bool {
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
        let is_refused = driver.is_refused();
        self.pass_on(driver);
        !is_refused
    }

    /// Passes on the outcomes that have come, and leaves the rest to the supervisor.
    pub(super) fn pass_on(&self, mut driver: MutexGuard<'_, Driver>) {
        let touched = driver.scheduler.take_touched();
        let mut is_left = driver.needs_supervisor();
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
    }
}
