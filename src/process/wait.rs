//! Waiting for many things at once.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

use super::{Child, Handle};
use crate::channel::{Connection, Descriptor, Listener};
use crate::error::{Result, os};
use crate::sys::poll::{self, Deadline};

/// Something that [`wait`] can wait for: a process, or anything with a descriptor that becomes readable.
pub trait Waitable {
    /// The descriptor to poll for reading.
    ///
    /// # Errors
    /// There is none to be had.
    fn wait_fd(&self) -> Result<BorrowedFd<'_>>;

    /// Whether something can be had without waiting for the descriptor, as it is in this process already; asked before sleeping.
    ///
    /// # Errors
    /// It cannot be told.
    fn poll_ready(&self) -> Result<bool> {
        Ok(false)
    }
}

impl Waitable for Handle {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        self.sentinel()
    }
}

impl<T> Waitable for Child<T> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        self.sentinel()
    }
}

impl<S, R> Waitable for Connection<S, R> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.as_fd())
    }

    fn poll_ready(&self) -> Result<bool> {
        Ok(self.has_message())
    }
}

impl<T: AsFd> Waitable for Descriptor<T> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.as_fd())
    }
}

macro_rules! waitable_descriptors {
    ($($type:ty),*) => {
        $(impl Waitable for $type {
            fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
                Ok(self.as_fd())
            }
        })*
    };
}

waitable_descriptors!(
    BorrowedFd<'_>,
    OwnedFd,
    File,
    Listener,
    TcpListener,
    TcpStream,
    UdpSocket,
    UnixDatagram,
    UnixListener,
    UnixStream,
    ChildStdout,
    ChildStderr
);

/// Waits until at least one of `things` is ready (a process has ended, a socket has something to read or is at its end) and
/// gives the places in the list of those that are; none after `timeout`. Without a timeout, it waits for ever.
///
/// CPython's `multiprocessing.connection.wait`.
///
/// # Errors
/// The system has no descriptor left to wait for a process with ([`Handle::sentinel`]).
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Process, Waitable, wait};
///
/// let quick = Process::new(|| (), ()).start()?;
/// let slow = Process::new(std::thread::sleep, (Duration::from_secs(60),)).start()?;
/// let ready = wait(&[&quick, &slow], None)?;
/// assert_eq!(ready, [0]);
/// slow.kill()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn wait(things: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>> {
    let mut at_once = Vec::new();
    for (place, thing) in things.iter().enumerate() {
        if thing.poll_ready()? {
            at_once.push(place);
        }
    }
    let timeout = if at_once.is_empty() { timeout } else { Some(Duration::ZERO) };
    let fds = things.iter().map(|thing| thing.wait_fd()).collect::<Result<Vec<_>>>()?;
    let mut ready = poll::readable(&fds, Deadline::within(timeout)).map_err(os("cannot wait"))?;
    if !at_once.is_empty() {
        ready.extend(at_once);
        ready.sort_unstable();
        ready.dedup();
    }
    Ok(ready)
}
