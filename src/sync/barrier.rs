//! A place where so many wait for each other.

use std::fmt;
use std::ops::ControlFlow::{Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::raw::members::{Entered, Full, Member, Missed};
use super::table::Table;
use crate::error::{Cause, Error, Result};
use crate::sys::wait::poll::Deadline;

/// A place where a number of processes or threads wait for each other, again and again: CPython's
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

/// Holds what members of a barrier are.
const WAITS: u32 = 1;
/// Was the last to come, and calls its action.
const ACTS: u32 = 2;
const RELEASED: u32 = 3;
const BROKEN: u32 = 4;
/// Came while the action of the round before runs.
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
    /// A barrier for `parties`, 1 or more.
    ///
    /// # Errors
    /// `parties` is 0; the system lacks descriptors or memory.
    pub fn new(parties: u32) -> Result<Barrier> {
        if parties == 0 {
            return Err(Cause::BadInput("a barrier needs at least one party".into()).into());
        }
        Ok(Barrier { table: Table::create("barrier", 0)?, parties, timeout: None })
    }

    /// The same barrier, with a time after which [`wait`](Barrier::wait) on this handle and its
    /// clones gives up.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Barrier {
        self.timeout = Some(timeout);
        self
    }

    /// Waits until all parties are there; gives the order of arrival in this round: 0 to one of
    /// them, and so on.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::within(self.timeout), || ())
    }

    /// Waits for `timeout` at the most; if the others have not come then, the barrier is broken.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::after(timeout), || ())
    }

    /// Does the same as [`wait_timeout`](Barrier::wait_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`wait_timeout`](Barrier::wait_timeout).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::at(deadline), || ())
    }

    /// Waits; if it is the last to come, it calls `action` before anybody goes on. (CPython's
    /// action, given to all.) A panic in it breaks the barrier.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::within(self.timeout), action)
    }

    fn wait_until(&self, deadline: Deadline, action: impl FnOnce()) -> Result<usize, BarrierError> {
        // Until no action of the round before runs.
        let entered = self.table.members().wait_for(EARLY, 0, deadline, |entered, early| {
            remove_dead(&entered);
            if !entered.living().any(|member| member.role == ACTS) || is_broken(&entered) {
                early.map(|place| entered.leave(place));
                return Break(Ok(entered));
            }
            if deadline.is_over() {
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
        let index = entered.living().filter(|member| member.role == WAITS).count();
        if index + 1 < self.parties as usize {
            let place = entered.join(WAITS, 0).map_err(|Full| BarrierError::TooMany)?;
            return self.await_release(entered, place, deadline).map(|()| index);
        }
        self.act(entered, action).map(|()| index)
    }

    /// As one who was not the last.
    fn await_release<'a>(
        &'a self,
        mut entered: Entered<'a>,
        place: usize,
        deadline: Deadline,
    ) -> Result<(), BarrierError> {
        let members = self.table.members();
        loop {
            let watch = entered.watch(place);
            drop(entered);
            members.sleep(place, &watch, deadline);
            let Some(now) = members.enter(deadline) else {
                members.resign(place);
                return Err(BarrierError::Broken);
            };
            entered = now;
            remove_dead(&entered);
            let outcome = match entered.own(place).role {
                RELEASED => Ok(()),
                // Somebody died over breaking it, perhaps.
                WAITS if is_broken(&entered) => Err(BarrierError::Broken),
                WAITS if !deadline.is_over() => continue,
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
    fn act(&self, entered: Entered<'_>, action: impl FnOnce()) -> Result<(), BarrierError> {
        let place = entered.join(ACTS, 0).map_err(|Full| BarrierError::TooMany)?;
        drop(entered);
        let acted = catch_unwind(AssertUnwindSafe(action));
        let members = self.table.members();
        let Some(entered) = self.table.enter() else {
            members.resign(place);
            return Err(BarrierError::Broken);
        };
        remove_dead(&entered);
        let is_valid = entered.own(place).role == ACTS && !is_broken(&entered);
        if acted.is_err() {
            break_for_all(&entered);
        } else if is_valid {
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
            Err(panic) => resume_unwind(panic),
            Ok(()) if is_valid => Ok(()),
            Ok(()) => Err(BarrierError::Broken),
        }
    }

    /// Breaks it: those who wait, and all who come, get [`BarrierError::Broken`].
    pub fn abort(&self) {
        if let Some(entered) = self.table.members().enter(Deadline::Never) {
            remove_dead(&entered);
            break_for_all(&entered);
        }
    }

    /// Makes it as new. Those who wait get [`BarrierError::Broken`].
    pub fn reset(&self) {
        if let Some(entered) = self.table.members().enter(Deadline::Never) {
            remove_dead(&entered);
            break_for_all(&entered);
            entered.flag().store(0, Ordering::Relaxed);
        }
    }

    /// Returns how many have to come.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties as usize
    }

    /// Returns how many wait at this moment.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        let Some(entered) = self.table.enter() else { return 0 };
        remove_dead(&entered);
        entered.living().filter(|member| member.role == WAITS).count()
    }

    /// Returns whether it is broken.
    #[must_use]
    pub fn broken(&self) -> bool {
        let Some(entered) = self.table.enter() else { return true };
        remove_dead(&entered);
        is_broken(&entered)
    }
}

fn is_broken(entered: &Entered<'_>) -> bool {
    entered.flag().load(Ordering::Relaxed) != 0
}

/// Removes the dead. One who died on the way through breaks it.
fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|dead| {
        if dead.iter().any(|dead| matches!(dead.role, WAITS | ACTS)) {
            break_for_all(entered);
        }
    });
}

fn break_for_all(entered: &Entered<'_>) {
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
