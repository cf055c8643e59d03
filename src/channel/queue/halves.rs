//! The halves of a queue, of which each side learns when the other is gone.
//!
//! The kernel counts the halves: the sending ones have one end of a socket pair, the receiving ones
//! the other, and nothing is ever sent on it. When the last descriptor of an end is closed, because
//! handles were dropped, messages with halves inside thrown away or processes killed, the other end
//! reports that it hung up.
//!
//! A receiver that finds nothing sleeps in these steps:
//!
//! 1. Look for a value, and spin while that is worth it.
//! 2. Ask if the senders are gone. If so, look a last time: what they put was published before
//!    their end was closed.
//! 3. Raise the flag for whoever polls the queue; on if there is a value by now.
//! 4. Sleep on two descriptors: the queue's, which turns readable after the next put, and the end.
//!
//! A sender that finds no room sleeps in the queue as all do who put, and looks for the receivers
//! between rounds.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::room;
use super::values::Queue;
use crate::channel::error::{RecvError, RecvFailure, SendFailure, TryRecvError, TrySendError};
use crate::channel::forms;
use crate::channel::room::{Room, RoomGate};
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::channel::writable::HasRoom;
#[cfg(feature = "async")]
use crate::channel::{PushesOut, Unsent};
use crate::codec::Carried;
use crate::error::{Result as AnyResult, os};
use crate::sys::ipc::socket;
use crate::sys::wait::epoll::Epoll;
use crate::sys::wait::poll::{self, Deadline};

/// The longest that a sender waits for room before it looks again if anybody still receives.
const SEND_ROUND: Duration = Duration::from_millis(50);

/// The longest that a receiver sleeps after a sender was killed between publishing and telling.
const RECV_ROUND: Duration = Duration::from_secs(1);

impl<T> Queue<T> {
    /// Splits a queue into a sending and a receiving half, which can be cloned and passed to other
    /// processes, as the queue can.
    ///
    /// When all receiving halves are gone, however they ended, `put` is
    /// [`SendError::Disconnected`](crate::SendError::Disconnected); when all sending halves are
    /// gone, `get` has what is left in the queue and then is [`RecvError::Disconnected`]. So the
    /// channels of the standard library and of crossbeam do it; here, a killed process counts, and
    /// a half inside a message that nobody has received yet does, too. Other handles of the same
    /// queue go on working and do not count.
    ///
    /// A child of the fork method has copies of all descriptors that its parent had at the time,
    /// as after any fork, and so counts for both sides until it ends.
    ///
    /// # Errors
    /// The system lacks descriptors.
    ///
    /// ```
    /// use multiproc::{Process, Queue, QueueSender, RecvError};
    ///
    /// fn produce(squares: QueueSender<u32>) {
    ///     (1..=3).for_each(|n| squares.put(n * n).unwrap());
    ///     std::process::abort();
    /// }
    ///
    /// # fn main() -> multiproc::Result<()> {
    /// let (sender, receiver) = Queue::new()?.split()?;
    /// let child = Process::new(produce, (sender,)).start()?;
    /// assert_eq!(receiver.iter().collect::<Result<Vec<_>, _>>()?, [1, 4, 9]);
    /// assert_eq!(receiver.get(), Err(RecvError::Disconnected));
    /// # let _ = child.join();
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> AnyResult<(QueueSender<T>, QueueReceiver<T>)> {
        let (sending, receiving) = socket::pair().map_err(os("cannot split a queue"))?;
        let sender = QueueSender { queue: self.clone(), end: sending.into() };
        let receiver = QueueReceiver { queue: self, end: receiving.into(), both: OnceLock::new() };
        Ok((sender, receiver))
    }
}

/// The sending half of a queue, of which there can be any number: [`Queue::split`].
///
/// ```
/// use multiproc::{Process, Queue, QueueSender};
///
/// fn produce(numbers: QueueSender<u32>, from: u32) {
///     (from..from + 10).for_each(|number| numbers.put(number).unwrap());
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let (sender, receiver) = Queue::new()?.split()?;
/// let producers: Vec<_> = [0, 10]
///     .into_iter()
///     .map(|from| Process::new(produce, (sender.clone(), from)).start())
///     .collect::<Result<_, _>>()?;
/// drop(sender); // the producers have the only ones
/// assert_eq!(receiver.iter().map(Result::unwrap).sum::<u32>(), 190);
/// for producer in producers {
///     producer.join()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct QueueSender<T> {
    queue: Queue<T>,
    end: Carried,
}

impl<T> QueueSender<T> {
    /// Returns the queue, to look at its length and the like, or to
    /// [shut it down](Queue::shutdown).
    ///
    /// ```
    /// let (sender, receiver) = multiproc::Queue::new()?.split()?;
    /// sender.put(1)?;
    /// assert_eq!(sender.queue().len(), 1);
    /// # drop(receiver);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Returns true if all receiving halves are gone.
    ///
    /// # Errors
    /// The system refuses to say.
    ///
    /// ```
    /// let (sender, receiver) = multiproc::Queue::<u8>::new()?.split()?;
    /// assert!(!sender.is_disconnected()?);
    /// drop(receiver);
    /// assert!(sender.is_disconnected()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_disconnected(&self) -> AnyResult<bool> {
        poll::hung_up(self.end.as_fd()).map_err(os("cannot look after the other side of a queue"))
    }
}

impl<T> QueueSender<T> {
    /// Returns what [`wait`](crate::wait) can wait for until the queue has room, is shut down or
    /// has no receiving half any more.
    ///
    /// ```
    /// use multiproc::{Queue, wait};
    ///
    /// let (sender, receiver) = Queue::bounded(1)?.split()?;
    /// sender.put(1)?;
    /// drop(receiver);
    /// assert_eq!(wait(&[&sender.room()], None)?, [0]);
    /// assert!(sender.try_put(2).unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn room(&self) -> Room<'_> {
        self.queue.room_beside(Some(&self.end))
    }
}

#[cfg(feature = "async")]
impl<T> PushesOut for QueueSender<T> {
    fn push(&mut self, unsent: &mut Unsent) -> Result<bool, SendTransportError> {
        if poll::hung_up(self.end.as_fd()).map_err(SendTransportError::Os)? {
            return Err(SendTransportError::Disconnected);
        }
        self.queue.push(unsent)
    }
}

impl<T> HasRoom for QueueSender<T> {
    fn gate(&self) -> impl RoomGate {
        self.queue.gate_beside(Some(&self.end))
    }
}

forms::put_forms!(
    QueueSender,
    "let (queue, receiver) = multiproc::Queue::bounded(1)?.split()?;\n# let _receiver = receiver;",
    "queue.queue().shutdown();"
);

impl<T: Serialize> QueueSender<T> {
    fn put_until<E: SendFailure<T>>(&self, mut value: T, deadline: Deadline) -> Result<(), E> {
        loop {
            // Before each round: room in the queue is of no use when nobody is left to take from
            // it.
            match poll::hung_up(self.end.as_fd()) {
                Ok(false) => {}
                Ok(true) => return Err(E::new(SendTransportError::Disconnected, value)),
                Err(error) => return Err(E::new(SendTransportError::Os(error), value)),
            }
            // The queue's own sleep does not watch the other end, so it is woken now and then to
            // look.
            let round = deadline.within_next(SEND_ROUND);
            match self.queue.put_until::<TrySendError<T>>(value, round) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) if !deadline.is_over() => value = back,
                Err(error) => {
                    let (value, error) = error.into_parts();
                    return Err(E::new(error, value));
                }
            }
        }
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> QueueSender<T> {
        QueueSender { queue: self.queue.clone(), end: self.end.clone() }
    }
}

impl<T> fmt::Debug for QueueSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSender").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// The receiving half of a queue, of which there can be any number: [`Queue::split`].
///
/// Each value goes to one of them. [`wait`](crate::wait) tells when there is a value or all
/// sending halves are gone.
///
/// ```
/// use multiproc::{Process, Queue, QueueReceiver};
///
/// fn add(numbers: QueueReceiver<u32>) -> u32 {
///     numbers.into_iter().map(Result::unwrap).sum()
/// }
///
/// let (sender, receiver) = Queue::new()?.split()?;
/// let one = Process::new(add, (receiver.clone(),)).start()?;
/// let other = Process::new(add, (receiver,)).start()?;
/// (1..=10).for_each(|number| sender.put(number).unwrap());
/// drop(sender);
/// assert_eq!(one.join()? + other.join()?, 55);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct QueueReceiver<T> {
    queue: Queue<T>,
    end: Carried,
    /// Readable when the queue's descriptor is or the senders are gone; made when it is asked for.
    #[serde(skip)]
    both: OnceLock<Epoll>,
}

impl<T> QueueReceiver<T> {
    /// Returns the queue, to look at its length and the like, or to
    /// [shut it down](Queue::shutdown).
    ///
    /// ```
    /// let (sender, receiver) = multiproc::Queue::<u8>::bounded(2)?.split()?;
    /// assert_eq!(receiver.queue().capacity(), Some(2));
    /// # drop(sender);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Returns true if all sending halves are gone. There may be values left.
    ///
    /// # Errors
    /// The system refuses to say.
    ///
    /// ```
    /// let (sender, receiver) = multiproc::Queue::new()?.split()?;
    /// sender.put(1)?;
    /// drop(sender);
    /// assert!(receiver.is_disconnected()?);
    /// assert_eq!(receiver.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn is_disconnected(&self) -> AnyResult<bool> {
        poll::hung_up(self.end.as_fd()).map_err(os("cannot look after the other side of a queue"))
    }

    /// Returns true if a value or the end can be got without waiting. If not, the descriptor of
    /// `wait_fd` turns readable when that may have changed.
    pub(crate) fn poll_ready(&self) -> io::Result<bool> {
        Ok(self.queue.poll_ready() || poll::hung_up(self.end.as_fd())?)
    }

    /// Returns the descriptor to poll: see `poll_ready`.
    pub(crate) fn wait_fd(&self) -> io::Result<BorrowedFd<'_>> {
        room::either(&self.both, self.queue.as_fd(), &self.end)
    }
}

forms::get_forms!(
    QueueReceiver,
    "let (sender, queue) = multiproc::Queue::<u32>::new()?.split()?;\nsender.put(1)?;",
    "queue.queue().shutdown();"
);
forms::iterators!(
    QueueReceiver[] by get, &,
    /// An iterator over the values of a [`QueueReceiver`] as they come: [`QueueReceiver::iter`].
    QueueReceiverIter,
    /// An iterator over the values of a [`QueueReceiver`] as they come, which has the half: of
    /// `into_iter`.
    QueueReceiverIntoIter
);

impl<T: DeserializeOwned> QueueReceiver<T> {
    fn get_until<E: RecvFailure>(&self, deadline: Deadline) -> Result<T, E> {
        loop {
            // A deadline that is over has the queue spin before it gives up; `Now` has not.
            let look = match deadline {
                Deadline::Now => Deadline::Now,
                _ => Deadline::after(Duration::ZERO),
            };
            // 1. of the steps above.
            if let Some(got) = self.look(look) {
                return got.map_err(E::from);
            }
            // 2. In this order: the end, then the last look. A sender closes its end after all that
            //    it put.
            if poll::hung_up(self.end.as_fd()).map_err(RecvError::Os)? {
                let last = self.look(Deadline::Now).unwrap_or(Err(RecvError::Disconnected));
                return last.map_err(E::from);
            }
            if deadline.is_over() {
                return Err(E::from(RecvTransportError::Empty));
            }
            // 3. and 4. The queue's core sleeps with its lock held, on words of memory. Here nobody
            //    holds a lock, as the end is a descriptor: so several receivers sleep beside each
            //    other, and the first to wake takes the value.
            if !self.queue.poll_ready() {
                let round = deadline.within_next(RECV_ROUND);
                poll::readable_or_hung_up(self.queue.as_fd(), self.end.as_fd(), round)
                    .map_err(RecvError::Os)?;
            }
        }
    }

    /// Looks for a value; `None` if there is none, but may be later.
    fn look(&self, deadline: Deadline) -> Option<Result<T, RecvError>> {
        match self.queue.get_counted::<TryRecvError>(deadline, || Ok(())) {
            Ok(value) => Some(Ok(value)),
            Err(error) => error.into_recv_error().map(Err),
        }
    }
}

impl<T> Clone for QueueReceiver<T> {
    fn clone(&self) -> QueueReceiver<T> {
        QueueReceiver { queue: self.queue.clone(), end: self.end.clone(), both: OnceLock::new() }
    }
}

impl<T> fmt::Debug for QueueReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueReceiver").field("queue", &self.queue).finish_non_exhaustive()
    }
}
