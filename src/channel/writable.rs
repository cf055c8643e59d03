//! An end of a channel that is waited for until it has room.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use super::room::RoomGate;
use crate::sys::wait::epoll::Epoll;

/// An end of a channel, which [`wait`](crate::wait) and [`WaitSet`](crate::WaitSet) wait for until
/// it has room, where they would wait for values else (or, of a [`Sender`](crate::Sender), for
/// nothing). It is ready when a `try_send` or `try_put` has something to say other than `Full`.
///
/// A [`Room`](crate::Room) is the same for a moment, and borrows the end. This owns it, and lends
/// it as a smart pointer does, so that it can stay in a set: of a
/// [`Sender`](crate::Sender), a [`Connection`](crate::Connection), a [`Queue`](crate::Queue), a
/// [`JoinableQueue`](crate::JoinableQueue) or a [`QueueSender`](crate::QueueSender).
///
/// An end that has room is told of by each wait. So a router puts an end into its set when it is
/// full, and takes it out when it has room.
///
/// ```
/// use multiproc::{Process, Receiver, WaitSet, Writable, pipe_with_capacity};
///
/// fn sum(mut numbers: Receiver<u64>) -> u64 {
///     numbers.iter().map(|number| number.unwrap()).sum()
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// // To each of three the numbers as fast as it takes them.
/// let mut set = WaitSet::new()?;
/// let mut children = Vec::new();
/// for token in 0..3 {
///     let (sender, receiver) = pipe_with_capacity(4096)?;
///     children.push(Process::new(sum, (receiver,)).start()?);
///     set.add(token, Writable::new(sender))?;
/// }
/// let mut next = [0_u64; 3];
/// while !set.is_empty() {
///     for token in set.wait()? {
///         let sender = set.get_mut(token).expect("a member");
///         let number = &mut next[token as usize];
///         while *number < 10_000 && sender.try_send(*number).is_ok() {
///             *number += 1;
///         }
///         if *number == 10_000 {
///             set.remove(token); // dropped: the end
///         }
///     }
/// }
/// for child in children {
///     assert_eq!(child.join()?, 49_995_000);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writable<S> {
    end: S,
    told: OnceLock<Epoll>,
}

impl<S> Writable<S> {
    /// Has an end waited for until it has room.
    ///
    /// ```
    /// use multiproc::{Queue, Writable, wait};
    ///
    /// let queue = Writable::new(Queue::bounded(1)?);
    /// assert_eq!(wait(&[&queue], None)?, [0]);
    /// queue.put(7)?;
    /// assert!(wait(&[&queue], Some(std::time::Duration::ZERO))?.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(end: S) -> Writable<S> {
        Writable { end, told: OnceLock::new() }
    }

    /// Returns the end itself.
    ///
    /// ```
    /// use multiproc::{Queue, Writable};
    ///
    /// let queue: Queue<u8> = Writable::new(Queue::bounded(3)?).into_inner();
    /// assert_eq!(queue.capacity(), Some(3));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn into_inner(self) -> S {
        self.end
    }
}

/// An end that can be asked for room as long as nobody else uses it.
pub(crate) trait HasRoom {
    /// Returns what is asked.
    fn gate(&self) -> impl RoomGate;
}

impl<S> Writable<S> {
    /// Returns the descriptor to poll for reading, once `poll_ready` said no.
    pub(crate) fn wait_fd(&self) -> io::Result<BorrowedFd<'_>>
    where
        S: HasRoom,
    {
        self.end.gate().wait_fd(&self.told)
    }

    /// Returns true if there is room, or nobody will ever receive.
    pub(crate) fn poll_ready(&self) -> io::Result<bool>
    where
        S: HasRoom,
    {
        self.end.gate().poll_ready(&self.told)
    }
}

impl<S> Deref for Writable<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.end
    }
}

impl<S> DerefMut for Writable<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.end
    }
}
