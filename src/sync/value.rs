//! One value that processes share, with a lock of its own.
//!
//! ```text
//!  0    the lock's cell
//!  64   VALID: its lowest bit says which of the two slots is valid
//!  128  slot 0, then slot 1, each of whole 8-byte words
//! ```
//!
//! A writer fills the slot that is not valid, then changes `VALID` by one store. So a writer that
//! is killed at any instruction has changed the value or not, and there is nothing to poison.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::AcquireError;
use super::lock::Lock;
use crate::error::Result;
use crate::sys::memory::copy;
use crate::sys::memory::shared::Shared;
use crate::sys::wait::poll::Deadline;

/// A value that processes share, with a lock: CPython's `multiprocessing.Value`.
///
/// The guard of [`lock`](SharedValue::lock) has a copy of the value, and writes it back when it is
/// dropped, all at once. If its process dies or panics before, nothing has changed; so there is no
/// poison here. Whatever another process writes to the memory, what comes out is some value of the
/// type: [`Pod`] says that any bytes are one.
///
/// Numbers, arrays of them, and structures with `#[derive(bytemuck::Pod)]` can be shared so. To
/// count without a lock, there are the atomics of [`SharedMemory`](crate::SharedMemory::atomics).
///
/// ```
/// use multiproc::{Process, SharedValue};
///
/// fn count(total: SharedValue<u64>) {
///     for _ in 0..1000 {
///         *total.lock().unwrap() += 1;
///     }
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let total = SharedValue::new(0)?;
/// let children: Vec<_> =
///     (0..2).map(|_| Process::new(count, (total.clone(),)).start()).collect::<Result<_, _>>()?;
/// for child in children {
///     child.join()?;
/// }
/// assert_eq!(total.get()?, 2000);
/// # Ok(())
/// # }
/// ```
pub struct SharedValue<T> {
    /// The value lies behind it, twice: one is valid, the other is written to.
    lock: Lock,
    values: PhantomData<fn(T) -> T>,
}

/// Where the number lies whose lowest bit names the valid slot, in bytes from the lock.
const VALID: usize = 64;
/// Where slot 0 lies, in bytes from the lock: a cache line of its own.
const FIRST: usize = 128;

impl<T: Pod> SharedValue<T> {
    /// 8-byte words that a slot takes.
    const WORDS: usize = size_of::<T>().div_ceil(8);
    /// From the lock to the end of slot 1, in bytes.
    const LENGTH: usize = FIRST + 2 * 8 * Self::WORDS;

    /// Makes a value that processes can share: one descriptor, and as much memory as two values and
    /// two cache lines take.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let temperature = multiproc::SharedValue::new(21.5_f64)?;
    /// assert_eq!(format!("{temperature:?}"), "SharedValue(21.5)");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(value: T) -> Result<SharedValue<T>> {
        let shared =
            SharedValue { lock: Lock::with_room("value", Self::LENGTH)?, values: PhantomData };
        shared.write(&value);
        Ok(shared)
    }

    /// Returns a copy of the value, as it was when nobody held the lock. CPython's `value.value`.
    ///
    /// # Errors
    /// [`AcquireError::Deadlock`] if this thread holds the lock; [`AcquireError::TooMany`] if it
    /// holds as many as a thread can.
    ///
    /// ```
    /// assert_eq!(multiproc::SharedValue::new([1_u8, 2, 3])?.get()?, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn get(&self) -> Result<T, AcquireError<()>> {
        self.take(Deadline::Never)?;
        let value = self.read();
        self.lock.release();
        Ok(value)
    }

    /// Changes the value. CPython's `value.value = ..`.
    ///
    /// # Errors
    /// As for [`get`](SharedValue::get).
    ///
    /// ```
    /// use multiproc::SharedValue;
    ///
    /// let position = SharedValue::new([0.0_f64; 2])?;
    /// position.set([1.5, -2.0])?;
    /// assert_eq!(position.get()?, [1.5, -2.0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn set(&self, value: T) -> Result<(), AcquireError<()>> {
        self.take(Deadline::Never)?;
        self.write(&value);
        self.lock.release();
        Ok(())
    }

    /// Changes the value by a function, with the lock held, and returns what the function returned.
    /// If it panics, nothing changes.
    ///
    /// # Errors
    /// As for [`get`](SharedValue::get).
    ///
    /// ```
    /// use multiproc::SharedValue;
    ///
    /// let tickets = SharedValue::new(10_u32)?;
    /// let bought = tickets.update(|left| {
    ///     let bought = (*left).min(3);
    ///     *left -= bought;
    ///     bought
    /// })?;
    /// assert_eq!((bought, tickets.get()?), (3, 7));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, AcquireError<()>> {
        let mut guard = self.guard(Deadline::Never).map_err(|error| error.map(drop))?;
        Ok(change(&mut guard))
    }

    /// Waits until nobody else holds the lock, and returns a guard with the value. CPython's `with
    /// value.get_lock():`.
    ///
    /// # Errors
    /// As for [`get`](SharedValue::get).
    ///
    /// ```
    /// use multiproc::SharedValue;
    ///
    /// let total = SharedValue::new(1_u64)?;
    /// let mut guard = total.lock()?;
    /// *guard += 41;
    /// drop(guard); // written back
    /// assert_eq!(total.get()?, 42);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn lock(&self) -> Result<SharedValueGuard<'_, T>, AcquireError<SharedValueGuard<'_, T>>> {
        self.guard(Deadline::Never)
    }

    /// Takes the lock if nobody holds it, this thread included, and never sleeps.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] if somebody holds it.
    ///
    /// ```
    /// let total = multiproc::SharedValue::new(0_u64)?;
    /// let guard = total.try_lock()?;
    /// assert!(total.try_lock().is_err_and(|error| error.is_busy()));
    /// # drop(guard);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_lock(
        &self,
    ) -> Result<SharedValueGuard<'_, T>, AcquireError<SharedValueGuard<'_, T>>> {
        match self.guard(Deadline::now()) {
            Err(AcquireError::Deadlock) => Err(AcquireError::Busy),
            guard => guard,
        }
    }

    /// Takes the lock, or gives up after `timeout`.
    ///
    /// # Errors
    /// [`AcquireError::Busy`] after that time; those of [`lock`](SharedValue::lock).
    ///
    /// ```
    /// let total = multiproc::SharedValue::new(0_u64)?;
    /// *total.lock_timeout(std::time::Duration::from_secs(1))? += 1;
    /// assert_eq!(total.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<SharedValueGuard<'_, T>, AcquireError<SharedValueGuard<'_, T>>> {
        self.guard(Deadline::after(timeout))
    }

    /// Takes the lock, or gives up at `deadline`; one that has passed looks once.
    ///
    /// # Errors
    /// As for [`lock_timeout`](SharedValue::lock_timeout).
    ///
    /// ```
    /// let total = multiproc::SharedValue::new(0_u64)?;
    /// *total.lock_deadline(std::time::Instant::now())? += 1;
    /// assert_eq!(total.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn lock_deadline(
        &self,
        deadline: Instant,
    ) -> Result<SharedValueGuard<'_, T>, AcquireError<SharedValueGuard<'_, T>>> {
        self.guard(Deadline::at(deadline))
    }

    fn guard(
        &self,
        deadline: Deadline,
    ) -> Result<SharedValueGuard<'_, T>, AcquireError<SharedValueGuard<'_, T>>> {
        self.take(deadline)?;
        Ok(SharedValueGuard { shared: self, value: self.read(), thread: PhantomData })
    }

    /// A value is never poisoned: if the last holder died, one of the two slots is whole.
    fn take<G>(&self, deadline: Deadline) -> Result<(), AcquireError<G>> {
        self.lock.take(deadline)
    }

    fn memory(&self) -> &Shared {
        self.lock.segment().memory()
    }

    /// The number whose lowest bit names the valid slot. Another process may write anything there:
    /// any number names a slot.
    fn valid(&self) -> &AtomicU64 {
        self.memory().at(VALID)
    }

    /// The slot that `which` names.
    fn words(&self, which: u64) -> &[AtomicU64] {
        let offset = if which & 1 == 0 { 0 } else { 8 * Self::WORDS };
        self.memory().many(FIRST + offset, Self::WORDS)
    }

    /// Copies the valid slot, with the lock held. Bytes that a process wrote without the lock may
    /// be mixed up; `T: Pod` says that they are some value all the same.
    fn read(&self) -> T {
        let mut value = T::zeroed();
        copy::load(
            self.words(self.valid().load(Ordering::Acquire)),
            bytemuck::bytes_of_mut(&mut value),
        );
        value
    }

    /// Changes the value, with the lock held.
    ///
    /// 1. Fill the slot that is not valid.
    /// 2. Make it the valid one: one store, `Release`, so that whoever sees the number sees the
    ///    slot.
    ///
    /// Killed before 2, nothing has changed, and the next writer fills the same slot again.
    fn write(&self, value: &T) {
        let valid = self.valid().load(Ordering::Relaxed);
        // Its lowest bit names the other slot; wrapping keeps it that way.
        let other = valid.wrapping_add(1);
        copy::store(self.words(other), bytemuck::bytes_of(value));
        // The change, as far as anybody else is concerned.
        self.valid().store(other, Ordering::Release);
    }
}

impl<T> Clone for SharedValue<T> {
    fn clone(&self) -> SharedValue<T> {
        SharedValue { lock: self.lock.clone(), values: PhantomData }
    }
}

impl<T> Serialize for SharedValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.lock.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for SharedValue<T> {
    fn deserialize<D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<SharedValue<T>, D::Error> {
        let lock = Lock::deserialize(deserializer)?;
        // The size tells values of different types apart as far as it matters: any bytes are a `T`.
        if lock.segment().memory().length() != Self::LENGTH {
            return Err(D::Error::custom("shared memory of another size than the value's"));
        }
        Ok(SharedValue { lock: lock.first(), values: PhantomData })
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Ok(value) => f.debug_tuple("SharedValue").field(&*value).finish(),
            Err(_) => f.write_str("SharedValue(<locked>)"),
        }
    }
}

/// Holds the lock of a [`SharedValue`] and a copy of its value. Dropping it writes the value back
/// and releases the lock; if the thread panics, it only releases. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct SharedValueGuard<'a, T: Pod> {
    shared: &'a SharedValue<T>,
    value: T,
    /// The kernel knows the holder by its thread.
    thread: PhantomData<*const ()>,
}

impl<T: Pod> Deref for SharedValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Pod> DerefMut for SharedValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Pod> Drop for SharedValueGuard<'_, T> {
    fn drop(&mut self) {
        // A forked copy of the guard holds nothing.
        if !std::thread::panicking() && self.shared.lock.is_own() {
            self.shared.write(&self.value);
        }
        self.shared.lock.release();
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
