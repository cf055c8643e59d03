//! A barrier: a point where a fixed number of threads wait for each other.
//!
//! A round has three parts, which the roles of the members tell apart: members gather (`WAITS`);
//! the last one runs its action with the table unlocked (`ACTS`); then all who wait get `RELEASED`,
//! and leave by themselves. Who comes while an action runs waits for the next round (`EARLY`).
//! There is no count that a death could make wrong: the number of those who have come is the number
//! of members with the role `WAITS`.

use std::fmt;
use std::ops::ControlFlow::{Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
use super::awaited::deputy::{Deputy, Orders};
use super::raw::members::{Entered, Full, Member, Missed};
use super::table::Table;
use crate::error::{Cause, Error, Result};
use crate::sys::wait::poll::Deadline;

/// A point where a number of processes or threads wait for each other, again and again: CPython's
/// `multiprocessing.Barrier`.
///
/// If one of them dies while it waits, the barrier is broken: the others get
/// [`BarrierError::Broken`], until it is [reset](Barrier::reset).
///
/// ```
/// use multiproc::{Barrier, Process};
///
/// fn worker(barrier: Barrier) -> usize {
///     barrier.wait().unwrap()
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let barrier = Barrier::new(3)?;
/// let children: Vec<_> =
///     (0..2).map(|_| Process::new(worker, (barrier.clone(),)).start()).collect::<Result<_, _>>()?;
/// let mut order = vec![barrier.wait()?];
/// for child in children {
///     order.push(child.join()?);
/// }
/// order.sort();
/// assert_eq!(order, [0, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Barrier {
    table: Table,
    parties: u32,
    timeout: Option<Duration>,
}

/// The role of a member that waits for the others.
const WAITS: u32 = 1;
/// The role of the last to come, while it calls its action.
const ACTS: u32 = 2;
/// The role of a member that may go on and has not left yet.
const RELEASED: u32 = 3;
/// The role of a member that waited when the barrier broke.
const BROKEN: u32 = 4;
/// The role of a member that came while the action of the round before runs.
const EARLY: u32 = 5;

/// Why a barrier was not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarrierError {
    /// It is broken: somebody gave up, died, or [aborted](Barrier::abort) or
    /// [reset](Barrier::reset) it.
    Broken,
    /// The others did not come in time; that broke it.
    TimedOut,
    /// As many threads as there is room for (16 384) wait.
    TooMany,
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BarrierError::Broken => "the barrier is broken",
            BarrierError::TimedOut => "the others did not come to the barrier in time",
            BarrierError::TooMany => "too many threads wait at the barrier",
        })
    }
}

impl std::error::Error for BarrierError {}

impl From<Missed> for BarrierError {
    fn from(missed: Missed) -> BarrierError {
        match missed {
            Missed::Locked => BarrierError::Broken,
            Missed::Full => BarrierError::TooMany,
        }
    }
}

impl From<BarrierError> for Error {
    fn from(error: BarrierError) -> Error {
        Cause::Acquire(error.to_string()).into()
    }
}

impl Barrier {
    /// Makes a barrier for `parties` threads, 1 or more.
    ///
    /// # Errors
    /// `parties` is 0; the system lacks descriptors or memory.
    ///
    /// ```
    /// use multiproc::Barrier;
    ///
    /// assert_eq!(Barrier::new(2)?.to_string(), "<Barrier(waiters 0/2)>");
    /// assert!(Barrier::new(0).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(parties: u32) -> Result<Barrier> {
        if parties == 0 {
            return Err(Cause::BadInput("a barrier needs at least one party".into()).into());
        }
        Ok(Barrier { table: Table::create("barrier")?, parties, timeout: None })
    }

    /// Gives this handle, and what is cloned or sent from it, a time after which
    /// [`wait`](Barrier::wait) and [`wait_with`](Barrier::wait_with) give up. CPython's `Barrier(n,
    /// timeout=..)`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Barrier, BarrierError};
    ///
    /// let barrier = Barrier::new(2)?.timeout(Duration::from_millis(1));
    /// assert_eq!(barrier.wait(), Err(BarrierError::TimedOut)); // nobody else came
    /// assert!(barrier.broken());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Barrier {
        self.timeout = Some(timeout);
        self
    }

    /// Waits until all parties are there. Returns the order of arrival in this round: 0 to the
    /// first, and `parties - 1` to the last.
    ///
    /// # Errors
    /// See [`BarrierError`].
    ///
    /// ```
    /// use multiproc::{Barrier, Process};
    ///
    /// fn step(barrier: Barrier) -> usize {
    ///     barrier.wait().unwrap()
    /// }
    ///
    /// let barrier = Barrier::new(2)?;
    /// let child = Process::new(step, (barrier.clone(),)).start()?;
    /// let own = barrier.wait()?;
    /// assert_eq!(own + child.join()?, 1); // 0 for one of them, 1 for the other
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::within(self.timeout), &|| false, || ())
    }

    /// Waits until all parties are there, without blocking the thread that polls. For any executor.
    /// (Feature `async`.) Returns the order of arrival in this round.
    ///
    /// A thread of the library waits in the future's place, from the first poll on. It counts as a
    /// party by itself, whichever thread polls.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time. If it has come and the others have not, the barrier
    /// is broken, as by one that gave up in time: who waits for it would wait for ever.
    ///
    /// # Errors
    /// See [`BarrierError`]. [`BarrierError::TooMany`] also says that no thread can be made.
    ///
    /// ```
    /// use multiproc::{Barrier, Process};
    ///
    /// let barrier = Barrier::new(2)?;
    /// let step = |barrier: Barrier| barrier.wait().unwrap();
    /// let child = Process::new(step, (barrier.clone(),)).start()?;
    /// let own = async_io::block_on(barrier.wait_async())?;
    /// assert_eq!(own + child.join()?, 1); // 0 for one of them, 1 for the other
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn wait_async(&self) -> impl Future<Output = Result<usize, BarrierError>> + Send {
        let barrier = self.clone();
        async move {
            let table = barrier.table.clone();
            let errand = move |orders: &Orders<Result<usize, BarrierError>>| {
                // Dropped before it came: nobody has seen it.
                if orders.is_over() {
                    return;
                }
                let deadline = Deadline::within(barrier.timeout);
                orders.tell(barrier.wait_until(deadline, &|| orders.is_over(), || ()));
            };
            let deputy = Deputy::engage(errand, move || table.members().stir())
                .map_err(|_| BarrierError::TooMany)?;
            let outcome = deputy.news().await;
            deputy.done();
            // In a forked copy, nobody waits in its place.
            outcome.unwrap_or(Err(BarrierError::Broken))
        }
    }

    /// Waits for `timeout` at the most. If the others have not come by then, the barrier is broken
    /// for all of them, as in CPython: who waits for a party that gave up would wait for ever.
    ///
    /// # Errors
    /// See [`BarrierError`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Barrier;
    ///
    /// let barrier = Barrier::new(1)?;
    /// assert_eq!(barrier.wait_timeout(Duration::ZERO), Ok(0)); // it is the only party
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::after(timeout), &|| false, || ())
    }

    /// Waits until `deadline` at the most; otherwise as [`wait_timeout`](Barrier::wait_timeout).
    ///
    /// # Errors
    /// As for [`wait_timeout`](Barrier::wait_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    /// use multiproc::{Barrier, BarrierError};
    ///
    /// let barrier = Barrier::new(2)?;
    /// assert_eq!(barrier.wait_deadline(Instant::now()), Err(BarrierError::TimedOut));
    /// assert_eq!(barrier.wait(), Err(BarrierError::Broken)); // for all
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::at(deadline), &|| false, || ())
    }

    /// Waits; if this thread is the last to come, it calls `action` before anybody goes on.
    /// CPython's `Barrier(n, action)`, with the same action given by all.
    ///
    /// If the action panics, the barrier is broken, and the panic goes on in this thread. If its
    /// process dies, the barrier is broken.
    ///
    /// # Errors
    /// See [`BarrierError`].
    ///
    /// ```
    /// use multiproc::{Barrier, Event, Process};
    ///
    /// fn worker(barrier: Barrier, swapped: Event) -> bool {
    ///     barrier.wait_with(|| swapped.set()).unwrap();
    ///     swapped.is_set() // whoever of the two did it
    /// }
    ///
    /// let (barrier, swapped) = (Barrier::new(2)?, Event::new()?);
    /// let child = Process::new(worker, (barrier.clone(), swapped.clone())).start()?;
    /// barrier.wait_with(|| swapped.set())?;
    /// assert!(swapped.is_set());
    /// assert!(child.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::within(self.timeout), &|| false, action)
    }

    /// 1. Wait as `EARLY` while somebody acts for the round before.
    /// 2. Fail if the barrier is broken.
    /// 3. Count those who wait.
    /// 4. If this thread completes the round, act; otherwise wait to be released.
    ///
    /// The table stays locked from the end of 1 to the change in 4, so two threads never both find
    /// themselves the last. Killed before 4, a thread has not come; afterwards, its death breaks
    /// the barrier.
    ///
    /// `gives_up` ends the wait as the deadline does. It is asked behind each sleep, and before it.
    fn wait_until(
        &self,
        deadline: Deadline,
        gives_up: &dyn Fn() -> bool,
        action: impl FnOnce(),
    ) -> Result<usize, BarrierError> {
        // Until no action of the round before runs.
        let entered = self.table.members().wait_for(EARLY, 0, deadline, |entered, early| {
            remove_dead(&entered);
            if !entered.living().any(|member| member.role == ACTS) || is_broken(&entered) {
                early.map(|place| entered.leave(place));
                return Break(Ok(entered));
            }
            if deadline.is_over() || gives_up() {
                break_for_all(&entered);
                early.map(|place| entered.leave(place));
                return Break(Err(BarrierError::TimedOut));
            }
            Continue(entered)
        });
        let entered = entered.unwrap_or_else(|missed| Err(missed.into()))?;
        if is_broken(&entered) {
            return Err(BarrierError::Broken);
        }
        // Still locked since the last look: nobody has come or gone in between.
        let index = entered.living().filter(|member| member.role == WAITS).count();
        if index + 1 < self.parties as usize {
            let place = entered.join(WAITS, 0).map_err(|Full| BarrierError::TooMany)?;
            return self.await_release(entered, place, deadline, gives_up).map(|()| index);
        }
        self.act(entered, action).map(|()| index)
    }

    /// Waits as a member that was not the last to come, until the last one releases it or the
    /// barrier breaks.
    ///
    /// The member's own role decides: `RELEASED` stays a success if the barrier breaks later. At
    /// the deadline this thread breaks the barrier, under the table's lock, so that nobody is
    /// released then.
    fn await_release<'a>(
        &'a self,
        mut entered: Entered<'a>,
        place: usize,
        deadline: Deadline,
        gives_up: &dyn Fn() -> bool,
    ) -> Result<(), BarrierError> {
        let members = self.table.members();
        loop {
            let watch = entered.watch(place);
            drop(entered);
            // Behind `watch`, which would undo that this thread was stirred.
            if !gives_up() {
                members.sleep(place, &watch, deadline);
            }
            // Somebody holds the table on: give up the place without it. The others find one member
            // less.
            let Some(now) = members.enter(deadline) else {
                members.resign(place);
                return Err(BarrierError::Broken);
            };
            entered = now;
            remove_dead(&entered);
            // The own role before the flag: who was released has passed, whatever happened to the
            // barrier since.
            let outcome = match entered.own(place).role {
                RELEASED => Ok(()),
                // Somebody died over breaking it, perhaps.
                WAITS if is_broken(&entered) => Err(BarrierError::Broken),
                WAITS if !deadline.is_over() && !gives_up() => continue,
                WAITS => {
                    break_for_all(&entered);
                    Err(BarrierError::TimedOut)
                }
                _ => Err(BarrierError::Broken),
            };
            entered.leave(place);
            return outcome;
        }
    }

    /// As the last one: calls the action with the table unlocked, then releases the others.
    ///
    /// 1. Become a member that acts, so that who comes now is early.
    /// 2. Unlock, call the action.
    /// 3. Lock, and see whether the barrier broke meanwhile.
    /// 4. For each who waits: wake, then release.
    /// 5. Leave.
    ///
    /// Killed between 1 and 5, the thread is a dead member that acts, which breaks the barrier for
    /// all who are not released; those who are keep their success. Leaving before 4 would lose
    /// that: the rest would wait for a round that nobody completes.
    fn act(&self, entered: Entered<'_>, action: impl FnOnce()) -> Result<(), BarrierError> {
        let place = entered.join(ACTS, 0).map_err(|Full| BarrierError::TooMany)?;
        drop(entered);
        // 2. Unlocked, as it is the user's code and may take as long as it likes.
        let acted = catch_unwind(AssertUnwindSafe(action));
        let members = self.table.members();
        let Some(entered) = self.table.enter() else {
            members.resign(place);
            return Err(BarrierError::Broken);
        };
        remove_dead(&entered);
        // While the action ran, somebody may have broken or reset the barrier; `break_for_all` gave
        // this member another role then.
        let is_valid = entered.own(place).role == ACTS && !is_broken(&entered);
        if acted.is_err() {
            break_for_all(&entered);
        } else if is_valid {
            // 4. Early ones are woken, too: the round that they wait for begins.
            for member in entered.living() {
                member.wake();
                if member.role == WAITS {
                    member.set_role(RELEASED);
                }
            }
        }
        // Only now: if we die before, that breaks the barrier for those whom we have not released.
        entered.leave(place);
        drop(entered);
        match acted {
            // With the barrier broken and the table unlocked: the caller may look at both.
            Err(panic) => resume_unwind(panic),
            Ok(()) if is_valid => Ok(()),
            Ok(()) => Err(BarrierError::Broken),
        }
    }

    /// Breaks the barrier: those who wait, and all who come, get [`BarrierError::Broken`] until it
    /// is [reset](Barrier::reset). CPython's `abort()`.
    ///
    /// ```
    /// use multiproc::{Barrier, BarrierError};
    ///
    /// let barrier = Barrier::new(2)?;
    /// barrier.abort();
    /// assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    /// barrier.reset();
    /// assert!(!barrier.broken());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn abort(&self) {
        if let Some(entered) = self.table.members().enter(Deadline::Never) {
            remove_dead(&entered);
            break_for_all(&entered);
        }
    }

    /// Makes the barrier as new. Those who wait get [`BarrierError::Broken`]. CPython's `reset()`.
    ///
    /// ```
    /// use multiproc::Barrier;
    ///
    /// let barrier = Barrier::new(1)?;
    /// barrier.abort();
    /// assert!(barrier.wait().is_err());
    /// barrier.reset();
    /// assert_eq!(barrier.wait(), Ok(0));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn reset(&self) {
        if let Some(entered) = self.table.members().enter(Deadline::Never) {
            remove_dead(&entered);
            break_for_all(&entered);
            // After `break_for_all`: those who waited have the role `BROKEN`, and are not misled by
            // the flag.
            entered.flag().store(0, Ordering::Relaxed);
        }
    }

    /// Returns how many threads have to come. CPython's `parties`.
    ///
    /// ```
    /// assert_eq!(multiproc::Barrier::new(3)?.parties(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties as usize
    }

    /// Returns how many threads wait at this moment. CPython's `n_waiting`.
    ///
    /// ```
    /// use multiproc::Barrier;
    ///
    /// let barrier = Barrier::new(3)?;
    /// assert_eq!((barrier.parties(), barrier.n_waiting()), (3, 0));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        let Some(entered) = self.table.enter() else { return 0 };
        remove_dead(&entered);
        entered.living().filter(|member| member.role == WAITS).count()
    }

    /// Returns `true` if the barrier is broken: after an [`abort`](Barrier::abort), a time-out, a
    /// panic of an action, or the death of somebody who waited. CPython's `broken`.
    ///
    /// ```
    /// let barrier = multiproc::Barrier::new(3)?;
    /// assert!(!barrier.broken());
    /// barrier.abort();
    /// assert!(barrier.broken());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn broken(&self) -> bool {
        let Some(entered) = self.table.enter() else { return true };
        remove_dead(&entered);
        is_broken(&entered)
    }
}

/// The flag beside the table; changed under the table's lock only.
fn is_broken(entered: &Entered<'_>) -> bool {
    entered.flag().load(Ordering::Relaxed) != 0
}

/// Removes the dead. One that died while it waited or acted breaks the barrier; one that was early
/// or released has not to be waited for.
fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|dead| {
        if dead.iter().any(|dead| matches!(dead.role, WAITS | ACTS)) {
            break_for_all(entered);
        }
    });
}

/// Breaks the barrier. In this order: wake everybody, set the flag, change the roles. Killed after
/// the flag, this thread leaves members that wait at a broken barrier; they are awake, and
/// `await_release` looks at the flag.
fn break_for_all(entered: &Entered<'_>) {
    // Woken, broken, then told by their roles: whoever wakes early waits for the table's lock.
    entered.living().for_each(Member::wake);
    entered.flag().store(1, Ordering::Relaxed);
    for member in entered.living() {
        if matches!(member.role, WAITS | ACTS) {
            member.set_role(BROKEN);
        }
    }
}

impl fmt::Display for Barrier {
    /// `<Barrier(waiters 1/3)>`, or `<Barrier(broken)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.broken() {
            return f.write_str("<Barrier(broken)>");
        }
        write!(f, "<Barrier(waiters {}/{})>", self.n_waiting(), self.parties)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
