//! The descriptors that a pool sleeps on, in two sets: the supervisor's, which has all of them, and
//! the leader's, which has the links of workers.
//!
//! A link is in both, with the leader's set first, and exclusively (`EPOLLEXCLUSIVE`): what arrives
//! at it wakes the thread that sleeps on the leader's set, and the supervisor only if nobody does.
//! That spares wake-ups, and nothing more depends on it: a set tells of a link for as long as it is
//! readable, so whoever looks at a set later learns of what the other has not taken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::worker_process::WorkerProcess;
use crate::error::{Result, os};
use crate::sys::wait::epoll::{Epoll, WakeUp};
use crate::sys::wait::poll::Deadline;

// The low bits of a descriptor's number in a set say what it tells of; the others are the worker's
// number. An event of a worker that was replaced meanwhile thus finds nobody.
/// The link: a message, or room for one.
const LINK: u64 = 0;
/// The pidfd: the worker has ended.
const END: u64 = 1;
/// The socket of log records.
const RECORDS: u64 = 2;
/// Number of low bits.
const KINDS: u32 = 2;

/// Number of the eventfd that wakes whoever sleeps on a set.
const WAKE_UP: u64 = u64::MAX;

/// What a descriptor tells. Workers are given by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Somebody has written to the eventfd.
    WakeUp,
    /// There is a message at a worker's link, or room for one.
    Link(u64),
    /// There are log records of a worker.
    Records(u64),
    /// A worker has ended.
    End(u64),
}

/// The two sets, and the eventfd of each.
pub(super) struct EventSets {
    /// All descriptors, for the supervisor.
    all: Epoll,
    /// The links, for the leader.
    links: Epoll,
    /// Wakes the supervisor.
    pub(super) wake_up: WakeUp,
    /// Wakes the leader. Shared with what it waits for.
    pub(super) leader_call: Arc<WakeUp>,
}

impl EventSets {
    /// Makes the sets, with nothing in them but their eventfds.
    ///
    /// # Errors
    /// The system has no descriptors.
    pub(super) fn new() -> io::Result<EventSets> {
        let sets = EventSets {
            all: Epoll::new()?,
            links: Epoll::new()?,
            wake_up: WakeUp::new()?,
            leader_call: Arc::new(WakeUp::new()?),
        };
        sets.all.add(sets.wake_up.as_fd(), WAKE_UP)?;
        sets.links.add(sets.leader_call.as_fd(), WAKE_UP)?;
        Ok(sets)
    }

    /// Adds a worker's descriptors.
    ///
    /// # Errors
    /// The system refuses one of them.
    pub(super) fn watch(&self, worker: &WorkerProcess) -> Result<()> {
        let (link, end) = worker.fds()?;
        let cannot = |error| os(format!("cannot watch {}", worker.tag.name))(error);
        let number = worker.number << KINDS;
        if let Some(link) = link {
            // The leader's set first: the kernel asks those that wait in this order.
            self.links.add_exclusively(link, number | LINK).map_err(cannot)?;
            self.all.add_exclusively(link, number | LINK).map_err(cannot)?;
        }
        if let Some(records) = worker.records_fd() {
            self.all.add(records, number | RECORDS).map_err(cannot)?;
        }
        // Last: a worker whose end is watched has all the rest in place.
        self.all.add(end, number | END).map_err(cannot)
    }

    /// Takes a descriptor out of both sets.
    pub(super) fn forget(&self, fd: BorrowedFd<'_>) {
        self.links.remove(fd);
        self.all.remove(fd);
    }

    /// Sleeps on the supervisor's set.
    pub(super) fn wait(&self, onto: &mut Vec<u64>, deadline: Deadline) -> io::Result<()> {
        self.all.wait(onto, deadline)
    }

    /// Sleeps on the leader's set.
    pub(super) fn wait_as_leader(&self, onto: &mut Vec<u64>, deadline: Deadline) -> io::Result<()> {
        self.links.wait(onto, deadline)
    }
}

/// Says what an event of a set tells.
pub(super) fn told(event: u64) -> Told {
    let number = event >> KINDS;
    match event & ((1 << KINDS) - 1) {
        _ if event == WAKE_UP => Told::WakeUp,
        LINK => Told::Link(number),
        RECORDS => Told::Records(number),
        _ => Told::End(number),
    }
}
