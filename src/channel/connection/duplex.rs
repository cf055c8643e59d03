//! A pair of connections between processes of one machine.

use super::ends::Connection;
use crate::channel::pipe::link::RingLink;
use crate::channel::pipe::pair::CAPACITY;
use crate::error::{Result, os};

/// The two ends of a connection: what one sends, the other receives. CPython's `Pipe()`.
///
/// Each direction is a ring in shared memory that holds 256 KiB, as in [`pipe`](crate::pipe); see
/// there. An end is passed to another process as an argument or inside a message.
///
/// # Errors
/// The system has no descriptor or no memory left.
///
/// ```
/// use multiproc::{Connection, Process, connection};
///
/// fn double(mut requests: Connection<u64, u32>) {
///     while let Ok(n) = requests.recv() {
///         requests.send(u64::from(n) * 2).expect("send");
///     }
/// }
///
/// let (mut near, far) = connection::<u32, u64>()?;
/// let child = Process::new(double, (far,)).start()?;
/// near.send(21)?;
/// assert_eq!(near.recv()?, 42);
/// drop(near);
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn connection<S, R>() -> Result<(Connection<S, R>, Connection<R, S>)> {
    connection_with_capacity(CAPACITY)
}

/// [`connection`] with room for `bytes` in each direction, rounded up to a power of two, at least
/// 4096 and at most 1 GiB. What is in between is taken from the system's memory at once.
///
/// # Errors
/// As [`connection`], for more than 1 GiB, and for 0, as of
/// [`pipe_with_capacity`](crate::pipe_with_capacity).
///
/// ```
/// let (mut near, mut far) = multiproc::connection_with_capacity::<u8, u8>(4096)?;
/// near.send(1)?;
/// assert_eq!(far.recv()?, 1);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn connection_with_capacity<S, R>(
    bytes: usize,
) -> Result<(Connection<S, R>, Connection<R, S>)> {
    let (near, far) = RingLink::pair(bytes).map_err(os("cannot make a connection"))?;
    Ok((Connection::over_ring(near), Connection::over_ring(far)))
}
