//! A pipe for values, one way.

use std::sync::Arc;

use super::doorbell::{Bell, Packets};
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::segment::Segment;
use super::sender::Sender;
use crate::error::{Result, os};
use crate::sys::ipc::socket;

/// The bytes that a pipe holds unless told otherwise, headers included.
pub(crate) const CAPACITY: usize = 256 * 1024;

/// The two ends of a pipe for values of type `T`, one way, with one sender and one receiver.
/// CPython's `Pipe(duplex=False)`.
///
/// Values lie in shared memory until they are received: 256 KiB of them, then a sender waits. There
/// is no system call while both sides are busy; who waits sleeps on a socket, which also tells of
/// the end and carries descriptors. Values are those that serde can encode, with everything inside
/// them that this library can pass on: ends of other pipes, files, locks, shared memory.
///
/// An end is passed to another process as an argument of a [`Process`](crate::Process) or inside a
/// message, and goes on there where it was. In a fork, a captured end is a copy: use only one of
/// the two.
///
/// A process that is killed while it sends has sent nothing of its last message, or the receiver is
/// told so ([`RecvError::Truncated`](crate::RecvError::Truncated)); what it sent before arrives.
///
/// # Errors
/// The system has no descriptor or no memory left.
///
/// ```
/// use multiproc::{Process, Sender, pipe};
///
/// fn count(to: u32, mut numbers: Sender<u32>) {
///     for number in 0..to {
///         numbers.send(number).expect("send a number");
///     }
/// }
///
/// let (sender, receiver) = pipe()?;
/// let child = Process::new(count, (3, sender)).start()?;
/// let numbers = receiver.into_iter().collect::<Result<Vec<u32>, _>>()?;
/// assert_eq!(numbers, [0, 1, 2]);
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn pipe<T>() -> Result<(Sender<T>, Receiver<T>)> {
    pipe_with_capacity(CAPACITY)
}

/// [`pipe`] with room for `bytes`, rounded up to a power of two, at least 4096 and at most 1 GiB.
/// They are taken from the system's memory at once.
///
/// A message takes what it is encoded as, rounded up to 8, and 8 more. One that is longer than
/// there is room for goes through in parts while the receiver receives.
///
/// # Errors
/// As [`pipe`], for more than 1 GiB, and for 0: a pipe is no rendezvous, as a message may be longer
/// than its capacity anyway. [`Queue::bounded(0)`](crate::Queue::bounded) is one.
///
/// ```
/// let (mut sender, mut receiver) = multiproc::pipe_with_capacity::<String>(4096)?;
/// sender.send("hello".to_owned())?;
/// assert_eq!(receiver.recv()?, "hello");
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn pipe_with_capacity<T>(bytes: usize) -> Result<(Sender<T>, Receiver<T>)> {
    let no_pipe = || os("cannot make a pipe");
    let segment = Arc::new(Segment::create(1, bytes).map_err(no_pipe())?);
    let (near, far) = socket::pair().map_err(no_pipe())?;
    let bell = |socket| Bell::new(Arc::new(socket), Packets::default());
    // The receiver's first: its ring begins with its flag up.
    let receiver =
        Receiver::over(bell(far), Arc::clone(&segment), Inbound::new(Arc::clone(&segment), 0));
    let sender = Sender::over(bell(near), Arc::clone(&segment), Outbound::new(segment, 0));
    Ok((sender, receiver))
}
