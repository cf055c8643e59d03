//! A queue of values, with many who put and many who get.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::core::{QueueCore, ShutDown};
use super::error::{GetError, PutError};
use super::growable::LONGEST;
use crate::codec::{self, Carried};
use crate::error::{Cause, Result, os};
use crate::log::get_logger;
use crate::sys::wait::poll::Deadline;

/// A queue between processes: any number of them, and of their threads, may put and get. CPython's `multiprocessing.Queue`.
///
/// Clone it for other threads, pass it to other processes as an argument or inside a message, also inside another queue.
/// What one thread puts comes out in that order. Values are encoded when they are put, and what they carry (ends of pipes,
/// files, locks) goes along.
///
/// Its storage is memory that all who have it share, not a pipe, and nobody's thread works for it: what is put is there for
/// the others at once, and stays when the process that put it has ended. So a process can be joined before the queue that it
/// filled is emptied. An unbounded queue takes what fits into memory.
///
/// A process that dies at any moment, while it puts, gets or waits, leaves the queue usable: what it was about to put is not in
/// it, and at most the one value that it was about to get is gone with it.
///
/// ```
/// use multiproc::{Process, Queue};
///
/// fn worker(jobs: Queue<u32>, results: Queue<(u32, u32)>) {
///     for job in &jobs {
///         results.put((job, job * job)).unwrap();
///     }
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let (jobs, results) = (Queue::new()?, Queue::new()?);
/// let workers: Vec<_> = (0..2)
///     .map(|_| Process::new(worker, (jobs.clone(), results.clone())).start())
///     .collect::<Result<_, _>>()?;
/// for job in 1..=10 {
///     jobs.put(job)?;
/// }
/// jobs.shutdown(); // the workers end when it is empty
/// for worker in workers {
///     worker.join()?;
/// }
/// let sum: u32 = (0..10).map(|_| results.get().unwrap().1).sum();
/// assert_eq!(sum, 385);
/// # Ok(())
/// # }
/// ```
pub struct Queue<T> {
    core: Arc<QueueCore>,
    /// `u64::MAX` if it is not bounded.
    most: u64,
    values: PhantomData<fn(T) -> T>,
}

thread_local! {
    /// A buffer that comes and goes, so that small values need none from the allocator.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer bigger than this is not kept.
const KEPT: usize = 64 * 1024;

/// Does `f` with an empty buffer.
fn with_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // At the end of a thread, there is no kept one any more.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let done = f(&mut buffer);
    if buffer.capacity() <= KEPT {
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
    done
}

impl<T> Queue<T> {
    /// A queue without a bound.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new() -> Result<Queue<T>> {
        Queue::with_most(u64::MAX)
    }

    /// A queue that holds up to `maxsize` values; who puts more waits.
    ///
    /// # Errors
    /// `maxsize` is 0; the system lacks descriptors or memory.
    pub fn bounded(maxsize: usize) -> Result<Queue<T>> {
        if maxsize == 0 {
            return Err(Cause::BadInput("a queue for no value at all; `Queue::new` has no bound".into()).into());
        }
        Queue::with_most(maxsize as u64)
    }

    fn with_most(most: u64) -> Result<Queue<T>> {
        let core = QueueCore::create().map_err(os("cannot make a queue"))?;
        Ok(Queue { core: Arc::new(core), most, values: PhantomData })
    }

    /// How many values are in it at this moment.
    #[must_use]
    pub fn qsize(&self) -> usize {
        usize::try_from(self.core.count()).unwrap_or(usize::MAX)
    }

    /// Whether there is none at this moment.
    #[must_use]
    pub fn empty(&self) -> bool {
        self.core.count() == 0
    }

    /// Whether there is no room at this moment.
    #[must_use]
    pub fn full(&self) -> bool {
        self.core.count() >= self.most
    }

    /// How many values it holds; `None` if it is not bounded.
    #[must_use]
    pub fn maxsize(&self) -> Option<usize> {
        (self.most != u64::MAX).then(|| usize::try_from(self.most).unwrap_or(usize::MAX))
    }

    /// Ends it for everybody who has it: whoever puts from now on gets [`PutError::ShutDown`], and whoever gets, what is still in
    /// it, then [`GetError::ShutDown`]. (`shutdown` of the queues that Python's threads have.)
    pub fn shutdown(&self) {
        self.core.shut_down(ShutDown::Put);
    }

    /// `shutdown`, but what is still in it is not got any more, either.
    pub fn shutdown_now(&self) {
        self.core.shut_down(ShutDown::PutAndGet);
    }

    /// Whether it was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.core.is_shut_down()
    }

    /// Lets go of it, as dropping it does. Others who have it go on; so does what is in it. (CPython's `close`; there is nothing to
    /// flush and no thread to join.)
    pub fn close(self) {
        drop(self);
    }

    /// Whether there is something to get (a value, or the end). If not, the descriptor of [`as_fd`](AsFd::as_fd) turns readable when
    /// that may have changed; ask again then. This is how to wait for it with `epoll` or in an async runtime.
    #[must_use]
    pub fn poll_ready(&self) -> bool {
        self.core.arm()
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts a value; waits for room if the queue is bounded.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::Never)
    }

    /// Puts a value if there is room.
    ///
    /// # Errors
    /// [`PutError::Full`] if there is none; see [`PutError`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::now())
    }

    /// Puts a value; waits for room for `timeout` at the most.
    ///
    /// # Errors
    /// [`PutError::Full`] if there was none; see [`PutError`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::after(timeout))
    }

    pub(crate) fn put_until(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
        with_buffer(|buffer| {
            let mut fds = Vec::new();
            let ends = match codec::encode_within(&value, buffer, LONGEST, &mut fds) {
                Ok(ends) => ends,
                Err(reason) => return Err(PutError::Encode { value, reason }),
            };
            let done = self.core.put(buffer, &fds, self.most, deadline);
            if done.is_ok() {
                ends.keep();
            }
            done.map_err(|fault| PutError::new(fault, value))
        })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Gets the oldest value; waits for one.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::Never, || Ok(()))
    }

    /// Gets the oldest value if there is one.
    ///
    /// # Errors
    /// [`GetError::Empty`] if there is none; see [`GetError`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::now(), || Ok(()))
    }

    /// Gets the oldest value; waits for `timeout` at the most.
    ///
    /// # Errors
    /// [`GetError::Empty`] if none came; see [`GetError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout), || Ok(()))
    }

    /// The values as they come, until the queue is [shut down](Queue::shutdown). A value that cannot be decoded is left out, and a
    /// refusal of the operating system is the end; both are logged. (Who wants to see them calls [`get`](Queue::get).)
    pub fn iter(&self) -> QueueIter<'_, T> {
        QueueIter { queue: self }
    }

    pub(crate) fn get_until(
        &self,
        deadline: Deadline,
        before: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<T, GetError> {
        with_buffer(|buffer| {
            let fds = self.core.get(buffer, deadline, before).map_err(GetError::new)?;
            codec::decode(buffer, fds).map_err(GetError::Decode)
        })
    }
}

/// The values of a [`Queue`] as they come: [`Queue::iter`].
#[derive(Debug)]
pub struct QueueIter<'a, T> {
    queue: &'a Queue<T>,
}

impl<T: DeserializeOwned> Iterator for QueueIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            match self.queue.get() {
                Ok(value) => return Some(value),
                Err(error @ GetError::Decode(_)) => get_logger().warning(&error),
                Err(GetError::ShutDown) => return None,
                Err(error) => {
                    get_logger().error(&error);
                    return None;
                }
            }
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Queue<T> {
    type Item = T;
    type IntoIter = QueueIter<'a, T>;

    fn into_iter(self) -> QueueIter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue { core: Arc::clone(&self.core), most: self.most, values: PhantomData }
    }
}

impl<T> AsFd for Queue<T> {
    /// See [`poll_ready`](Queue::poll_ready).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.pollable()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("qsize", &self.qsize()).field("maxsize", &self.maxsize()).finish_non_exhaustive()
    }
}

/// A queue as it crosses.
#[derive(Serialize, Deserialize)]
struct Crossing {
    memory: Carried,
    put_end: Carried,
    get_end: Carried,
    most: u64,
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (memory, put_end, get_end) = self.core.descriptors();
        Crossing { memory, put_end, get_end, most: self.most }.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Queue<T>, D::Error> {
        let Crossing { memory, put_end, get_end, most } = Crossing::deserialize(deserializer)?;
        let core = QueueCore::open(memory, put_end, get_end).map_err(D::Error::custom)?;
        Ok(Queue { core: Arc::new(core), most, values: PhantomData })
    }
}
