//! Room in a channel, as something to wait for.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use crate::sys::wait::epoll::Epoll;

/// Room in a channel, which [`wait`](crate::wait) can wait for among other things: the counterpart
/// of waiting for a value.
///
/// It comes from [`Sender::room`](crate::Sender::room),
/// [`Connection::room`](crate::Connection::room), [`Queue::room`](crate::Queue::room) and
/// [`QueueSender::room`](crate::QueueSender::room). It is ready when a `try_send` or `try_put` has
/// something to say other than `Full`: there is room, or nobody will ever receive. Where several
/// processes put into one queue, another may be faster; then the `try_put` is `Full`, and one waits
/// again.
///
/// ```
/// use multiproc::{Process, Queue, TrySendError, wait};
///
/// /// Offers to each queue the next number that it has room for.
/// fn feed(queues: &[Queue<u32>], numbers: std::ops::Range<u32>) -> multiproc::Result<()> {
///     for number in numbers {
///         let rooms: Vec<_> = queues.iter().map(Queue::room).collect();
///         let things: Vec<&dyn multiproc::Waitable> =
///             rooms.iter().map(|room| room as &dyn multiproc::Waitable).collect();
///         queues[wait(&things, None)?[0]].put(number)?;
///     }
///     Ok(())
/// }
///
/// fn add(numbers: Queue<u32>) -> u32 {
///     numbers.iter().map(|number| number.unwrap()).sum()
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let queues = [Queue::bounded(2)?, Queue::bounded(2)?];
/// let adders: Vec<_> = queues
///     .iter()
///     .map(|queue| Process::new(add, (queue.clone(),)).start())
///     .collect::<Result<_, _>>()?;
/// feed(&queues, 0..100)?;
/// queues.iter().for_each(Queue::shutdown);
/// let mut sum = 0;
/// for adder in adders {
///     sum += adder.join()?;
/// }
/// assert_eq!(sum, 4950);
/// # Ok(())
/// # }
/// ```
pub struct Room<'a> {
    gate: Box<dyn RoomGate + Send + Sync + 'a>,
    told: OnceLock<Epoll>,
}

/// A channel that can be asked for room. `told` is kept with it: a set for gates of which more than
/// one descriptor tells, or one in a way of its own; it is made when it is needed.
pub(crate) trait RoomGate: fmt::Debug {
    /// Returns the descriptor to poll for reading, once `poll_ready` said no.
    fn wait_fd<'t>(&self, told: &'t OnceLock<Epoll>) -> io::Result<BorrowedFd<'t>>
    where
        Self: 't;

    /// Returns true if there is room, or nobody will ever receive; if not, the descriptor tells
    /// when that may have changed.
    fn poll_ready(&self, told: &OnceLock<Epoll>) -> io::Result<bool>;
}

impl<'a> Room<'a> {
    pub(crate) fn over(gate: impl RoomGate + Send + Sync + 'a) -> Room<'a> {
        Room { gate: Box::new(gate), told: OnceLock::new() }
    }

    pub(crate) fn wait_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.gate.wait_fd(&self.told)
    }

    pub(crate) fn poll_ready(&self) -> io::Result<bool> {
        self.gate.poll_ready(&self.told)
    }
}

impl fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.gate).finish()
    }
}
