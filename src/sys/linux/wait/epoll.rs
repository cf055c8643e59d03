//! Waiting for many descriptors that stay the same, and being called away from it by another
//! thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;

use super::poll::{Deadline, timespec};
use crate::sys::fd;

/// Number of events that one call takes.
const EVENTS_AT_ONCE: usize = 256;

/// A set of descriptors, each with a number that tells it from the others.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    /// Makes an empty set (`epoll_create1(2)`).
    pub(crate) fn new() -> io::Result<Epoll> {
        Ok(Epoll(fd::above_stdio(epoll::create(epoll::CreateFlags::CLOEXEC)?)?))
    }

    /// Adds a descriptor: the set tells while it is readable, at its end or in error.
    /// Level-triggered.
    ///
    /// # Errors
    /// EEXIST if it is in the set; EPERM for an ordinary file; ENOSPC beyond the user's limit of
    /// watches.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    /// Adds a descriptor as [`add`](Epoll::add) does, of which no more threads are woken than need
    /// be (`EPOLLEXCLUSIVE`): if it is in several sets in this way, the first in which a thread
    /// sleeps, in the order in which they were given it.
    pub(crate) fn add_exclusively(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), flags)?)
    }

    /// Adds a descriptor: the set tells when its other side is gone (`EPOLLHUP`, `EPOLLERR`, which
    /// always come), and not what can be read.
    pub(crate) fn add_end(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), epoll::EventFlags::empty())?)
    }

    /// Adds a descriptor: the set tells once of each thing that arrives at it, whether that was
    /// taken or not.
    pub(crate) fn add_arrivals(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), flags)?)
    }

    /// Adds a descriptor: the set tells while it can be written to, at its end or in error.
    pub(crate) fn add_writable(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), epoll::EventFlags::OUT)?)
    }

    /// Adds a descriptor: the set tells while it can be read or written, at its end or in error.
    pub(crate) fn add_either(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), flags)?)
    }

    /// Takes a descriptor out. One that is not in it (ENOENT) is no matter.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until something is readable, and appends the numbers to `onto`; none at `deadline`.
    pub(crate) fn wait(&self, onto: &mut Vec<u64>, deadline: Deadline) -> io::Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let timeout = deadline.left().map(timespec);
            match epoll::wait(
                &self.0,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        onto.extend(events.iter().map(|event| event.data.u64()));
        Ok(())
    }
}

impl AsFd for Epoll {
    /// Readable while something in the set is.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor (`eventfd(2)`) that any thread makes readable, to call another one away from its
/// waiting. Also in a signal handler: `wake` is one `write`.
#[derive(Debug)]
pub(crate) struct WakeUp(OwnedFd);

impl WakeUp {
    /// Makes one that is not readable.
    pub(crate) fn new() -> io::Result<WakeUp> {
        Ok(WakeUp(fd::above_stdio(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)?))
    }

    /// Makes it readable, until `clear`.
    pub(crate) fn wake(&self) {
        // Full after 2^64 calls that nobody heard; an interrupted one is made again.
        while let Err(Errno::INTR) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {}
    }

    /// Makes it unreadable. Clear first, then look for what was meant: a wake-up in between is not
    /// lost.
    pub(crate) fn clear(&self) {
        let mut count = [0_u8; 8];
        while let Err(Errno::INTR) = rustix::io::read(&self.0, &mut count) {}
    }
}

impl AsFd for WakeUp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_is_heard_until_it_is_cleared() {
        let (set, call) = (Epoll::new().expect("epoll"), WakeUp::new().expect("eventfd"));
        set.add(call.as_fd(), 7).expect("add");
        let mut heard = Vec::new();
        set.wait(&mut heard, Deadline::after(Duration::from_millis(1))).expect("wait");
        assert!(heard.is_empty());
        call.wake();
        call.wake();
        set.wait(&mut heard, Deadline::Never).expect("wait");
        assert_eq!(heard, [7]);
        call.clear();
        set.wait(&mut heard, Deadline::Now).expect("wait");
        assert_eq!(heard, [7]);
        call.wake();
        set.remove(call.as_fd());
        set.wait(&mut heard, Deadline::Now).expect("wait");
        assert_eq!(heard, [7]);
    }

    #[test]
    fn of_two_sets_each_tells_of_what_nobody_took() {
        let (near, far) = crate::sys::ipc::socket::pair().expect("pair");
        let (first, second) = (Epoll::new().expect("epoll"), Epoll::new().expect("epoll"));
        first.add_exclusively(near.as_fd(), 1).expect("add");
        second.add_exclusively(near.as_fd(), 2).expect("add");
        std::thread::scope(|scope| {
            let (sleeper, mut heard) = (&first, Vec::new());
            let sleeper = scope.spawn(move || {
                sleeper.wait(&mut heard, Deadline::after(Duration::from_secs(60))).map(|()| heard)
            });
            crate::sys::ipc::socket::send(far.as_fd(), &[b"x"], &[]).expect("send");
            // Whether it slept already or not.
            assert_eq!(sleeper.join().expect("thread").expect("wait"), [1]);
        });
        // Not taken: told again, to whoever looks.
        let mut heard = Vec::new();
        first.wait(&mut heard, Deadline::Now).expect("wait");
        assert_eq!(heard, [1]);
    }

    #[test]
    fn an_end_is_told_of_when_the_other_one_is_closed_only() {
        let (near, far) = crate::sys::ipc::socket::pair().expect("pair");
        let set = Epoll::new().expect("epoll");
        set.add_end(near.as_fd(), 3).expect("add");
        crate::sys::ipc::socket::send(far.as_fd(), &[b"x"], &[]).expect("send");
        let mut heard = Vec::new();
        set.wait(&mut heard, Deadline::after(Duration::from_millis(1))).expect("wait");
        assert!(heard.is_empty());
        drop(far);
        set.wait(&mut heard, Deadline::Never).expect("wait");
        assert_eq!(heard, [3]);
    }
}
