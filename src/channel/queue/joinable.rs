//! A queue that knows when the work is done.
//!
//! What was put is in the queue, then in somebody's hand, and then done. In a table of outstanding
//! items, each process that has some in hand has an entry, which the kernel marks when the process
//! dies. To get, in this order:
//!
//! 1. Count one more in the own entry.
//! 2. Take the record out of the queue.
//!
//! So a value is counted in one of the two places at any moment, in both between 1 and 2. A process
//! that dies there has an entry that no longer counts, and the value is still in the queue.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::values::Queue;
use crate::channel::error::{RecvFailure, SendFailure};
use crate::channel::forms;
use crate::channel::room::{Room, RoomGate};
#[cfg(feature = "async")]
use crate::channel::transport::SendTransportError;
use crate::channel::writable::HasRoom;
#[cfg(feature = "async")]
use crate::channel::{PushesOut, Unsent};
use crate::error::{Cause, Result};
use crate::sync::outstanding::Outstanding;
use crate::sys::wait::poll::Deadline;

/// A [`Queue`] of tasks, of which each is to be reported done by who got it: CPython's
/// `multiprocessing.JoinableQueue`.
///
/// [`join`](JoinableQueue::join) waits until all that was put is done. What a process had got and
/// not reported when it died counts as done, for nobody else will do it; CPython's `join` waits for
/// ever then.
///
/// ```
/// use multiproc::{JoinableQueue, Process};
///
/// fn worker(jobs: JoinableQueue<u32>) {
///     while let Ok(_job) = jobs.get() {
///         jobs.task_done().unwrap();
///     }
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let jobs = JoinableQueue::new()?;
/// let _worker = Process::new(worker, (jobs.clone(),)).daemon(true).start()?;
/// for job in 0..100 {
///     jobs.put(job)?;
/// }
/// jobs.join();
/// assert_eq!(jobs.unfinished(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct JoinableQueue<T> {
    queue: Queue<T>,
    outstanding: Outstanding,
}

impl<T> JoinableQueue<T> {
    /// Creates a queue without a bound.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// jobs.put(1)?;
    /// assert_eq!(jobs.unfinished(), 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<JoinableQueue<T>> {
        Ok(JoinableQueue { queue: Queue::new()?, outstanding: Outstanding::new()? })
    }

    /// Creates a queue that holds up to `maxsize` values; whoever puts more waits for room. For 0,
    /// it is a rendezvous, as [`Queue::bounded`] says.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::bounded(1)?;
    /// jobs.put(1)?;
    /// assert!(jobs.try_put(2).unwrap_err().is_full());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn bounded(maxsize: usize) -> Result<JoinableQueue<T>> {
        Ok(JoinableQueue { queue: Queue::bounded(maxsize)?, outstanding: Outstanding::new()? })
    }

    /// Reports one of the values that were got as done. Usually, the thread that got it does;
    /// another may in its place, as long as that lives.
    ///
    /// # Errors
    /// More were reported than got.
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// jobs.put(1)?;
    /// jobs.get()?;
    /// jobs.task_done()?;
    /// assert!(jobs.task_done().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn task_done(&self) -> Result<()> {
        if self.outstanding.remove() {
            return Ok(());
        }
        Err(Cause::BadInput("task_done() called too many times".into()).into())
    }

    /// Waits until all that was put was got, and reported as done.
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// jobs.put(1)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         jobs.get().unwrap();
    ///         jobs.task_done().unwrap();
    ///     });
    ///     jobs.join();
    /// });
    /// assert_eq!(jobs.unfinished(), 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join(&self) {
        self.join_until(Deadline::Never);
    }

    /// Returns true if all that was put was got, and reported as done.
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// assert!(jobs.try_join());
    /// jobs.put(1)?;
    /// assert!(!jobs.try_join());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn try_join(&self) -> bool {
        self.join_until(Deadline::now())
    }

    /// Waits as [`join`](JoinableQueue::join) does, for `timeout` at most; returns false if the
    /// time is over, as [`Event::wait_timeout`](crate::Event::wait_timeout) does.
    ///
    /// ```
    /// use multiproc::JoinableQueue;
    /// use std::time::Duration;
    ///
    /// let jobs = JoinableQueue::new()?;
    /// jobs.put(1)?;
    /// assert!(!jobs.join_timeout(Duration::from_millis(10)));
    /// jobs.get()?;
    /// jobs.task_done()?;
    /// assert!(jobs.try_join());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_until(Deadline::after(timeout))
    }

    /// Waits as [`join`](JoinableQueue::join) does, until `deadline` at most; returns false if
    /// the time is over.
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// jobs.put(1)?;
    /// assert!(!jobs.join_deadline(Instant::now()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn join_deadline(&self, deadline: Instant) -> bool {
        self.join_until(Deadline::at(deadline))
    }

    fn join_until(&self, deadline: Deadline) -> bool {
        self.outstanding.wait_empty(deadline, || self.queue.is_empty())
    }

    /// Returns the number of values that were put and are not reported as done.
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// jobs.put(1)?;
    /// jobs.put(2)?;
    /// jobs.get()?;
    /// assert_eq!(jobs.unfinished(), 2); // one in the queue, one in hand
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn unfinished(&self) -> usize {
        // In this order: what is got meanwhile is counted twice rather than not at all.
        self.queue.len() + self.outstanding.count()
    }

    /// Returns true if there is a job, or the end, to get; if not, the descriptor tells when that
    /// may have changed, as of the [`Queue`](Queue::poll_ready).
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::new()?;
    /// assert!(!jobs.poll_ready());
    /// jobs.put(1)?;
    /// assert!(jobs.poll_ready());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn poll_ready(&self) -> bool {
        self.queue.poll_ready()
    }

    /// Returns what [`wait`](crate::wait) can wait for until the queue has room, as of the
    /// [`Queue`](Queue::room).
    ///
    /// ```
    /// use multiproc::{JoinableQueue, wait};
    ///
    /// let jobs = JoinableQueue::bounded(1)?;
    /// assert_eq!(wait(&[&jobs.room()], None)?, [0]);
    /// jobs.try_put(1)?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn room(&self) -> Room<'_> {
        self.queue.room()
    }

    /// Returns the queue without the counting, to look at its length and the like, or to
    /// [shut it down](Queue::shutdown).
    ///
    /// ```
    /// let jobs = multiproc::JoinableQueue::<u8>::bounded(3)?;
    /// assert_eq!(jobs.queue().capacity(), Some(3));
    /// jobs.queue().shutdown();
    /// assert!(jobs.put(1).unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }
}

#[cfg(feature = "async")]
impl<T> PushesOut for JoinableQueue<T> {
    fn push(&mut self, unsent: &mut Unsent) -> Result<bool, SendTransportError> {
        self.queue.push(unsent)
    }
}

impl<T> HasRoom for JoinableQueue<T> {
    fn gate(&self) -> impl RoomGate {
        self.queue.gate()
    }
}

forms::put_forms!(
    JoinableQueue,
    "let queue = multiproc::JoinableQueue::bounded(1)?;",
    "queue.queue().shutdown();"
);
forms::get_forms!(
    JoinableQueue,
    "let queue = multiproc::JoinableQueue::<u32>::new()?;\nlet sender = queue.clone();\n\
     sender.put(1)?;",
    "queue.queue().shutdown();"
);
forms::iterators!(
    JoinableQueue[] by get, &,
    /// An iterator over the values of a [`JoinableQueue`] as they come: [`JoinableQueue::iter`].
    /// Each is to be reported [done](JoinableQueue::task_done).
    JoinableQueueIter,
    /// An iterator over the values of a [`JoinableQueue`] as they come, which has a handle of it:
    /// of `into_iter`.
    JoinableQueueIntoIter
);

impl<T: Serialize> JoinableQueue<T> {
    fn put_until<E: SendFailure<T>>(&self, value: T, deadline: Deadline) -> Result<(), E> {
        self.queue.put_until(value, deadline)
    }
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    fn get_until<E: RecvFailure>(&self, deadline: Deadline) -> Result<T, E> {
        // It is in hand before it is out of the queue, so that it is somewhere at any moment.
        let took = std::cell::Cell::new(false);
        // The table has an entry for each process. One that is full refuses, and the value stays in
        // the queue.
        let pick_up = || {
            took.set(self.outstanding.add());
            if took.get() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::StorageFull)) }
        };
        let got = self.queue.get_counted(deadline, pick_up);
        // Decoding may fail after the record is out: then nobody has the value, and it counts as
        // done.
        if got.is_err() && took.get() {
            // Nobody has it.
            self.outstanding.remove();
        }
        got
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("JoinableQueue");
        shown.field("queue", &self.queue).field("outstanding", &self.outstanding).finish()
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue { queue: self.queue.clone(), outstanding: self.outstanding.clone() }
    }
}

impl<T> AsFd for JoinableQueue<T> {
    /// As of the [`Queue`](Queue::poll_ready).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
