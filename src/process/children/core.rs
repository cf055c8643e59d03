//! Describes what all handles of a child share: where it leads to, and how it ended.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::end::End;
use super::private_dir::PrivateDir;
use super::removal;
use crate::error::{Cause, Error, Failure, JoinError, Result};
use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::start::method::StartMethod;
use crate::start::wire::{self, StopRequest};
use crate::start::{Launched, ProcessSpec};
use crate::sys::fd;
#[cfg(feature = "cage")]
use crate::sys::ipc::lifeline::PrivateLifeline;
use crate::sys::ipc::socket;
use crate::sys::ipc::socket::Received;
use crate::sys::per_process::{Generation, pid};
use crate::sys::process::pidfd::Status;
use crate::sys::process::{pidfd, reserve, tree};
use crate::sys::wait::poll::{self, Deadline};

/// Describes what all handles of one process share.
pub(crate) struct Core {
    /// The process that started it.
    owner: (Generation, u32),
    /// Its place in the registry, and what removes it there once its status is taken.
    id: u64,
    forget: fn(u64),
    /// As it was started; its handles may have given it another name since.
    pub(crate) spec: ProcessSpec,
    name: Mutex<String>,
    pub(crate) pid: u32,
    pub(crate) function: &'static str,
    pub(crate) method: StartMethod,
    /// When it is to end.
    due: Option<Due>,
    is_overdue: AtomicBool,
    /// Its own directory, which goes with it.
    private_dir: Option<PathBuf>,
    phase: Mutex<Phase>,
    /// A descriptor that turns readable at the end, once somebody asked for one; it stays so until
    /// the last handle goes.
    sentinel: OnceLock<OwnedFd>,
}

enum Phase {
    Running(Arc<Link>),
    /// Its status is taken, but what it said could not be read or opened yet.
    Reaped(Arc<Link>, Status, Option<Received>),
    Ended(Arc<End>),
}

/// Describes what leads to a running child. Whoever waits on it holds it, so that no number is
/// reused under them.
struct Link {
    control: OwnedFd,
    /// Where the kernel does not give it from the socket.
    pidfd: Option<OwnedFd>,
    /// Closes with this process, which ends the child.
    #[cfg(feature = "cage")]
    _lifeline: Option<PrivateLifeline>,
}

/// A pidfd to use for a moment.
enum Pidfd<'a> {
    Kept(BorrowedFd<'a>),
    Made(OwnedFd),
}

impl AsFd for Pidfd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Pidfd::Kept(fd) => *fd,
            Pidfd::Made(fd) => fd.as_fd(),
        }
    }
}

/// Sets how often to look for want of a descriptor to sleep on.
const PAUSE: Duration = Duration::from_millis(2);

/// When a process is to end.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    deadline: Duration,
    grace: Duration,
}

impl Due {
    /// When a process that starts now is to end; a time beyond what the clock counts is none.
    fn from_now(spec: &ProcessSpec) -> Option<Due> {
        let deadline = spec.deadline?;
        Some(Due { at: Instant::now().checked_add(deadline)?, deadline, grace: spec.grace })
    }
}

/// Describes how a new core is described.
pub(crate) struct Description {
    pub(crate) spec: ProcessSpec,
    pub(crate) function: &'static str,
    pub(crate) private_dir: Option<PrivateDir>,
    #[cfg(feature = "cage")]
    pub(crate) lifeline: Option<PrivateLifeline>,
}

impl Core {
    pub(crate) fn new(
        id: u64,
        forget: fn(u64),
        description: Description,
        launched: Launched,
    ) -> Core {
        Core {
            owner: (Generation::current(), pid()),
            id,
            forget,
            name: Mutex::new(description.spec.name.clone()),
            pid: launched.pid,
            function: description.function,
            method: launched.method,
            due: Due::from_now(&description.spec),
            spec: description.spec,
            is_overdue: AtomicBool::new(false),
            private_dir: description.private_dir.map(PrivateDir::keep),
            phase: Mutex::new(Phase::Running(Arc::new(Link {
                control: launched.control,
                pidfd: launched.pidfd,
                #[cfg(feature = "cage")]
                _lifeline: description.lifeline,
            }))),
            sentinel: OnceLock::new(),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether this process started it, and not one of which this is a forked copy.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.0 == Generation::current()
    }

    /// Returns whether this process started it, and has not seen it end.
    pub(crate) fn is_running(&self) -> bool {
        // What cannot be asked at the moment (no descriptor left) has not been seen to end.
        self.is_ours() && self.look().map_or(true, |end| end.is_none())
    }

    fn check_owner(&self, verb: &str) -> Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        let text = format!(
            "can only {verb} a child process: {} was started by process {}",
            self.name(),
            self.owner.1
        );
        Err(Cause::OtherProcess(text).into())
    }

    /// The link, unless the child has ended and was asked for all.
    fn link(&self) -> Option<Arc<Link>> {
        match &*self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Running(link) => Some(Arc::clone(link)),
            Phase::Reaped(..) | Phase::Ended(_) => None,
        }
    }

    /// A pidfd of the child, or `None` if the kernel knows it no more.
    fn pidfd<'a>(&'a self, link: &'a Link) -> io::Result<Option<Pidfd<'a>>> {
        if let Some(pidfd) = &link.pidfd {
            return Ok(Some(Pidfd::Kept(pidfd.as_fd())));
        }
        if let Some(sentinel) = self.sentinel.get() {
            return Ok(Some(Pidfd::Kept(sentinel.as_fd())));
        }
        match socket::peer_pidfd(link.control.as_fd()) {
            Ok(pidfd) => Ok(Some(Pidfd::Made(pidfd))),
            // Ended, and its status taken by somebody else.
            Err(error) if socket::says_peer_is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns how the child ended, if it has; takes its status and its report the first time.
    pub(crate) fn look(&self) -> io::Result<Option<Arc<End>>> {
        let mut seen = self.look_now();
        // Once for the status, once for a report that brings a descriptor.
        for _ in 0..2 {
            match &seen {
                Err(error) if reserve::is_lack(error) => seen = reserve::spend(|| self.look_now()),
                _ => break,
            }
        }
        seen
    }

    fn look_now(&self) -> io::Result<Option<Arc<End>>> {
        match self.link() {
            Some(link) => {
                let pidfd = self.pidfd(&link)?;
                self.collect(pidfd.as_ref())
            }
            None => self.collect(None),
        }
    }

    /// Waits for the end; nothing at the deadline.
    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<Option<Arc<End>>> {
        if let Some(due) = self.due {
            // It sees to that itself, too, for when nobody waits; but only from here, all that it
            // started is found.
            for (signal, after) in [(Signal::TERM, Duration::ZERO), (Signal::KILL, due.grace)] {
                let Some(at) = due.at.checked_add(after) else { break };
                if deadline
                    .left()
                    .is_some_and(|left| left < at.saturating_duration_since(Instant::now()))
                {
                    break;
                }
                if let Some(end) = self.wait_for_end(Deadline::At(at))? {
                    return Ok(Some(end));
                }
                self.is_overdue.store(true, Ordering::Relaxed);
                let _ = self.send_to_tree(signal);
            }
        }
        self.wait_for_end(deadline)
    }

    fn wait_for_end(&self, deadline: Deadline) -> io::Result<Option<Arc<End>>> {
        loop {
            match self.wait_asleep(deadline) {
                Err(error) if reserve::is_lack(&error) => {}
                waited => return waited,
            }
            let end = self.look()?;
            if end.is_some() || deadline.is_over() {
                return Ok(end);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn wait_asleep(&self, deadline: Deadline) -> io::Result<Option<Arc<End>>> {
        let Some(link) = self.link() else { return self.collect(None) };
        let pidfd = self.pidfd(&link)?;
        loop {
            if let Some(pidfd) = &pidfd
                && !poll::one_readable(pidfd.as_fd(), deadline)?
            {
                return Ok(None);
            }
            let end = self.collect(pidfd.as_ref())?;
            if end.is_some() || deadline.is_over() {
                return Ok(end);
            }
            // It has ended, but a debugger that is attached to it has to hear of it before we do.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes status and report of an ended child; nothing if it runs. Without a pidfd, it has ended
    /// for sure.
    fn collect(&self, pidfd: Option<&Pidfd<'_>>) -> io::Result<Option<Arc<End>>> {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (link, status, mut unopened) = match &mut *phase {
            Phase::Ended(end) => return Ok(Some(Arc::clone(end))),
            Phase::Reaped(link, status, unopened) => (Arc::clone(link), *status, unopened.take()),
            Phase::Running(link) => {
                let status = match pidfd {
                    Some(pidfd) => match self.reap(pidfd.as_fd())? {
                        Some(status) => status,
                        None => return Ok(None),
                    },
                    None => Status::Taken,
                };
                (Arc::clone(link), status, None)
            }
        };
        let own = self.due.filter(|_| self.is_overdue.load(Ordering::Relaxed));
        let own = own.map(|due| LimitReached::Deadline(due.deadline));
        let end = match End::read(status, &link.control, &mut unopened, own) {
            Ok(end) => Arc::new(end),
            Err(error) => {
                *phase = Phase::Reaped(link, status, unopened);
                return Err(error);
            }
        };
        *phase = Phase::Ended(Arc::clone(&end));
        drop(phase);
        (self.forget)(self.id);
        if let Some(directory) = &self.private_dir {
            removal::remove(directory.clone());
        }
        Ok(Some(end))
    }

    /// Takes the status of an ended child; before that, it ends what is left of its session.
    fn reap(&self, pidfd: BorrowedFd<'_>) -> io::Result<Option<Status>> {
        // While its status is not taken, its number is its own.
        if self.spec.leads_session() && poll::one_readable(pidfd, Deadline::Now)? {
            pidfd::signal_group(pidfd, self.pid, Signal::KILL.number());
        }
        pidfd::reap(pidfd)
    }

    /// Sends a signal; nothing if the child has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(link) = self.link() else { return Ok(()) };
        let send = || match self.pidfd(&link)? {
            Some(pidfd) => pidfd::signal(pidfd.as_fd(), signal.number()),
            None => Ok(()),
        };
        match send() {
            Err(error) if reserve::is_lack(&error) => reserve::spend(send),
            sent => sent,
        }
    }

    pub(crate) fn join_error(&self, exitcode: Option<i32>, failure: Failure) -> JoinError {
        JoinError::new(self.name(), self.pid, self.function.to_owned(), exitcode, failure)
    }

    /// Waits for the end, for `join` and its like; an error if that is not for us or not possible
    /// now.
    pub(crate) fn wait_to_join(&self, deadline: Deadline) -> Result<Option<Arc<End>>, JoinError> {
        if let Err(error) = self.check_owner("join") {
            return Err(self.join_error(None, Failure::Lost(error.to_string())));
        }
        self.wait(deadline).map_err(|error| {
            self.join_error(None, Failure::Lost(error.to_string())).with_os_error(error)
        })
    }

    /// The value of an ended child, or why there is none.
    pub(crate) fn value_of<T: serde::de::DeserializeOwned>(
        &self,
        end: &End,
    ) -> Result<T, JoinError> {
        end.value(self.spec.max_result).map_err(|failure| self.join_error(end.exitcode(), failure))
    }

    pub(crate) fn set_name(&self, name: String) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// Sends a signal on behalf of a handle.
    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        self.check_owner("signal")?;
        self.signal(signal).map_err(|error| self.cannot(&format!("send {signal} to"), error))
    }

    /// Sends a signal to the process and everything that it started.
    pub(crate) fn send_to_tree(&self, signal: Signal) -> Result<()> {
        self.check_owner("signal")?;
        let cannot = |error| self.cannot(&format!("send {signal} to the tree of"), error);
        let Some(link) = self.link() else { return Ok(()) };
        let Some(pidfd) = self.pidfd(&link).map_err(cannot)? else { return Ok(()) };
        tree::signal(pidfd.as_fd(), self.pid, signal.number()).map_err(cannot)
    }

    /// Makes the process see a request to end, if it looks.
    pub(crate) fn request_stop(&self) {
        if let Some(link) = self.link() {
            // One that has ended needs no request; one that does not look has it waiting already.
            let _ = wire::send(link.control.as_fd(), &StopRequest, &[], &[]);
        }
    }

    /// Asks, insists, and ends the process; returns when it has ended.
    pub(crate) fn stop(
        &self,
        grace: Duration,
        signal: fn(&Core, Signal) -> Result<()>,
    ) -> Result<()> {
        self.check_owner("stop")?;
        let ended = |deadline| {
            self.wait(deadline)
                .map(|end| end.is_some())
                .map_err(|error| self.cannot("wait for", error))
        };
        self.request_stop();
        for insist in [Signal::TERM, Signal::KILL] {
            if ended(Deadline::after(grace))? {
                return Ok(());
            }
            signal(self, insist)?;
        }
        ended(Deadline::Never).map(|_| ())
    }

    /// A descriptor that is readable from the end on.
    pub(crate) fn sentinel(&self) -> Result<BorrowedFd<'_>> {
        self.check_owner("wait for")?;
        if let Some(sentinel) = self.sentinel.get() {
            return Ok(sentinel.as_fd());
        }
        let sentinel = match self.link() {
            Some(link) => match self.pidfd(&link) {
                Ok(Some(Pidfd::Made(fd))) => Ok(fd),
                Ok(Some(Pidfd::Kept(fd))) => fd::duplicate(fd),
                Ok(None) => fd::always_readable(),
                Err(error) => Err(error),
            },
            None => fd::always_readable(),
        };
        let sentinel = sentinel.map_err(|error| self.cannot("open a sentinel for", error))?;
        Ok(self.sentinel.get_or_init(|| sentinel).as_fd())
    }

    fn cannot(&self, verb: &str, error: io::Error) -> Error {
        Error::os(format!("cannot {verb} process {} (pid {})", self.name(), self.pid), error)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
