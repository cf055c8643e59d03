//! Waiting for many things at once: CPython's `multiprocessing.connection.wait`.
//!
//! Most things are ready when their descriptor is readable. What lies in shared memory (pipes,
//! queues) is not: there, `poll_ready` looks, and at the same time announces that somebody is about
//! to sleep, so that the other side writes to the descriptor. The order is therefore: look, then
//! sleep; whatever comes in between makes the descriptor readable.

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{ChildStderr, ChildStdout};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{
    Connection, Descriptor, JoinableQueue, Listener, Queue, QueueReceiver, QueueSender, Receiver,
    Room, Sender, SimpleQueue, Writable,
};
use crate::error::{Result, os};
use crate::process::{Child, Handle};
use crate::sys::wait::poll::{self, Deadline};

/// Something that [`wait`] and [`WaitSet`](crate::WaitSet) can wait for: a process, or anything
/// with a descriptor that becomes readable.
pub trait Waitable {
    /// Returns the descriptor to poll for reading: the same each time.
    ///
    /// # Errors
    /// There is none to be had.
    fn wait_fd(&self) -> Result<BorrowedFd<'_>>;

    /// Returns `true` if something can be had without waiting for the descriptor, which need not
    /// tell of it then.
    ///
    /// [`wait`] asks before it sleeps. What a pipe has in shared memory does not show at its
    /// descriptor; if there is nothing, this call sees to it that the descriptor tells of what
    /// comes next, also if that is asked for only once.
    ///
    /// # Errors
    /// The system refuses to say.
    fn poll_ready(&self) -> Result<bool> {
        Ok(false)
    }

    /// Returns `true` if the descriptor may become readable for nothing: then only
    /// [`poll_ready`](Waitable::poll_ready) says that something can be had.
    fn may_wake_for_nothing(&self) -> bool {
        false
    }

    /// Returns how often [`wait`] asks again although the descriptor told of nothing, or `None` if
    /// it need not.
    fn look_again(&self) -> Option<Duration> {
        None
    }
}

impl<T> Waitable for Receiver<T> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.as_fd())
    }

    fn poll_ready(&self) -> Result<bool> {
        self.is_ready().map_err(os("cannot look into a pipe"))
    }

    fn may_wake_for_nothing(&self) -> bool {
        true
    }
}

impl<S, R> Waitable for Connection<S, R> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.as_fd())
    }

    fn poll_ready(&self) -> Result<bool> {
        self.is_ready().map_err(os("cannot look into a connection"))
    }

    fn may_wake_for_nothing(&self) -> bool {
        Connection::may_wake_for_nothing(self)
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

macro_rules! waitable_queues {
    ($($type:ident),*) => {
        $(impl<T> Waitable for $type<T> {
            fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
                Ok(self.as_fd())
            }

            fn poll_ready(&self) -> Result<bool> {
                Ok($type::poll_ready(self))
            }

            fn may_wake_for_nothing(&self) -> bool {
                true
            }

            fn look_again(&self) -> Option<Duration> {
                Some(ROUND)
            }
        })*
    };
}

/// Time for which a queue is waited for in vain at the most, if the process that put into it was
/// killed between the put and the wake-up.
const ROUND: Duration = Duration::from_secs(1);

/// Has pointers to what can be waited for be waited for.
macro_rules! waitable_pointers {
    ($($pointer:ty),*) => {
        $(impl<W: Waitable + ?Sized> Waitable for $pointer {
            fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
                (**self).wait_fd()
            }

            fn poll_ready(&self) -> Result<bool> {
                (**self).poll_ready()
            }

            fn may_wake_for_nothing(&self) -> bool {
                (**self).may_wake_for_nothing()
            }

            fn look_again(&self) -> Option<Duration> {
                (**self).look_again()
            }
        })*
    };
}

waitable_pointers!(&W, &mut W, Box<W>, Arc<W>, Rc<W>);

waitable_queues!(Queue, JoinableQueue, SimpleQueue);

impl<T> Waitable for QueueReceiver<T> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        QueueReceiver::wait_fd(self).map_err(os("cannot wait for a queue"))
    }

    fn poll_ready(&self) -> Result<bool> {
        QueueReceiver::poll_ready(self).map_err(os("cannot look into a queue"))
    }

    fn may_wake_for_nothing(&self) -> bool {
        true
    }

    fn look_again(&self) -> Option<Duration> {
        Some(ROUND)
    }
}

impl Waitable for Room<'_> {
    fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
        Room::wait_fd(self).map_err(os("cannot wait for room in a channel"))
    }

    fn poll_ready(&self) -> Result<bool> {
        Room::poll_ready(self).map_err(os("cannot look for room in a channel"))
    }

    fn may_wake_for_nothing(&self) -> bool {
        true
    }

    fn look_again(&self) -> Option<Duration> {
        Some(ROUND)
    }
}

macro_rules! waitable_ends {
    ($([$($parameter:ident),*] $end:ty),*) => {
        $(impl<$($parameter),*> Waitable for Writable<$end> {
            fn wait_fd(&self) -> Result<BorrowedFd<'_>> {
                Writable::wait_fd(self).map_err(os("cannot wait for room in a channel"))
            }

            fn poll_ready(&self) -> Result<bool> {
                Writable::poll_ready(self).map_err(os("cannot look for room in a channel"))
            }

            fn may_wake_for_nothing(&self) -> bool {
                true
            }

            fn look_again(&self) -> Option<Duration> {
                Some(ROUND)
            }
        })*
    };
}

waitable_ends!(
    [T] Sender<T>,
    [S, R] Connection<S, R>,
    [T] Queue<T>,
    [T] JoinableQueue<T>,
    [T] QueueSender<T>
);

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

/// Waits until at least one of `things` is ready. Returns the indices of those that are, in order;
/// none after `timeout`. Without a timeout, it waits for ever.
///
/// A process is ready when it has ended, a [`Task`](crate::Task) when its outcome is there, a
/// channel when it has something to receive or is at its end, a [`Room`] of a channel when
/// something can be sent. Ready is not taken: another thread or process may be faster.
///
/// CPython's `multiprocessing.connection.wait`. A pipe is ready when a message has begun to arrive;
/// to receive one that is longer than the pipe may still wait for the rest.
///
/// Each call asks all things, which takes some tenths of a microsecond for each. Who waits for the
/// same ones again and again uses a [`WaitSet`](crate::WaitSet).
///
/// # Errors
/// The system has no descriptor left to wait for a process with ([`Handle::sentinel`]).
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Process, Waitable, pipe, wait};
///
/// let (mut sender, receiver) = pipe::<u8>()?;
/// let slow = Process::new(std::thread::sleep, (Duration::from_secs(60),)).start()?;
/// sender.send(1)?;
/// assert_eq!(wait(&[&slow, &receiver], None)?, [1]);
/// slow.kill()?;
/// assert_eq!(wait(&[&slow], None)?, [0]);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn wait(things: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>> {
    let deadline = Deadline::within(timeout);
    let fds = things.iter().map(|thing| thing.wait_fd()).collect::<Result<Vec<_>>>()?;
    // Asked first: this also sees to it that the descriptors tell of what comes later.
    let mut ready = Vec::with_capacity(things.len());
    for thing in things {
        ready.push(thing.poll_ready()?);
    }
    // The shortest of the rounds that the things ask for.
    let round = things.iter().filter_map(|thing| thing.look_again()).min();
    loop {
        let is_any = ready.contains(&true);
        let until = match round {
            _ if is_any => Deadline::now(),
            Some(round) => deadline.within_next(round),
            None => deadline,
        };
        let readable = poll::readable(&fds, until).map_err(os("cannot wait"))?;
        let is_over = is_any || deadline.is_over();
        if readable.is_empty() && !is_any {
            // Nothing was told; so whatever is there was not told of.
            for (place, thing) in
                things.iter().enumerate().filter(|(_, thing)| thing.look_again().is_some())
            {
                ready[place] = thing.poll_ready()?;
            }
        }
        for place in readable {
            if !ready[place] {
                let thing = things[place];
                ready[place] = !thing.may_wake_for_nothing() || thing.poll_ready()?;
            }
        }
        // Woken for nothing: on with it.
        if is_over || ready.contains(&true) {
            return Ok((0..things.len()).filter(|place| ready[*place]).collect());
        }
    }
}
