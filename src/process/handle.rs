//! A child, whatever it returns: to wait for, ask and end.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::end::End;
use super::registry;
use crate::error::{Cause, Error, Failure, JoinError, Result, os};
use crate::signal::Signal;
use crate::start::method::StartMethod;
use crate::start::wire::{self, StopRequest};
use crate::sys::per_process::pid;
use crate::sys::pidfd::Status;
use crate::sys::poll::{self, Deadline};
use crate::sys::{fd, pidfd, socket, tree};

/// A started process, running or ended, without the type of its result: what [`active_children`](crate::active_children)
/// gives, and what a [`Child`](crate::Child) is besides its result.
///
/// Any number of threads may use the clones of a handle at once, and in any order: a process that has ended can still be
/// asked, joined and (without effect) terminated.
///
/// ```
/// use multiproc::{Process, active_children};
///
/// let child = Process::new(std::thread::sleep, (std::time::Duration::from_secs(60),)).start()?;
/// for process in active_children() {
///     process.terminate()?;
///     let _ = process.join();
///     assert_eq!(process.exitcode(), Some(-15));
/// }
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle(Arc<Core>);

/// What all handles of one process share.
pub(super) struct Core {
    /// The process that started it.
    owner: u32,
    /// Its place in the registry.
    pub(super) id: u64,
    pub(super) kind: String,
    name: Mutex<String>,
    pid: u32,
    function: &'static str,
    pub(super) daemon: bool,
    /// Whether it ends with us.
    pub(super) tied: bool,
    method: StartMethod,
    phase: Mutex<Phase>,
    /// A descriptor that turns readable at the end, once somebody asked for one; it stays so until the last handle goes.
    sentinel: OnceLock<OwnedFd>,
}

enum Phase {
    Running(Arc<Link>),
    /// Its status is taken, but what it said could not be read yet.
    Reaped(Arc<Link>, Status),
    Ended(Arc<End>),
}

/// What leads to a running child. Whoever waits on it holds it, so that no number is reused under them.
struct Link {
    control: OwnedFd,
    /// Where the kernel does not give it from the socket.
    pidfd: Option<OwnedFd>,
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

/// How a new core is described.
pub(super) struct Description {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) function: &'static str,
    pub(super) daemon: bool,
    pub(super) tied: bool,
}

impl Core {
    pub(super) fn new(id: u64, description: Description, launched: crate::start::Launched) -> Core {
        Core {
            owner: pid(),
            id,
            kind: description.kind,
            name: Mutex::new(description.name),
            pid: launched.pid,
            function: description.function,
            daemon: description.daemon,
            tied: description.tied,
            method: launched.method,
            phase: Mutex::new(Phase::Running(Arc::new(Link { control: launched.control, pidfd: launched.pidfd }))),
            sentinel: OnceLock::new(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this process started it, and not one of which this is a forked copy.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == pid()
    }

    fn check_owner(&self, verb: &str) -> Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        let text = format!("can only {verb} a child process: {} was started by process {}", self.name(), self.owner);
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
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL | libc::ENODATA)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the child ended, if it has; takes its status and its report the first time.
    pub(super) fn look(&self) -> io::Result<Option<Arc<End>>> {
        match self.link() {
            Some(link) => {
                let pidfd = self.pidfd(&link)?;
                self.collect(pidfd.as_ref())
            }
            None => self.collect(None),
        }
    }

    /// Waits for the end; nothing at the deadline.
    pub(super) fn wait(&self, deadline: Deadline) -> io::Result<Option<Arc<End>>> {
        let Some(link) = self.link() else { return self.collect(None) };
        let pidfd = self.pidfd(&link)?;
        if let Some(pidfd) = &pidfd
            && !poll::one_readable(pidfd.as_fd(), deadline)?
        {
            return Ok(None);
        }
        self.collect(pidfd.as_ref())
    }

    /// Takes status and report of an ended child; nothing if it runs. Without a pidfd, it has ended for sure.
    fn collect(&self, pidfd: Option<&Pidfd<'_>>) -> io::Result<Option<Arc<End>>> {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let (link, status) = match &*phase {
            Phase::Ended(end) => return Ok(Some(Arc::clone(end))),
            Phase::Reaped(link, status) => (Arc::clone(link), *status),
            Phase::Running(link) => {
                let status = match pidfd {
                    Some(pidfd) => match pidfd::reap(pidfd.as_fd())? {
                        Some(status) => status,
                        None => return Ok(None),
                    },
                    None => Status::Taken,
                };
                (Arc::clone(link), status)
            }
        };
        *phase = Phase::Reaped(Arc::clone(&link), status);
        let end = Arc::new(End::read(status, &link.control)?);
        *phase = Phase::Ended(Arc::clone(&end));
        drop(phase);
        registry::remove(self.id);
        Ok(Some(end))
    }

    /// For a child whose value nobody will ask for: takes its status if it has ended.
    pub(super) fn bury_if_ended(&self) -> bool {
        let Some(link) = self.link() else { return true };
        let Ok(pidfd) = self.pidfd(&link) else { return false };
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*phase, Phase::Running(_)) {
            let status = match &pidfd {
                Some(pidfd) => match pidfd::reap(pidfd.as_fd()) {
                    Ok(Some(status)) => status,
                    Ok(None) | Err(_) => return false,
                },
                None => Status::Taken,
            };
            *phase = Phase::Ended(Arc::new(End::unread(status)));
        }
        drop(phase);
        registry::remove(self.id);
        true
    }

    /// Sends a signal; nothing if the child has ended.
    pub(super) fn signal(&self, number: i32) -> io::Result<()> {
        let Some(link) = self.link() else { return Ok(()) };
        match self.pidfd(&link)? {
            Some(pidfd) => pidfd::signal(pidfd.as_fd(), number),
            None => Ok(()),
        }
    }

    fn join_error(&self, exitcode: Option<i32>, failure: Failure) -> JoinError {
        JoinError::new(self.name(), self.pid, self.function.to_owned(), exitcode, failure)
    }

    /// Waits for the end, for `join` and its like; an error if that is not for us or not possible now.
    pub(super) fn wait_to_join(&self, deadline: Deadline) -> Result<Option<Arc<End>>, JoinError> {
        if let Err(error) = self.check_owner("join") {
            return Err(self.join_error(None, Failure::Lost(error.to_string())));
        }
        let end = self.wait(deadline).map_err(|error| self.join_error(None, Failure::Os(error)))?;
        registry::sweep();
        Ok(end)
    }

    /// The value of an ended child, or why there is none.
    pub(super) fn value_of<T: serde::de::DeserializeOwned>(&self, end: &End) -> Result<T, JoinError> {
        end.value().map_err(|failure| self.join_error(end.exitcode(), failure))
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name()).field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(core: Arc<Core>) -> Handle {
        Handle(core)
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0
    }

    /// The name of the process.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Gives the process another name here; the process itself keeps the one that it was started with.
    pub fn set_name(&self, name: impl Into<String>) {
        *self.0.name.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
    }

    /// The number of the process; still so after it has ended, when the system may give it to another.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether the process is terminated when this one ends, and may have no children.
    #[must_use]
    pub fn daemon(&self) -> bool {
        self.0.daemon
    }

    /// How the process was really started: [`StartMethod::Spawn`] also where the fork server cannot work.
    #[must_use]
    pub fn start_method(&self) -> StartMethod {
        self.0.method
    }

    /// The path of the function that it runs.
    #[must_use]
    pub fn function(&self) -> &str {
        self.0.function
    }

    /// Whether the process is running. False, too, in a forked copy of the process that started it, which cannot know.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // What cannot be asked at the moment (no descriptor left) has not been seen to end.
        self.0.is_ours() && self.0.look().map_or(true, |end| end.is_none())
    }

    /// `None` while the process runs; then 0 if its function returned, 1 if it panicked, the code that it exited with, or
    /// `-signal`. (CPython's `exitcode`.) All of the code, not only the 8 bits that the kernel keeps.
    #[must_use]
    pub fn exitcode(&self) -> Option<i32> {
        if !self.0.is_ours() {
            return None;
        }
        self.0.look().ok().flatten().and_then(|end| end.exitcode())
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// How it failed, if it did.
    pub fn join(&self) -> Result<(), JoinError> {
        self.join_until(Deadline::Never).map(|_| ())
    }

    /// Waits until the process has ended, but no longer than `timeout`; false if it runs on.
    ///
    /// # Errors
    /// How it failed, if it did.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&self, deadline: Deadline) -> Result<bool, JoinError> {
        let Some(end) = self.0.wait_to_join(deadline)? else { return Ok(false) };
        if end.is_success() { Ok(true) } else { Err(self.0.join_error(end.exitcode(), end.failure())) }
    }

    /// Asks the process to end: SIGTERM. No effect on one that has ended. Its own children are not asked, but end with it.
    ///
    /// # Errors
    /// The system's, and [`Error::is_other_process`].
    pub fn terminate(&self) -> Result<()> {
        self.send_signal(Signal::TERM)
    }

    /// Ends the process: SIGKILL. No effect on one that has ended.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    pub fn kill(&self) -> Result<()> {
        self.send_signal(Signal::KILL)
    }

    /// Sends the process what Ctrl-C sends: SIGINT. No effect on one that has ended.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    pub fn interrupt(&self) -> Result<()> {
        self.send_signal(Signal::INT)
    }

    /// Sends the process any signal. No effect on one that has ended.
    ///
    /// # Errors
    /// The system's (there may be no such signal), and [`Error::is_other_process`].
    pub fn send_signal(&self, signal: Signal) -> Result<()> {
        self.0.check_owner("signal")?;
        self.0.signal(signal.number()).map_err(|error| self.cannot(&format!("send {signal} to"), error))
    }

    /// [`terminate`](Handle::terminate) for the process and everything that it started.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    pub fn terminate_tree(&self) -> Result<()> {
        self.signal_tree(Signal::TERM)
    }

    /// [`kill`](Handle::kill) for the process and everything that it started, with any library or program.
    ///
    /// What it started is found through `/proc`, by parent. A descendant whose own parent has ended already is not found;
    /// nor is any, if the process itself has.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn shell() {
    ///     std::process::Command::new("sleep").arg("60").status().unwrap();
    /// }
    ///
    /// let child = Process::new(shell, ()).start()?;
    /// child.kill_tree()?; // and no `sleep` is left behind
    /// assert_eq!(child.join().unwrap_err().exitcode(), Some(-9));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn kill_tree(&self) -> Result<()> {
        self.signal_tree(Signal::KILL)
    }

    fn signal_tree(&self, signal: Signal) -> Result<()> {
        self.0.check_owner("signal")?;
        let cannot = |error| self.cannot(&format!("send {signal} to the tree of"), error);
        let Some(link) = self.0.link() else { return Ok(()) };
        let Some(pidfd) = self.0.pidfd(&link).map_err(cannot)? else { return Ok(()) };
        tree::signal(pidfd.as_fd(), self.0.pid, signal.number()).map_err(cannot)
    }

    /// Asks the process to end and makes sure that it does: first a request that its function can see
    /// ([`CurrentProcess::stop_requested`](crate::CurrentProcess::stop_requested)), after `grace` SIGTERM, after another
    /// `grace` SIGKILL. Returns when it has ended.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, current_process};
    ///
    /// fn serve() -> u32 {
    ///     let mut turns = 0;
    ///     while !current_process().wait_stop(Duration::from_millis(1)) {
    ///         turns += 1;
    ///     }
    ///     turns
    /// }
    ///
    /// let child = Process::new(serve, ()).start()?;
    /// child.stop(Duration::from_secs(10))?;
    /// assert!(child.join().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stop(&self, grace: Duration) -> Result<()> {
        self.stop_with(grace, Handle::terminate, Handle::kill)
    }

    /// [`stop`](Handle::stop), with the signals sent to the process and everything that it started.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    pub fn stop_tree(&self, grace: Duration) -> Result<()> {
        self.stop_with(grace, Handle::terminate_tree, Handle::kill_tree)
    }

    fn stop_with(
        &self,
        grace: Duration,
        terminate: fn(&Handle) -> Result<()>,
        kill: fn(&Handle) -> Result<()>,
    ) -> Result<()> {
        self.0.check_owner("stop")?;
        self.request_stop();
        let ended =
            |deadline| self.0.wait(deadline).map(|end| end.is_some()).map_err(|error| self.cannot("wait for", error));
        for escalate in [terminate, kill] {
            if ended(Deadline::after(grace))? {
                return Ok(());
            }
            escalate(self)?;
        }
        ended(Deadline::Never).map(|_| ())
    }

    /// Asks the process to end when it suits; it sees it if it looks
    /// ([`CurrentProcess::stop_requested`](crate::CurrentProcess::stop_requested)).
    pub fn request_stop(&self) {
        if let Some(link) = self.0.link() {
            // One that has ended needs no request; one that does not look has it waiting already.
            let _ = wire::send(link.control.as_fd(), &StopRequest, &[], &[]);
        }
    }

    /// A descriptor that becomes readable when the process ends and stays so: for poll, epoll and async runtimes.
    ///
    /// It costs a descriptor, until the last handle of the process goes.
    ///
    /// # Errors
    /// The system has no descriptor left; [`Error::is_other_process`].
    pub fn sentinel(&self) -> Result<BorrowedFd<'_>> {
        self.0.check_owner("wait for")?;
        if let Some(sentinel) = self.0.sentinel.get() {
            return Ok(sentinel.as_fd());
        }
        let cannot = os(format!("cannot open a sentinel for process {}", self.name()));
        let sentinel = match self.0.link() {
            Some(link) => match self.0.pidfd(&link) {
                Ok(Some(Pidfd::Made(fd))) => Ok(fd),
                Ok(Some(Pidfd::Kept(fd))) => fd::duplicate(fd),
                Ok(None) => fd::always_readable(),
                Err(error) => Err(error),
            },
            None => fd::always_readable(),
        };
        let sentinel = sentinel.map_err(cannot)?;
        Ok(self.0.sentinel.get_or_init(|| sentinel).as_fd())
    }

    fn cannot(&self, verb: &str, error: io::Error) -> Error {
        Error::os(format!("cannot {verb} process {} (pid {})", self.name(), self.pid()), error)
    }
}

/// The printed form of a process: `<Process(Process-1, started)>`.
pub(super) fn print(f: &mut fmt::Formatter<'_>, kind: &str, name: &str, state: &str, daemon: bool) -> fmt::Result {
    let daemon = if daemon { ", daemon" } else { "" };
    write!(f, "<{kind}({name}, {state}{daemon})>")
}

impl fmt::Display for Handle {
    /// As in Python: `<Process(Process-1, started)>`, then `stopped`, `stopped[1]` or `stopped[SIGTERM]`; `unknown` in a
    /// forked copy of the process that started it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0.look() {
            _ if !self.0.is_ours() => "unknown".to_owned(),
            Ok(None) | Err(_) => "started".to_owned(),
            Ok(Some(end)) => match end.exitcode() {
                Some(0) => "stopped".to_owned(),
                Some(code) => match code.checked_neg().and_then(|number| Signal::new(number).name()) {
                    Some(name) => format!("stopped[{name}]"),
                    None => format!("stopped[{code}]"),
                },
                None => "stopped[?]".to_owned(),
            },
        };
        print(f, &self.0.kind, &self.name(), &state, self.0.daemon)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
