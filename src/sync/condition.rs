//! Waiting, under a lock, for something to change.
//!
//! Members of the table are those who wait. `notify` gives the oldest of them the role `NOTIFIED`
//! and wakes it; it stays a member until it has the lock again, so that a notification is never in
//! a dead process only.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
use super::awaited::deputy::{Deputy, End, Orders};
use super::error::{AcquireError, Poisoned};
use super::lock::{Lock, LockGuard};
use super::raw::members::{Entered, Full};
use super::table::Table;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;

/// A condition variable with its lock: CPython's `multiprocessing.Condition`.
///
/// A waiter may be woken without a reason for it: look at what you wait for in a loop, or use
/// [`wait_for`](Condition::wait_for).
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

/// What a deputy tells its task.
#[cfg(feature = "async")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It is a member, and waits.
    Waits,
    /// There is no room for it.
    Full,
    /// It was notified.
    Notified,
}

/// The role of a member that waits to be notified.
const WAITS: u32 = 1;
/// The role of a member that was notified and has not gone on yet.
const NOTIFIED: u32 = 2;

impl Condition {
    /// Makes a condition with a lock of its own.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let condition = multiproc::Condition::new()?;
    /// assert_eq!(condition.to_string(), "<Condition(<Lock(owner=None)>, 0)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<Condition> {
        Condition::with_lock(&Lock::new()?)
    }

    /// Makes a condition with a lock that others may use, too: CPython's `Condition(lock)`. Several
    /// conditions of one lock tell different waiters of different changes.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// use multiproc::{Condition, Lock};
    ///
    /// let lock = Lock::new()?;
    /// let (not_empty, not_full) = (Condition::with_lock(&lock)?, Condition::with_lock(&lock)?);
    /// let guard = lock.acquire()?;
    /// not_empty.notify_one();
    /// not_full.notify_one();
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn with_lock(lock: &Lock) -> Result<Condition> {
        Ok(Condition { lock: lock.clone(), table: Table::create("condition")? })
    }

    /// Returns its lock.
    ///
    /// ```
    /// let condition = multiproc::Condition::new()?;
    /// let _guard = condition.lock().acquire()?;
    /// assert!(condition.lock().locked());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Acquires its lock: `condition.lock().acquire()`.
    ///
    /// # Errors
    /// Those of [`Lock::acquire`].
    ///
    /// ```
    /// let condition = multiproc::Condition::new()?;
    /// let guard = condition.acquire()?;
    /// condition.notify_one(); // with the lock held
    /// drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<LockGuard<'_>, AcquireError<LockGuard<'_>>> {
        self.lock.acquire()
    }

    /// Releases the lock, waits to be notified, and acquires the lock again. No notification that
    /// comes after the lock was released is missed.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`] if the lock got poisoned meanwhile: it is held all the same.
    /// [`AcquireError::OtherLock`] and [`AcquireError::TooMany`]: it did not wait.
    ///
    /// ```
    /// use multiproc::{Condition, Event, Process};
    ///
    /// fn notifies(condition: Condition, changed: Event) {
    ///     let _guard = condition.acquire().unwrap();
    ///     changed.set();
    ///     condition.notify_one();
    /// }
    ///
    /// let (condition, changed) = (Condition::new()?, Event::new()?);
    /// let mut guard = condition.acquire()?;
    /// let child = Process::new(notifies, (condition.clone(), changed.clone())).start()?;
    /// while !changed.is_set() {
    ///     condition.wait(&mut guard)?;
    /// }
    /// drop(guard);
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait(&self, guard: &mut LockGuard<'_>) -> Result<(), AcquireError<()>> {
        self.wait_until(guard, Deadline::Never).map(drop)
    }

    /// Waits to be notified, for `timeout` at the most. Returns whether it was.
    ///
    /// The lock is acquired again in either case, which may take longer than `timeout`.
    ///
    /// # Errors
    /// As for [`wait`](Condition::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Condition;
    ///
    /// let condition = Condition::new()?;
    /// let mut guard = condition.acquire()?;
    /// assert!(!condition.wait_timeout(&mut guard, Duration::from_millis(1))?);
    /// assert!(condition.lock().locked()); // again
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_timeout(
        &self,
        guard: &mut LockGuard<'_>,
        timeout: Duration,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_until(guard, Deadline::after(timeout))
    }

    /// Waits to be notified, until `deadline` at the most. Returns whether it was.
    ///
    /// # Errors
    /// As for [`wait_timeout`](Condition::wait_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    /// use multiproc::Condition;
    ///
    /// let condition = Condition::new()?;
    /// let mut guard = condition.acquire()?;
    /// assert!(!condition.wait_deadline(&mut guard, Instant::now())?);
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_deadline(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Instant,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_until(guard, Deadline::at(deadline))
    }

    /// Releases the lock, waits to be notified, and acquires the lock again, without blocking the
    /// thread that polls. For any executor. (Feature `async`.)
    ///
    /// The guard goes in, and a new one comes back. The lock is released once a thread of the
    /// library waits in the future's place, so no notification after that is missed. The future
    /// stays in the guard's thread.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time; the lock is not held then. If it was notified, that
    /// is passed on.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the new guard. [`AcquireError::OtherLock`] and
    /// [`AcquireError::TooMany`] (of threads, too): it did not wait, and the lock is released.
    ///
    /// ```
    /// use multiproc::{Condition, Event, Process};
    ///
    /// fn notifies(condition: Condition, changed: Event) {
    ///     let _guard = condition.acquire().unwrap();
    ///     changed.set();
    ///     condition.notify_one();
    /// }
    ///
    /// let (condition, changed) = (Condition::new()?, Event::new()?);
    /// let child = Process::new(notifies, (condition.clone(), changed.clone())).start()?;
    /// async_io::block_on(async {
    ///     let mut guard = condition.lock().acquire_async().await?;
    ///     while !changed.is_set() {
    ///         guard = condition.wait_async(guard).await?;
    ///     }
    ///     Ok::<(), multiproc::Error>(())
    /// })?;
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub async fn wait_async<'g>(
        &self,
        guard: LockGuard<'g>,
    ) -> Result<LockGuard<'g>, AcquireError<LockGuard<'g>>> {
        let lock = guard.lock();
        if !lock.is_same(&self.lock) {
            return Err(AcquireError::OtherLock);
        }
        let (condition, table) = (self.clone(), self.table.clone());
        let deputy = Deputy::engage(
            move |orders| condition.stand_in(orders),
            move || table.members().stir(),
        )
        .map_err(|_| AcquireError::TooMany)?;
        // With the user's lock held, until the deputy is a member.
        match deputy.news().await {
            Some(News::Waits) => {}
            Some(News::Full) => return Err(AcquireError::TooMany),
            _ => return Err(AcquireError::Busy),
        }
        drop(guard);
        // Notified, or for no reason: the deputy had to give up its place, or is not in this copy
        // of the process.
        deputy.news().await;
        let acquired = lock.acquire_async().await;
        // Only now: who is dropped while it waits for the lock has the notification passed on.
        deputy.done();
        acquired
    }

    /// Waits in a task's place, by the steps of `wait_until`. The task has the lock.
    #[cfg(feature = "async")]
    fn stand_in(&self, orders: &Orders<News>) {
        let members = self.table.members();
        let Some(entered) = self.table.enter() else { return };
        let Ok(place) = entered.join(WAITS, 0) else { return orders.tell(News::Full) };
        let mut watch = entered.watch(place);
        drop(entered);
        orders.tell(News::Waits);
        loop {
            // Behind `watch`, which would undo that this thread was stirred.
            if !orders.is_over() {
                members.sleep(place, &watch, Deadline::Never);
            }
            let Some(entered) = self.enter_as(place) else { return };
            if entered.own(place).role == NOTIFIED {
                break;
            }
            if orders.is_over() {
                entered.leave(place);
                return;
            }
            watch = entered.watch(place);
        }
        orders.tell(News::Notified);
        let end = orders.wait_over();
        let Some(entered) = self.enter_as(place) else { return };
        // Before it leaves: killed in between, it is found dead and notified, which wakes one more.
        if end == End::Left {
            wake(&entered, 1);
        }
        entered.leave(place);
    }

    /// Waits until `predicate`, which is called with the lock held, returns true. CPython's
    /// `wait_for`.
    ///
    /// # Errors
    /// As for [`wait`](Condition::wait).
    ///
    /// ```
    /// use multiproc::{Condition, Process, SharedArray};
    ///
    /// fn produce(changed: Condition, stock: SharedArray<u32>) {
    ///     let _guard = changed.acquire().unwrap();
    ///     stock.set(0, 5);
    ///     changed.notify_all();
    /// }
    ///
    /// let changed = Condition::new()?;
    /// let stock = SharedArray::<u32>::new(1)?;
    /// let mut guard = changed.acquire()?;
    /// let child = Process::new(produce, (changed.clone(), stock.clone())).start()?;
    /// changed.wait_for(&mut guard, || stock.get(0) == 5)?;
    /// drop(guard);
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_for(
        &self,
        guard: &mut LockGuard<'_>,
        mut predicate: impl FnMut() -> bool,
    ) -> Result<(), AcquireError<()>> {
        // A wake-up says nothing about the predicate: somebody else may have been faster.
        while !predicate() {
            self.wait(guard)?;
        }
        Ok(())
    }

    /// Waits until `predicate` returns true, for `timeout` at the most. Returns what it returned
    /// last, so true even if the time was over by then.
    ///
    /// # Errors
    /// As for [`wait`](Condition::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Condition;
    ///
    /// let condition = Condition::new()?;
    /// let mut guard = condition.acquire()?;
    /// assert!(condition.wait_for_timeout(&mut guard, Duration::ZERO, || true)?);
    /// assert!(!condition.wait_for_timeout(&mut guard, Duration::from_millis(1), || false)?);
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_for_timeout(
        &self,
        guard: &mut LockGuard<'_>,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_for_until(guard, Deadline::after(timeout), predicate)
    }

    /// Waits until `predicate` returns true, until `deadline` at the most. Returns what it returned
    /// last.
    ///
    /// # Errors
    /// As for [`wait_for_timeout`](Condition::wait_for_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    /// use multiproc::Condition;
    ///
    /// let condition = Condition::new()?;
    /// let mut guard = condition.acquire()?;
    /// assert!(!condition.wait_for_deadline(&mut guard, Instant::now(), || false)?);
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_for_deadline(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Instant,
        predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError<()>> {
        self.wait_for_until(guard, Deadline::at(deadline), predicate)
    }

    /// The predicate comes before the deadline: a change that is there when the time is over
    /// counts.
    fn wait_for_until(
        &self,
        guard: &mut LockGuard<'_>,
        deadline: Deadline,
        mut predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError<()>> {
        while !predicate() {
            // After the predicate: a change that came with the last instant counts.
            if deadline.is_over() {
                return Ok(false);
            }
            self.wait_until(guard, deadline)?;
        }
        Ok(true)
    }

    /// Notifies the thread that has waited longest, of whichever process. If nobody waits, nothing
    /// happens. CPython's `notify()`.
    ///
    /// The lock need not be held, but usually is: a change that is made without it can be missed by
    /// a waiter that has looked and does not sleep yet.
    ///
    /// ```
    /// let condition = multiproc::Condition::new()?;
    /// condition.notify_one(); // nobody waits: nothing happens
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Notifies all who wait. They go on one after the other, as each needs the lock.
    ///
    /// ```
    /// use multiproc::{Condition, Event, Process};
    ///
    /// fn waits(start: Condition, started: Event) {
    ///     let mut guard = start.acquire().unwrap();
    ///     start.wait_for(&mut guard, || started.is_set()).unwrap();
    /// }
    ///
    /// let (start, started) = (Condition::new()?, Event::new()?);
    /// let children: Vec<_> = (0..3)
    ///     .map(|_| Process::new(waits, (start.clone(), started.clone())).start())
    ///     .collect::<Result<_, _>>()?;
    /// let guard = start.acquire()?;
    /// started.set();
    /// start.notify_all();
    /// drop(guard);
    /// for child in children {
    ///     child.join()?;
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Notifies `count` of those who wait, those who have waited longest, or all if there are
    /// fewer. CPython's `notify(n)`.
    ///
    /// ```
    /// use multiproc::Condition;
    ///
    /// let condition = Condition::new()?;
    /// let _guard = condition.acquire()?;
    /// // A producer of two items: no more than two consumers have to look.
    /// condition.notify(2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn notify(&self, count: usize) {
        if let Some(entered) = self.table.members().enter(Deadline::Never) {
            remove_dead(&entered);
            wake(&entered, count);
        }
    }

    /// 1. Become a member, with the user's lock held: whoever notifies after the lock is released
    ///    finds it.
    /// 2. Note the words of the others, unlock the table.
    /// 3. Release the user's lock.
    /// 4. Sleep; look; until notified or until the deadline. If it is over, leave the table first.
    /// 5. Take the user's lock again.
    /// 6. If notified, leave the table.
    ///
    /// Killed in 1 to 4 while it has the role `WAITS`, the thread is as if it had never waited.
    /// Killed after it was notified and before 6, it is a dead member with the role `NOTIFIED`, and
    /// whoever removes it notifies the next. Leaving before 5 would lose the notification of a
    /// thread that is killed while it waits for the lock.
    ///
    /// # Errors
    /// `OtherLock`, `TooMany`: the lock is still held, and nothing was waited for. `Busy`: somebody
    /// holds the table on. `Poisoned`: after waiting, the lock is held.
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
        // 1. A member, with the user's lock held.
        let place = entered.join(WAITS, 0).map_err(|Full| AcquireError::TooMany)?;
        // 2. What a death or a notification changes from here on is seen by the sleep.
        let mut watch = entered.watch(place);
        drop(entered);
        // 3. The first moment at which somebody can change what is waited for and notify.
        lock.release();
        let notified = loop {
            // 4. Woken by a notification, a death, the deadline, or for no reason: only the role
            //    tells.
            members.sleep(place, &watch, deadline);
            let Some(entered) = self.enter_as(place) else { break false };
            if entered.own(place).role == NOTIFIED {
                break true;
            }
            // After the role: a notification that was given to this thread must not be lost because
            // it came late.
            if deadline.is_over() {
                entered.leave(place);
                break false;
            }
            watch = entered.watch(place);
        };
        // 5. Without a deadline, as in CPython: the caller's guard says that the lock is held.
        let taken = lock.take::<()>(Deadline::Never);
        if notified {
            // Only now: if we die while we wait for the lock, the notification is for somebody
            // else.
            self.enter_as(place).map(|entered| entered.leave(place));
        }
        taken?;
        match self.lock.poison() {
            Some((pid, how)) => Err(AcquireError::Poisoned(Poisoned::new((), pid, how))),
            None => Ok(notified),
        }
    }

    /// Locks the table as a member, and removes the dead; without the lock, gives up the place.
    fn enter_as(&self, place: usize) -> Option<Entered<'_>> {
        let entered = self.table.enter();
        match &entered {
            Some(entered) => remove_dead(entered),
            None => drop(self.table.members().resign(place)),
        }
        entered
    }

    /// Returns how many members wait, without those that are notified already.
    fn waiting(&self) -> usize {
        let Some(entered) = self.table.enter() else { return 0 };
        remove_dead(&entered);
        entered.living().filter(|member| member.role == WAITS).count()
    }
}

/// Removes the dead, and passes on the notifications of those that had one and did not go on.
fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|dead| {
        wake(entered, dead.iter().filter(|dead| dead.role == NOTIFIED).count())
    });
}

/// Notifies `count` members, those who have waited longest.
///
/// Woken first, then notified: killed in between, this thread has woken a member that finds itself
/// not notified and sleeps again. The other way round, it would leave a notified member asleep.
fn wake(entered: &Entered<'_>, count: usize) {
    if count == 0 {
        return;
    }
    // By tickets and not by places: a newcomer may have a place that became free.
    let mut waiting: Vec<_> = entered.living().filter(|member| member.role == WAITS).collect();
    waiting.sort_by_key(|member| member.ticket);
    for member in waiting.into_iter().take(count) {
        // Woken first: killed between the two, this thread has only woken it for nothing.
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
