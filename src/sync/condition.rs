//! Waiting, under a lock, for something to change.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{AcquireError, Poisoned};
use super::lock::{Lock, LockGuard};
use super::raw::members::{Entered, Full};
use super::table::Table;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;

/// A condition variable with its lock: CPython's `multiprocessing.Condition`.
///
/// A process that dies while it waits is as if it had not waited; one that dies after it was
/// notified, before it went on, passes that on to the next.
///
/// ```
/// use multiproc::{Condition, Process};
///
/// fn worker(ready: Condition) {
///     let _guard = ready.acquire().unwrap();
///     ready.notify_all();
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let ready = Condition::new()?;
/// let mut guard = ready.acquire()?;
/// let child = Process::new(worker, (ready.clone(),)).start()?;
/// ready.wait(&mut guard)?; // releases the lock, waits, acquires it again
/// drop(guard);
/// child.join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Condition {
    lock: Lock,
    table: Table,
}

/// Holds what members of a condition are.
const WAITS: u32 = 1;
const NOTIFIED: u32 = 2;

impl Condition {
    /// A condition with a lock of its own.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new() -> Result<Condition> {
        Condition::with_lock(&Lock::new()?)
    }

    /// A condition with a lock that others may use, too.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn with_lock(lock: &Lock) -> Result<Condition> {
        Ok(Condition { lock: lock.clone(), table: Table::create("condition", 0)? })
    }

    /// Its lock.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Acquires its lock.
    ///
    /// # Errors
    /// Those of [`Lock::acquire`].
    pub fn acquire(&self) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.lock.acquire()
    }

    /// Releases the lock, waits to be notified, and acquires the lock again.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`] if the lock got poisoned meanwhile: it is held all the same.
    /// [`AcquireError::OtherLock`] and [`AcquireError::TooMany`]: it did not wait.
    pub fn wait(&self, guard: &mut LockGuard<'_>) -> Result<(), AcquireError<()>> {
        self.wait_until(guard, Deadline::Never).map(drop)
    }

    /// Waits to be notified, for `timeout` at the most (the lock is acquired again after it, which
    /// may take longer); says whether it was.
    ///
    /// # Errors
    /// As for [`wait`](Condition::wait).
    pub fn wait_timeout(
        &self,
        guard: &mut LockGuard<'_>,
        timeout: Duration,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// Does the same as [`wait_timeout`](Condition::wait_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`wait_timeout`](Condition::wait_timeout).
    pub fn wait_deadline(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Instant,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_until(guard, Deadline::at(deadline))
    }

    /// Waits until `predicate`, called with the lock held, gives true.
    ///
    /// # Errors
    /// As for [`wait`](Condition::wait).
    pub fn wait_for(
        &self,
        guard: &mut LockGuard<'_>,
        mut predicate: impl FnMut() -> bool,
    ) -> Result<(), AcquireError<()>> {
        while !predicate() {
            self.wait(guard)?;
        }
        Ok(())
    }

    /// Waits until `predicate` gives true, for `timeout` at the most; gives what it gave last.
    ///
    /// # Errors
    /// As for [`wait`](Condition::wait).
    pub fn wait_for_timeout(
        &self,
        guard: &mut LockGuard<'_>,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_for_until(guard, Deadline::after(timeout), predicate)
    }

    /// Does the same as [`wait_for_timeout`](Condition::wait_for_timeout), with a point in time.
    ///
    /// # Errors
    /// As for [`wait_for_timeout`](Condition::wait_for_timeout).
    pub fn wait_for_deadline(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Instant,
        predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_for_until(guard, Deadline::at(deadline), predicate)
    }

    fn wait_for_until(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Deadline,
        mut predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError<()>> {
        while !predicate() {
            if deadline.is_over() {
                return Ok(false);
            }
            self.wait_until(guard, deadline)?;
        }
        Ok(true)
    }

    /// Wakes one who waits, the one who has waited longest.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Wakes `count` of those who wait, or all if there are fewer. The lock need not be held.
    pub fn notify(&self, count: usize) {
        if let Some(entered) = self.table.members().enter(Deadline::Never) {
            remove_dead(&entered);
            wake(&entered, count);
        }
    }

    fn wait_until(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Deadline,
    ) -> Result<bool, AcquireError<()>> {
        // The guard's own handle: the list of what this thread holds goes by addresses.
        let lock = guard.lock();
        if !lock.is_same(&self.lock) {
            return Err(AcquireError::OtherLock);
        }
        let members = self.table.members();
        let entered = self.table.enter().ok_or(AcquireError::Busy)?;
        let place = entered.join(WAITS, 0).map_err(|Full| AcquireError::TooMany)?;
        let mut watch = entered.watch(place);
        drop(entered);
        lock.release();
        let notified = loop {
            members.sleep(place, &watch, deadline);
            let Some(entered) = self.table.enter() else {
                members.resign(place);
                break false;
            };
            remove_dead(&entered);
            if entered.own(place).role == NOTIFIED {
                break true;
            }
            if deadline.is_over() {
                entered.leave(place);
                break false;
            }
            watch = entered.watch(place);
        };
        let taken = lock.take::<()>(Deadline::Never);
        if notified {
            // Only now: if we die while we wait for the lock, the notification is for somebody
            // else.
            match self.table.enter() {
                Some(entered) => entered.leave(place),
                None => members.resign(place),
            };
        }
        taken?;
        match self.lock.poison() {
            Some((pid, how)) => Err(AcquireError::Poisoned(Poisoned::new((), pid, how))),
            None => Ok(notified),
        }
    }

    /// Returns how many wait.
    fn waiting(&self) -> usize {
        let Some(entered) = self.table.enter() else { return 0 };
        remove_dead(&entered);
        entered.living().filter(|member| member.role == WAITS).count()
    }
}

/// Removes the dead. If some of them had been notified and did not go on, that is passed on.
fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|dead| {
        wake(entered, dead.iter().filter(|dead| dead.role == NOTIFIED).count())
    });
}

/// Notifies `count` members, those who have waited longest.
fn wake(entered: &Entered<'_>, count: usize) {
    if count == 0 {
        return;
    }
    let mut waiting: Vec<_> = entered.living().filter(|member| member.role == WAITS).collect();
    waiting.sort_by_key(|member| member.ticket);
    for member in waiting.into_iter().take(count) {
        member.wake();
        member.set_role(NOTIFIED);
    }
}

impl fmt::Display for Condition {
    /// `<Condition(<Lock(owner=None)>, 0)>`: its lock, and how many wait
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Condition({}, {})>", self.lock, self.waiting())
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
