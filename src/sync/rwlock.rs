//! A lock that many read or one writes.
//!
//! Members of the table read, write, or wait for either; the ticket says who came first. The
//! object's number is the poison: 0, or `POISONED`, perhaps `PANICKED`, and the process that did
//! it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow::{Break, Continue};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{AcquireError, How, Poisoned};
use super::raw::members::{Entered, Member};
use super::table::Table;
use crate::error::Result;
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust::pid;

/// A lock that any number of threads of any processes may hold to read, or one to write. (CPython
/// has none.)
///
/// Who comes first goes first: a reader waits behind a writer that waits. So a thread that reads
/// must not read again, or it may wait for a writer that waits for it.
///
/// A reader that dies is as if it had released. A writer that dies or panics poisons the lock, as
/// with [`Lock`](crate::Lock).
///
/// ```
/// use multiproc::RwLock;
///
/// let lock = RwLock::new()?;
/// {
///     let _one = lock.read()?;
///     let _another = lock.read()?;
///     assert_eq!(lock.to_string(), "<RwLock(2 read)>");
///     assert!(lock.try_write().is_err());
/// }
/// let _writer = lock.write()?;
/// assert_eq!(lock.to_string(), "<RwLock(written)>");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct RwLock {
    table: Table,
}

/// The role of a member that holds the lock to read.
const READS: u32 = 1;
/// The role of a member that holds it to write; there is one at the most.
const WRITES: u32 = 2;
/// The role of a member that waits to read.
const WAITS_TO_READ: u32 = 3;
/// The role of a member that waits to write.
const WAITS_TO_WRITE: u32 = 4;

/// In the object's number: the writer panicked; without it, the writer died. The low half is the
/// writer's process.
const PANICKED: u64 = 1 << 32;
/// In the object's number: the lock is poisoned.
const POISONED: u64 = 1 << 33;

impl RwLock {
    /// Makes a lock that nobody holds. It costs a descriptor and, as it is used, pages of memory.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// assert_eq!(multiproc::RwLock::new()?.to_string(), "<RwLock(free)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<RwLock> {
        Ok(RwLock { table: Table::create("rwlock", 0)? })
    }

    /// Waits until nobody writes or waits to write, and takes the lock to read.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::Deadlock`] if this thread
    /// writes; [`AcquireError::TooMany`].
    ///
    /// ```
    /// use multiproc::{Process, RwLock};
    ///
    /// fn reads(lock: RwLock) -> bool {
    ///     lock.read().is_ok()
    /// }
    ///
    /// let lock = RwLock::new()?;
    /// let _reader = lock.read()?;
    /// assert!(Process::new(reads, (lock.clone(),)).start()?.join()?); // beside us
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read(&self) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::Never)
    }

    /// Takes the lock to read if nobody writes or waits to write, and never sleeps.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody writes or waits to; those of [`read`](RwLock::read).
    ///
    /// ```
    /// let lock = multiproc::RwLock::new()?;
    /// let _one = lock.try_read()?;
    /// assert!(lock.try_read().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_read(&self) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::now())
    }

    /// Takes the lock to read, or gives up after `timeout`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] after that time; those of [`read`](RwLock::read).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::RwLock;
    ///
    /// let lock = RwLock::new()?;
    /// let writer = lock.write()?;
    /// std::thread::scope(|scope| {
    ///     let reader = || lock.read_timeout(Duration::from_millis(1)).map(drop);
    ///     scope.spawn(move || assert!(reader().unwrap_err().is_busy()));
    /// });
    /// # drop(writer);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::after(timeout))
    }

    /// Takes the lock to read, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`read_timeout`](RwLock::read_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let lock = multiproc::RwLock::new()?;
    /// assert!(lock.read_deadline(Instant::now()).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_deadline(
        &self,
        deadline: Instant,
    ) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        self.read_until(Deadline::at(deadline))
    }

    /// Waits until nobody else reads or writes, and takes the lock to write.
    ///
    /// # Errors
    /// [`AcquireError::Poisoned`], with the guard; [`AcquireError::Deadlock`] if this thread reads
    /// or writes; [`AcquireError::TooMany`].
    ///
    /// ```
    /// use multiproc::{AcquireError, RwLock};
    ///
    /// let lock = RwLock::new()?;
    /// let reader = lock.read()?;
    /// assert!(matches!(lock.write(), Err(AcquireError::Deadlock))); // it would wait for itself
    /// drop(reader);
    /// let _writer = lock.write()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write(&self) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::Never)
    }

    /// Takes the lock to write if nobody reads or writes, and never sleeps.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody reads or writes; those of [`write`](RwLock::write).
    ///
    /// ```
    /// let lock = multiproc::RwLock::new()?;
    /// let reader = lock.read()?;
    /// assert!(lock.try_write().unwrap_err().is_busy());
    /// drop(reader);
    /// assert!(lock.try_write().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_write(&self) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::now())
    }

    /// Takes the lock to write, or gives up after `timeout`. Readers that came behind it in that
    /// time go on then.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] after that time; those of [`write`](RwLock::write).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = multiproc::RwLock::new()?;
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::after(timeout))
    }

    /// Takes the lock to write, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`write_timeout`](RwLock::write_timeout).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let lock = multiproc::RwLock::new()?;
    /// let _writer = lock.write_deadline(Instant::now())?;
    /// assert_eq!(lock.to_string(), "<RwLock(written)>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write_deadline(
        &self,
        deadline: Instant,
    ) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        self.write_until(Deadline::at(deadline))
    }

    fn read_until(&self, deadline: Deadline) -> Result<ReadGuard<'_>, AcquireError<ReadGuard<'_>>> {
        let (place, poison) =
            self.enter(READS, deadline).map_err(|why| why.map(|never| match never {}))?;
        let guard = ReadGuard { table: &self.table, place, thread: PhantomData };
        match poison {
            Some((pid, how)) => Err(AcquireError::Poisoned(Poisoned::new(guard, pid, how))),
            None => Ok(guard),
        }
    }

    fn write_until(
        &self,
        deadline: Deadline,
    ) -> Result<WriteGuard<'_>, AcquireError<WriteGuard<'_>>> {
        let (place, poison) =
            self.enter(WRITES, deadline).map_err(|why| why.map(|never| match never {}))?;
        let guard = WriteGuard { table: &self.table, place, thread: PhantomData };
        match poison {
            Some((pid, how)) => Err(AcquireError::Poisoned(Poisoned::new(guard, pid, how))),
            None => Ok(guard),
        }
    }

    /// Becomes a member that reads or writes; returns its place, and who poisoned the lock.
    ///
    /// 1. Remove the dead.
    /// 2. If nobody stands in the way, take the role: a single store, by which the lock is held.
    /// 3. Otherwise wait as a member, and begin again when woken.
    ///
    /// Who stands in the way of a reader: a writer, and whoever waited to write before it came. Who
    /// stands in the way of a writer: whoever reads or writes, and whoever waited before it. The
    /// ticket of a member that has not joined yet counts as the greatest, so a newcomer never
    /// overtakes.
    ///
    /// When it gives up, it wakes those behind it before it leaves: they may have waited for it
    /// only.
    fn enter(
        &self,
        role: u32,
        deadline: Deadline,
    ) -> Result<(usize, Poison), AcquireError<std::convert::Infallible>> {
        let waits = if role == READS { WAITS_TO_READ } else { WAITS_TO_WRITE };
        let entered =
            self.table.members().wait_for(waits, pid().into(), deadline, |entered, own| {
                remove_dead(&entered);
                // A newcomer comes after all who wait.
                let ticket = own.map_or(u64::MAX, |place| entered.own(place).ticket);
                let stands_in_the_way = |member: &Member<'_>| match member.role {
                    READS => role == WRITES,
                    WRITES => true,
                    WAITS_TO_WRITE => member.ticket < ticket,
                    // Who came first goes first.
                    WAITS_TO_READ => role == WRITES && member.ticket < ticket,
                    _ => false,
                };
                let mut others = entered.living().filter(stands_in_the_way).peekable();
                if others.peek().is_none() {
                    let place = entered.take_role(own, role, pid().into());
                    let Ok(place) = place else { return Break(Err(AcquireError::TooMany)) };
                    self.table.pin();
                    return Break(Ok((place, poison(entered.object()))));
                }
                let is_own =
                    |member: Member<'_>| member.is_own() && matches!(member.role, READS | WRITES);
                // A thread that holds the lock itself would wait for its own release; `try_` says
                // "busy" instead, as it does not wait.
                let is_deadlock = !matches!(deadline, Deadline::Now) && others.any(is_own);
                if is_deadlock || deadline.is_over() {
                    // Those who waited behind us may go on.
                    wake_all(&entered);
                    own.map(|place| entered.leave(place));
                    return Break(Err(if is_deadlock {
                        AcquireError::Deadlock
                    } else {
                        AcquireError::Busy
                    }));
                }
                Continue(entered)
            });
        entered.unwrap_or_else(|missed| Err(missed.into()))
    }

    /// Returns `true` if a writer died or panicked and nobody has called
    /// [`clear_poison`](RwLock::clear_poison) since. Readers do not poison.
    ///
    /// ```
    /// use multiproc::{Process, RwLock};
    ///
    /// fn dies(lock: RwLock) {
    ///     let _writer = lock.write().unwrap();
    ///     std::process::abort();
    /// }
    ///
    /// let lock = RwLock::new()?;
    /// Process::new(dies, (lock.clone(),)).start()?.join().unwrap_err();
    /// assert!(lock.is_poisoned());
    /// let _reader = lock.read().or_else(|error| error.recover())?;
    /// lock.clear_poison();
    /// assert!(!lock.is_poisoned());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        let Some(entered) = self.table.enter() else { return false };
        remove_dead(&entered);
        poison(entered.object()).is_some()
    }

    /// Declares that the data behind the lock are in order again. See
    /// [`is_poisoned`](RwLock::is_poisoned).
    pub fn clear_poison(&self) {
        if let Some(entered) = self.table.enter() {
            remove_dead(&entered);
            entered.set_object(0);
        }
    }
}

/// The process that poisoned the lock, and how.
type Poison = Option<(u32, How)>;

/// Takes the object's number apart.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what it is about")]
fn poison(object: u64) -> Poison {
    let how = if object & PANICKED != 0 { How::Panicked } else { How::Died };
    (object & POISONED != 0).then_some((object as u32, how))
}

/// Removes the dead. A dead writer poisons the lock, under the table's lock and before its cell is
/// free: nobody gets in between its death and the poison.
fn remove_dead(entered: &Entered<'_>) {
    entered.remove_dead(|dead| {
        wake_all(entered);
        if let Some(writer) = dead.iter().find(|dead| dead.role == WRITES) {
            // There is one writer at the most, so the poison of an earlier one is replaced only by
            // a later one.
            entered.set_object(POISONED | (writer.value & u64::from(u32::MAX)));
        }
    });
}

/// Wakes all who wait; which of them go on, they find out by the rules of `enter`.
fn wake_all(entered: &Entered<'_>) {
    entered
        .living()
        .filter(|member| matches!(member.role, WAITS_TO_READ | WAITS_TO_WRITE))
        .for_each(Member::wake);
}

/// Gives up a place, and poisons the lock if `poison` is not 0.
///
/// 1. Wake those who wait.
/// 2. Write the poison.
/// 3. Leave.
///
/// Killed between 1 and 3, a writer is found dead and poisons the lock as one that died; a reader's
/// death changes nothing.
fn leave(table: &Table, place: usize, poison: u64) {
    let members = table.members();
    match members.enter(Deadline::now()) {
        // A forked copy has only the copy of a guard.
        Some(entered) if !entered.own(place).is_own() => table.unpin_if(entered.leave(place)),
        Some(entered) => {
            wake_all(&entered);
            // Before the place is free: whoever comes next must find it.
            if poison != 0 {
                entered.set_object(poison);
            }
            table.unpin_if(entered.leave(place));
        }
        None => table.unpin_if(members.resign(place)),
    }
}

impl fmt::Display for RwLock {
    /// `<RwLock(free)>`, `<RwLock(2 read)>` or `<RwLock(written)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(entered) = self.table.enter() else { return f.write_str("<RwLock>") };
        remove_dead(&entered);
        let count = |role| entered.living().filter(|member| member.role == role).count();
        match (count(READS), count(WRITES)) {
            (0, 0) => f.write_str("<RwLock(free)>"),
            (readers, 0) => write!(f, "<RwLock({readers} read)>"),
            _ => f.write_str("<RwLock(written)>"),
        }
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Holds a [`RwLock`] to read, and lets go of it when it is dropped. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReadGuard<'a> {
    table: &'a Table,
    place: usize,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        leave(self.table, self.place, 0);
    }
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadGuard")
    }
}

/// Holds a [`RwLock`] to write, and lets go of it when it is dropped; poisons it if that is because
/// of a panic. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a> {
    table: &'a Table,
    place: usize,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        let panicked =
            if std::thread::panicking() { POISONED | PANICKED | u64::from(pid()) } else { 0 };
        leave(self.table, self.place, panicked);
    }
}

impl fmt::Debug for WriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteGuard")
    }
}
