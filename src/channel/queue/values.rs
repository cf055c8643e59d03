//! A queue of values, with many who put and many who get.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::core::{QueueCore, RoomBell, ShutDown};
use super::growable::LONGEST;
use super::room::QueueRoom;
use crate::channel::buffered::{self, Buffer};
use crate::channel::error::{RecvFailure, SendFailure};
use crate::channel::forms;
use crate::channel::room::{Room, RoomGate};
#[cfg(feature = "async")]
use crate::channel::transport::SendTransportError;
use crate::channel::writable::HasRoom;
#[cfg(feature = "async")]
use crate::channel::{LooksBriefly, PushesOut, Unsent};
use crate::codec::Carried;
use crate::error::{Result, os};
use crate::sys::wait::poll::Deadline;

/// A queue between processes: any number of them, and of their threads, may put and get. CPython's
/// `multiprocessing.Queue`.
///
/// Clone it for other threads, pass it to other processes as an argument or inside a message, also
/// inside another queue. What one thread puts comes out in that order. Values are encoded when they
/// are put, and what they carry (ends of pipes, files, locks) goes along.
///
/// Its storage is memory that all who have it share, not a pipe, and nobody's thread works for it:
/// what is put is there for the others at once, and stays when the process that put it has ended.
/// So a process can be joined before the queue that it filled is emptied. An unbounded queue takes
/// what fits into memory.
///
/// A process that dies at any moment, while it puts, gets or waits, leaves the queue usable: what
/// it was about to put is not in it, and at most the one value that it was about to get is gone
/// with it.
///
/// ```
/// use multiproc::{Process, Queue};
///
/// fn worker(jobs: Queue<u32>, results: Queue<(u32, u32)>) {
///     for job in &jobs {
///         let job = job.unwrap();
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
    /// The messages that this thread puts and gets, one at a time, so that small values need no
    /// memory from the allocator.
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// Does `f` with this thread's buffer.
fn with_buffer<R>(f: impl FnOnce(&mut Buffer) -> R) -> R {
    // A thread that is ending has no kept one any more.
    if BUFFER.try_with(|_| ()).is_err() {
        return f(&mut Buffer::new());
    }
    BUFFER.with(|kept| match kept.try_borrow_mut() {
        Ok(mut buffer) => f(&mut buffer),
        // Encoding calls code of the value's type, which may put into a queue itself.
        Err(_) => f(&mut Buffer::new()),
    })
}

impl<T> Queue<T> {
    /// Creates a queue without a bound.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// (0..1000).for_each(|number| queue.put(number).unwrap()); // never waits
    /// assert_eq!(queue.len(), 1000);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<Queue<T>> {
        Queue::with_most(u64::MAX)
    }

    /// Creates a queue that holds up to `maxsize` values; whoever puts more waits for room.
    ///
    /// A queue for 0 values is a rendezvous, as `sync_channel(0)` of the standard library and
    /// `bounded(0)` of crossbeam are: `put` returns when somebody has got the value. It is always
    /// empty and always full; `try_put` hands a value over only to one who waits for it at that
    /// moment, and gives it some 10 ms to wake up. (In Python, a `maxsize` of 0 is no bound: that
    /// is [`Queue::new`].)
    ///
    /// If a process is killed in the middle of a rendezvous, a value is got once or not at all:
    /// whoever got it takes it along; what is on offer when the one who put it is killed can be got
    /// until somebody else puts.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// use multiproc::{Process, Queue};
    ///
    /// let (orders, served) = (Queue::bounded(0)?, Queue::bounded(0)?);
    /// assert!(orders.try_put(1).unwrap_err().is_full()); // nobody waits for it
    /// let serve = |orders: Queue<u32>, served: Queue<u32>| {
    ///     for order in &orders {
    ///         served.put(order.unwrap() * 2).unwrap();
    ///     }
    /// };
    /// let child = Process::new(serve, (orders.clone(), served.clone())).start()?;
    /// orders.put(21)?; // the child has it
    /// assert_eq!(served.get()?, 42);
    /// orders.shutdown();
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn bounded(maxsize: usize) -> Result<Queue<T>> {
        Queue::with_most(maxsize as u64)
    }

    fn with_most(most: u64) -> Result<Queue<T>> {
        let created =
            if most == u64::MAX { QueueCore::create() } else { QueueCore::create_bounded(most) };
        let core = created.map_err(os("cannot make a queue"))?;
        Ok(Queue { core: Arc::new(core), most, values: PhantomData })
    }

    /// Returns the number of values that are in the queue at this moment. (CPython's `qsize`.)
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// queue.put('a')?;
    /// assert_eq!(queue.len(), 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        // What is on offer in a rendezvous is not in it yet.
        let count = if self.most == 0 { 0 } else { self.core.count() };
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Returns true if the queue has no value at this moment. (CPython's `empty`.)
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// assert!(queue.is_empty());
    /// queue.put('a')?;
    /// assert!(!queue.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if the queue has no room at this moment; false if it is not bounded.
    /// (CPython's `full`.)
    ///
    /// ```
    /// let queue = multiproc::Queue::bounded(1)?;
    /// queue.put('a')?;
    /// assert!(queue.is_full());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.most == 0 || self.core.count() >= self.most
    }

    /// Returns the number of values that the queue holds at most; `None` if it is not bounded.
    /// (CPython's `maxsize`.)
    ///
    /// ```
    /// use multiproc::Queue;
    ///
    /// assert_eq!(Queue::<u8>::bounded(3)?.capacity(), Some(3));
    /// assert_eq!(Queue::<u8>::new()?.capacity(), None);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        (self.most != u64::MAX).then(|| usize::try_from(self.most).unwrap_or(usize::MAX))
    }

    /// Ends the queue for everybody who has it: whoever puts from now on gets
    /// [`SendError::Disconnected`](crate::SendError::Disconnected), and whoever gets, what is still
    /// in it, then [`RecvError::Disconnected`](crate::RecvError::Disconnected). (`shutdown` of the
    /// queues that Python's threads have.)
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// queue.put(1)?;
    /// queue.shutdown();
    /// assert!(queue.put(2).unwrap_err().is_disconnected());
    /// assert_eq!(queue.get()?, 1);
    /// assert!(queue.get().unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn shutdown(&self) {
        self.core.shut_down(ShutDown::Put);
    }

    /// Ends the queue as [`shutdown`](Queue::shutdown) does, but what is still in it is not got any
    /// more, either: CPython's `shutdown(immediate=True)`.
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// queue.put(1)?;
    /// queue.shutdown_now();
    /// assert!(queue.get().unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn shutdown_now(&self) {
        self.core.shut_down(ShutDown::PutAndGet);
    }

    /// Returns true if the queue was shut down.
    ///
    /// ```
    /// let queue = multiproc::Queue::<u8>::new()?;
    /// let other = queue.clone();
    /// other.shutdown();
    /// assert!(queue.is_shut_down());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.core.is_shut_down()
    }

    /// Drops this handle. Other handles go on, and what is in the queue stays there as long as
    /// there is one. (CPython's `close`; there is nothing to flush and no thread to join.)
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// let other = queue.clone();
    /// queue.put(1)?;
    /// queue.close();
    /// assert_eq!(other.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn close(self) {
        drop(self);
    }

    /// Returns true if there is something to get: a value, or the end. If not, the descriptor of
    /// [`as_fd`](AsFd::as_fd) turns readable when that may have changed; ask again then. This is
    /// how to wait for a queue with `epoll` or in an async runtime.
    ///
    /// ```
    /// let queue = multiproc::Queue::new()?;
    /// assert!(!queue.poll_ready()); // from here on, the descriptor tells
    /// queue.put(1)?;
    /// assert!(queue.poll_ready());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn poll_ready(&self) -> bool {
        self.core.arm()
    }
}

impl<T> Queue<T> {
    /// Returns what [`wait`](crate::wait) can wait for until the queue has room or is shut down. A
    /// queue without a bound always has.
    ///
    /// ```
    /// use multiproc::{Queue, wait};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::bounded(1)?;
    /// queue.put(1)?;
    /// assert!(wait(&[&queue.room()], Some(Duration::ZERO))?.is_empty());
    /// queue.get()?;
    /// assert_eq!(wait(&[&queue.room(), &queue], None)?, [0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn room(&self) -> Room<'_> {
        self.room_beside(None)
    }

    /// As `room`, and ready when the other side of `end` is gone, too.
    pub(super) fn room_beside<'a>(&'a self, end: Option<&'a Carried>) -> Room<'a> {
        Room::over(self.gate_beside(end))
    }

    pub(super) fn gate_beside<'a>(&'a self, end: Option<&'a Carried>) -> QueueRoom<'a> {
        QueueRoom::new(&self.core, self.most, end)
    }
}

#[cfg(feature = "async")]
impl<T> Queue<T> {
    /// Where a future looks for a value.
    pub(crate) fn brief(&self) -> impl LooksBriefly {
        &*self.core
    }
}

#[cfg(feature = "async")]
impl<T> PushesOut for Queue<T> {
    fn push(&mut self, unsent: &mut Unsent) -> std::result::Result<bool, SendTransportError> {
        unsent.push_whole_by(|bytes, fds| {
            // As `put_until`.
            if bytes.len() > LONGEST {
                return Err(SendTransportError::TooLong);
            }
            self.core.put(bytes.into(), fds, self.most, Deadline::Now)
        })
    }
}

impl<T> HasRoom for Queue<T> {
    fn gate(&self) -> impl RoomGate {
        self.gate_beside(None)
    }
}

forms::put_forms!(Queue, "let queue = multiproc::Queue::bounded(1)?;", "queue.shutdown();");
forms::get_forms!(
    Queue,
    "let queue = multiproc::Queue::<u32>::new()?;\nlet sender = queue.clone();\nsender.put(1)?;",
    "queue.shutdown();"
);
forms::iterators!(
    Queue[] by get, &,
    /// An iterator over the values of a [`Queue`] as they come: [`Queue::iter`].
    QueueIter,
    /// An iterator over the values of a [`Queue`] as they come, which has a handle of it: of
    /// `into_iter`.
    QueueIntoIter
);

impl<T: Serialize> Queue<T> {
    pub(super) fn put_until<E: SendFailure<T>>(
        &self,
        value: T,
        deadline: Deadline,
    ) -> Result<(), E> {
        with_buffer(|buffer| {
            buffered::send(value, buffer, LONGEST, |parts, fds| {
                self.core.put(parts, fds, self.most, deadline)
            })
        })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    fn get_until<E: RecvFailure>(&self, deadline: Deadline) -> Result<T, E> {
        self.get_counted(deadline, || Ok(()))
    }

    /// Gets a value, for which `before` is called before it is out of the queue.
    pub(super) fn get_counted<E: RecvFailure>(
        &self,
        deadline: Deadline,
        before: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<T, E> {
        with_buffer(|buffer| buffered::recv(buffer, |onto| self.core.get(onto, deadline, before)))
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
        let mut shown = f.debug_struct("Queue");
        shown.field("len", &self.len()).field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// A queue as it crosses.
#[derive(Serialize, Deserialize)]
struct Crossing {
    memory: Carried,
    put_end: Carried,
    get_end: Carried,
    most: u64,
    room: Option<RoomBell>,
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (memory, put_end, get_end, room) = self.core.descriptors();
        Crossing { memory, put_end, get_end, most: self.most, room }.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Queue<T>, D::Error> {
        let Crossing { memory, put_end, get_end, most, room } =
            Crossing::deserialize(deserializer)?;
        let core = QueueCore::open(memory, put_end, get_end, room).map_err(D::Error::custom)?;
        Ok(Queue { core: Arc::new(core), most, values: PhantomData })
    }
}
