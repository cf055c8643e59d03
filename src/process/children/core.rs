//! A child as all its handles share it: where it leads to, and how it ended.
//!
//! # Order of an end
//! 1. The kernel makes the pidfd readable when the child's last thread has ended.
//! 2. If the child led a session, what is left of its process group is killed: the child is still a
//!    zombie, so its number is its group's and nobody else's.
//! 3. `waitid` takes the status. From here on the number may be reused; nobody uses it any more.
//! 4. The report is read from the socket. If that fails for want of a descriptor, the phase is
//!    `Reaped`, and the next look goes on here.
//! 5. The phase is `Ended`, the registry forgets the child, the rest of what it said beside its
//!    result is passed on, its directory is removed.
//!
//! All of it happens under the lock of `phase`, but for the last step, so that several threads may
//! wait for one child. Killed in between, this process takes its children along (the lifeline), and
//! the kernel gives zombies to init.
//!
//! # Descriptors
//! A running child costs one descriptor, its socket. A pidfd is asked from the socket
//! (`SO_PEERPIDFD`, Linux 6.5) when it is needed; on older kernels it is kept from the start. When
//! the process has no descriptor left, `reserve` lends the one that it keeps for this.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::end::End;
use super::private_dir::PrivateDir;
use super::removal;
use crate::error::{Cause, Error, Failure, JoinError, Result};
use crate::limits::LimitReached;
use crate::relay::reader::Relayed;
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
#[cfg(feature = "tracing")]
use crate::trace::child_span::ChildSpan;

/// A child, as all its handles share it.
pub(crate) struct Core {
    /// The process that started it: whether it is this one, and its number for an error.
    owner: (Generation, u32),
    /// Its key in the registry.
    id: u64,
    /// Removes it there once its status is taken. A function, as the registry stands above.
    forget: fn(u64),
    /// As it was started; its handles may have given it another name since.
    pub(crate) spec: ProcessSpec,
    /// Its name by its handles, which may have renamed it.
    name: Mutex<String>,
    pub(crate) pid: u32,
    pub(crate) function: &'static str,
    pub(crate) method: StartMethod,
    /// When it is to end, if it has a deadline.
    due: Option<Due>,
    /// This process has signalled it for its deadline: its end is put down to that.
    is_overdue: AtomicBool,
    /// How many of the signals of its deadline were sent, of two.
    sent: AtomicU8,
    /// It wrote more than it may, and was killed for that.
    is_over_output: AtomicBool,
    /// This program's end of its piped standard input, until that is taken or closed. Here, as the
    /// end of the program closes it, too.
    stdin: Mutex<Option<OwnedFd>>,
    /// Its own directory, which goes with it.
    private_dir: Option<PathBuf>,
    phase: Mutex<Phase>,
    /// A descriptor that turns readable at the end, once somebody asked for one; it stays so until
    /// the last handle goes.
    sentinel: OnceLock<OwnedFd>,
    /// What it says beside its result, if that was asked for.
    relayed: OnceLock<Relayed>,
    /// Its span in this program's subscriber.
    #[cfg(feature = "tracing")]
    span: ChildSpan,
}

/// The phase of its life, as far as this process has seen it.
enum Phase {
    /// Not seen to end.
    Running(Arc<Link>),
    /// Its status is taken, but what it said could not be read or opened yet.
    Reaped(Arc<Link>, Status, Option<Received>),
    /// All is known; the socket is closed.
    Ended(Arc<End>),
}

/// Descriptors that lead to a running child. Whoever waits on one holds the link, so that no
/// descriptor number is reused under them by another thread that sees the end.
struct Link {
    /// The socket to the child.
    control: OwnedFd,
    /// Where the kernel does not give it from the socket.
    pidfd: Option<OwnedFd>,
    /// Closes with this process, which ends the child.
    #[cfg(feature = "cage")]
    _lifeline: Option<PrivateLifeline>,
}

/// A pidfd to use for a moment: one that is kept, or one that was made for this and goes with it.
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

/// Time between two looks, if there is no descriptor to sleep on.
const PAUSE: Duration = Duration::from_millis(2);

/// The signals of a deadline, in their order.
const INSIST: [Signal; 2] = [Signal::TERM, Signal::KILL];

/// A deadline: the instant, and the two times that it came from.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    deadline: Duration,
    grace: Duration,
}

impl Due {
    /// The deadline of a process that starts now; none if the clock does not count so far.
    fn from_now(spec: &ProcessSpec) -> Option<Due> {
        let deadline = spec.deadline?;
        Some(Due { at: Instant::now().checked_add(deadline)?, deadline, grace: spec.grace })
    }

    /// When this signal is due; never, if the clock does not count so far.
    fn time_of(self, signal: Signal) -> Option<Instant> {
        let after = if signal == Signal::TERM { Duration::ZERO } else { self.grace };
        self.at.checked_add(after)
    }
}

/// The description that a new core gets of its process.
pub(crate) struct Description {
    pub(crate) spec: ProcessSpec,
    pub(crate) function: &'static str,
    pub(crate) private_dir: Option<PrivateDir>,
    #[cfg(feature = "cage")]
    pub(crate) lifeline: Option<PrivateLifeline>,
}

impl Core {
    /// A child that was just launched; its deadline counts from here.
    pub(crate) fn new(
        id: u64,
        forget: fn(u64),
        description: Description,
        mut launched: Launched,
    ) -> Core {
        let [stdin, ..] = &mut launched.pipes.0;
        let stdin = stdin.take();
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
            sent: AtomicU8::new(0),
            is_over_output: AtomicBool::new(false),
            stdin: Mutex::new(stdin),
            private_dir: description.private_dir.map(PrivateDir::keep),
            phase: Mutex::new(Phase::Running(Arc::new(Link {
                control: launched.control,
                pidfd: launched.pidfd,
                #[cfg(feature = "cage")]
                _lifeline: description.lifeline,
            }))),
            sentinel: OnceLock::new(),
            relayed: OnceLock::new(),
            #[cfg(feature = "tracing")]
            span: ChildSpan::default(),
        }
    }

    /// Opens its span. Called with nothing locked, as a subscriber is code of the user's. A pool's
    /// worker has none: its tasks have theirs.
    #[cfg(feature = "tracing")]
    pub(crate) fn open_span(&self) {
        if !self.spec.serves_pool {
            self.span.open(&self.spec.name, self.pid, self.function);
        }
    }

    /// Returns its span.
    #[cfg(feature = "tracing")]
    pub(crate) fn span(&self) -> tracing::Span {
        self.span.get()
    }

    /// Keeps what passes on what it says, from its start on.
    pub(crate) fn set_relayed(&self, relayed: Relayed) {
        let _ = self.relayed.set(relayed);
    }

    /// Returns when all that it said before its end has been passed on.
    fn finish_relayed(&self) {
        if let Some(relayed) = self.relayed.get() {
            relayed.finish();
        }
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns `true` if this process started it, and not one of which this is a forked copy.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.0 == Generation::current()
    }

    /// Returns `true` if this process started it, and has not seen it end.
    pub(crate) fn is_running(&self) -> bool {
        // What cannot be asked at the moment (no descriptor left) has not been seen to end.
        self.is_ours() && self.look().map_or(true, |end| end.is_none())
    }

    /// Refuses what only the process that started the child may do. `verb` says what that is.
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

    /// Returns the link, unless the child has ended and was asked for all.
    fn link(&self) -> Option<Arc<Link>> {
        match &*self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Running(link) => Some(Arc::clone(link)),
            Phase::Reaped(..) | Phase::Ended(_) => None,
        }
    }

    /// Returns a pidfd of the child, or `None` if the kernel knows it no more: then its status was
    /// taken by somebody else (SIGCHLD ignored, or a `wait` for any child).
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
    /// Never sleeps.
    ///
    /// # Errors
    /// The process lacks descriptors even after the reserve was spent, or memory for the report.
    pub(crate) fn look(&self) -> io::Result<Option<Arc<End>>> {
        let mut seen = self.look_now();
        // Once for the status, once for a report that brings a descriptor.
        for _ in 0..2 {
            match &seen {
                // No descriptor for the pidfd, or for one that the report brings: use the one in
                // reserve.
                Err(error) if reserve::is_lack(error) => seen = reserve::spend(|| self.look_now()),
                _ => break,
            }
        }
        seen
    }

    /// `look`, with what descriptors there are.
    fn look_now(&self) -> io::Result<Option<Arc<End>>> {
        match self.link() {
            Some(link) => {
                let pidfd = self.pidfd(&link)?;
                self.collect(pidfd.as_ref())
            }
            None => self.collect(None),
        }
    }

    /// Waits for the end; `None` at `deadline`. Of a child with a deadline of its own it also sees
    /// to that: SIGTERM to it and all that it started, SIGKILL after the grace.
    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<Option<Arc<End>>> {
        if let Some(due) = self.due {
            // It sees to that itself, too, for when nobody waits; but only from here, all that it
            // started is found.
            for (place, signal) in (0..).zip(INSIST) {
                let Some(at) = due.time_of(signal) else { break };
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
                // Once, however often somebody waits, unless it fails.
                if self.sent.load(Ordering::Relaxed) <= place && self.send_to_tree(signal).is_ok() {
                    self.sent.fetch_max(place + 1, Ordering::Relaxed);
                }
            }
        }
        self.wait_for_end(deadline)
    }

    /// Returns the time until `wait` has to be called for the child's own deadline; zero if that is
    /// over.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let signal = INSIST.get(usize::from(self.sent.load(Ordering::Relaxed)))?;
        Some(self.due?.time_of(*signal)?.saturating_duration_since(Instant::now()))
    }

    /// Kills the child and everything that it started, as it has written more than it may.
    pub(crate) fn kill_for_output(&self) {
        if !self.is_over_output.swap(true, Ordering::Relaxed)
            && self.send_to_tree(Signal::KILL).is_err()
        {
            let _ = self.send(Signal::KILL);
        }
    }

    /// Returns the limit that this process has ended it for, if it has.
    fn own_limit(&self) -> Option<LimitReached> {
        if self.is_over_output.load(Ordering::Relaxed) {
            return self.spec.max_output.map(LimitReached::Output);
        }
        let due = self.due.filter(|_| self.is_overdue.load(Ordering::Relaxed))?;
        Some(LimitReached::Deadline(due.deadline))
    }

    /// Sleeps until the end, or looks from time to time if there is no descriptor to sleep on.
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

    /// Sleeps on the pidfd. Between readable and reaped may be a moment in which a debugger has to
    /// hear of the end first (`ptrace(2)`): it looks again until then.
    fn wait_asleep(&self, deadline: Deadline) -> io::Result<Option<Arc<End>>> {
        // Held for the whole wait: the descriptor stays this child's, even if another thread sees
        // the end.
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

    /// Takes status and report of an ended child; `None` if it runs. Without a pidfd, it has ended
    /// for sure.
    fn collect(&self, pidfd: Option<&Pidfd<'_>>) -> io::Result<Option<Arc<End>>> {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (link, status, mut unopened) = match &mut *phase {
            Phase::Ended(end) => {
                let end = Arc::clone(end);
                drop(phase);
                self.finish_relayed();
                return Ok(Some(end));
            }
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
        let end = match End::read(status, &link.control, &mut unopened, self.own_limit()) {
            Ok(end) => Arc::new(end),
            Err(error) => {
                // The status is taken and cannot be asked again, so it must not be lost.
                *phase = Phase::Reaped(link, status, unopened);
                return Err(error);
            }
        };
        *phase = Phase::Ended(Arc::clone(&end));
        drop(phase);
        // After the lock is let go of: the registry may be asking this child at the moment.
        (self.forget)(self.id);
        self.finish_relayed();
        #[cfg(feature = "tracing")]
        {
            let failure = (!end.is_success()).then(|| end.failure());
            self.span.close(&self.name(), self.pid, failure.as_ref());
        }
        if let Some(directory) = &self.private_dir {
            removal::remove(directory.clone());
        }
        Ok(Some(end))
    }

    /// Steps 2 and 3: ends what is left of its session, then takes the status; `None` if it runs.
    fn reap(&self, pidfd: BorrowedFd<'_>) -> io::Result<Option<Status>> {
        // While its status is not taken, its number is its own.
        if self.spec.leads_session() && poll::one_readable(pidfd, Deadline::Now)? {
            pidfd::signal_group(pidfd, self.pid, Signal::KILL.number());
        }
        pidfd::reap(pidfd)
    }

    /// Sends a signal by pidfd; does nothing if the child has ended.
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

    /// Makes an error of a failure: with name, number, function and exit code.
    pub(crate) fn join_error(&self, exitcode: Option<i32>, failure: Failure) -> JoinError {
        JoinError::new(self.name(), self.pid, self.function.to_owned(), exitcode, failure)
    }

    /// Waits for `join` and its like; `None` at `deadline`.
    ///
    /// # Errors
    /// `Lost` in a process that did not start the child; `Os` if the system lacks descriptors or
    /// memory.
    pub(crate) fn wait_to_join(&self, deadline: Deadline) -> Result<Option<Arc<End>>, JoinError> {
        if let Err(error) = self.check_owner("join") {
            return Err(self.join_error(None, Failure::Lost(error.to_string())));
        }
        self.wait(deadline).map_err(|error| self.cannot_ask(error))
    }

    /// Makes an error of what the system refused to who wants to know of the child.
    pub(crate) fn cannot_ask(&self, error: io::Error) -> JoinError {
        self.join_error(None, Failure::Lost(error.to_string())).with_os_error(error)
    }

    /// Decodes the value of an ended child, or says why there is none. Can be called again.
    pub(crate) fn value_of<T: serde::de::DeserializeOwned>(
        &self,
        end: &End,
    ) -> Result<T, JoinError> {
        end.value(self.spec.max_result).map_err(|failure| self.join_error(end.exitcode(), failure))
    }

    /// Renames the child on this side.
    pub(crate) fn set_name(&self, name: String) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// Takes this program's end of its piped standard input. Dropped, it is the end of the file.
    pub(crate) fn take_stdin(&self) -> Option<OwnedFd> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends a signal on behalf of a handle: with the owner checked, and the error worded.
    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        self.check_owner("signal")?;
        self.signal(signal).map_err(|error| self.cannot(&format!("send {signal} to"), error))
    }

    /// Sends a signal to the child and everything that it started, found through `/proc`.
    pub(crate) fn send_to_tree(&self, signal: Signal) -> Result<()> {
        self.check_owner("signal")?;
        let cannot = |error| self.cannot(&format!("send {signal} to the tree of"), error);
        let Some(link) = self.link() else { return Ok(()) };
        let Some(pidfd) = self.pidfd(&link).map_err(cannot)? else { return Ok(()) };
        tree::signal(pidfd.as_fd(), self.pid, signal.number()).map_err(cannot)
    }

    /// Sends a request to end, which the child sees if it looks. A full socket or an ended child is
    /// no error: the request is there already, or not needed.
    pub(crate) fn request_stop(&self) {
        if let Some(link) = self.link() {
            // One that has ended needs no request; one that does not look has it waiting already.
            let _ = wire::send(link.control.as_fd(), &StopRequest, &[], &[]);
        }
    }

    /// Asks, insists, and ends the child; returns when it has ended. `signal` sends to it alone or
    /// to its tree. SIGKILL is waited for without limit: nothing can ignore it.
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

    /// Returns a descriptor that is readable from the end on, the same for all handles. It outlives
    /// the status: from then on it is always readable.
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

    /// Words an error of the system.
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
