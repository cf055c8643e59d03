//! A child, whatever it returns: to wait for, ask and end.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::registry;
use crate::error::{JoinError, Result};
use crate::signal::Signal;
use crate::start::method::StartMethod;
use crate::sys::wait::poll::Deadline;

/// A started process, running or ended, without the type of its result: what
/// [`active_children`](crate::active_children) gives, and what a [`Child`](crate::Child) is besides
/// its result.
///
/// Any number of threads may use the clones of a handle at once, and in any order: a process that
/// has ended can still be asked, joined and (without effect) terminated.
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

impl Handle {
    /// A handle of a child.
    pub(crate) fn new(core: Arc<Core>) -> Handle {
        Handle(core)
    }

    /// The child behind it.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }

    /// Returns the name of the process: the one that it was started with, or that
    /// [`set_name`](Handle::set_name) gave it. CPython's `name`.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let child = Process::new(|| (), ()).name("worker").start()?;
    /// assert_eq!(child.name(), "worker");
    /// # child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Gives the process another name here; the process itself keeps the one that it was started
    /// with.
    ///
    /// ```
    /// use multiproc::{Process, current_process};
    ///
    /// let child = Process::new(|| current_process().name(), ()).start()?;
    /// child.set_name("first");
    /// assert_eq!((child.name(), child.join()?), ("first".to_owned(), "Process-1".to_owned()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn set_name(&self, name: impl Into<String>) {
        self.0.set_name(name.into());
    }

    /// Returns the number of the process. It is the same after the process has ended, when the
    /// system may give it to another: signal by the handle, not by the number. CPython's `pid`.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let child = Process::new(std::process::id, ()).start()?;
    /// assert_eq!(child.join()?, child.pid());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns `true` if the process is terminated when this one ends, and may have no children.
    /// CPython's `daemon`.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let child = Process::new(|| (), ()).daemon(true).start()?;
    /// assert!(child.daemon());
    /// # child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn daemon(&self) -> bool {
        self.0.spec.ends_with_parent()
    }

    /// Returns how the process was really started: [`StartMethod::Spawn`] also where the fork
    /// server cannot work.
    ///
    /// ```
    /// use multiproc::{Process, StartMethod};
    ///
    /// let child = Process::new(|| (), ()).start_method(StartMethod::Spawn).start()?;
    /// assert_eq!(child.start_method(), StartMethod::Spawn);
    /// # child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn start_method(&self) -> StartMethod {
        self.0.method
    }

    /// Returns the path of the function that it runs, as `std::any::type_name` gives it.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn work() {}
    ///
    /// let child = Process::new(work, ()).start()?;
    /// assert!(child.function().ends_with("::work"));
    /// # child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn function(&self) -> &str {
        self.0.function
    }

    /// Returns `true` if the process is running. Returns false in a forked copy of the process that
    /// started it, which cannot know. CPython's `is_alive()`.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// assert!(child.is_alive());
    /// child.kill()?;
    /// let _ = child.join();
    /// assert!(!child.is_alive());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.is_running()
    }

    /// Returns `None` while the process runs; then 0 if its function returned, 1 if it panicked,
    /// the code that it exited with, or `-signal`. CPython's `exitcode`.
    ///
    /// All of a positive code, not only the 8 bits that the kernel keeps (`wait(2)`); of a negative
    /// one, these 8 bits (`exit(-1)` is 255).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let child = Process::new(|code: i32| -> () { std::process::exit(code) }, (1000,)).start()?;
    /// let _ = child.join();
    /// assert_eq!(child.exitcode(), Some(1000));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn exitcode(&self) -> Option<i32> {
        if !self.0.is_ours() {
            return None;
        }
        self.0.look().ok().flatten().and_then(|end| end.exitcode())
    }

    /// Waits until the process has ended. CPython's `join()`. A piped standard input is left as it
    /// is: whoever has the [`Child`](crate::Child) may be about to write to it.
    ///
    /// # Errors
    /// How it failed, if it did.
    ///
    /// ```
    /// use multiproc::{Handle, Process};
    ///
    /// fn unlucky() {
    ///     panic!("no luck");
    /// }
    ///
    /// let job: Handle = Process::new(unlucky, ()).start()?.handle();
    /// let error = job.join().unwrap_err();
    /// assert_eq!(error.exitcode(), Some(1));
    /// assert!(error.to_string().contains("no luck"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join(&self) -> Result<(), JoinError> {
        self.join_until(Deadline::Never).map(|_| ())
    }

    /// Waits until the process has ended, but no longer than `timeout`. Returns false if it runs
    /// on. CPython's `join(timeout)`.
    ///
    /// # Errors
    /// How it failed, if it did.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// let handle = child.handle();
    /// assert!(!handle.join_timeout(std::time::Duration::from_millis(1))?); // it runs on
    /// handle.kill()?;
    /// assert!(handle.join_timeout(minute).is_err()); // it was killed
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, JoinError> {
        self.join_until(Deadline::after(timeout))
    }

    /// Waits until the process has ended, but not beyond `deadline`. Returns false if it runs on.
    ///
    /// # Errors
    /// As for [`join_timeout`](Handle::join_timeout).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use multiproc::{Handle, Process};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// let jobs: Vec<Handle> = (0..3)
    ///     .map(|_| Process::new(|| (), ()).start().map(|child| child.handle()))
    ///     .collect::<Result<_, _>>()?;
    /// for job in jobs {
    ///     assert!(job.join_deadline(deadline)?); // a minute for all of them together
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn join_deadline(&self, deadline: Instant) -> Result<bool, JoinError> {
        self.join_until(Deadline::at(deadline))
    }

    /// Returns the exit code if the process has ended; never sleeps.
    #[cfg(feature = "async")]
    pub(crate) fn look_for_exit(&self) -> Result<Option<i32>, JoinError> {
        let Some(end) = self.0.wait_to_join(Deadline::Now)? else { return Ok(None) };
        registry::sweep();
        // What is not known is told as the end that it was.
        end.exitcode().map(Some).ok_or_else(|| self.0.join_error(None, end.failure()))
    }

    /// Waits, and takes the status of a few other children that have ended meanwhile.
    fn join_until(&self, deadline: Deadline) -> Result<bool, JoinError> {
        let end = self.0.wait_to_join(deadline)?;
        registry::sweep();
        let Some(end) = end else { return Ok(false) };
        if end.is_success() {
            Ok(true)
        } else {
            Err(self.0.join_error(end.exitcode(), end.failure()))
        }
    }

    /// Asks the process to end: sends it SIGTERM. It has no effect on one that has ended. Its own
    /// children are not asked, but end with it. CPython's `terminate()`.
    ///
    /// A process that handles or ignores the signal goes on; it ignores what this program ignored
    /// when it started it (or when it started its fork server). [`stop`](Handle::stop) insists,
    /// [`kill`](Handle::kill) cannot be ignored.
    ///
    /// # Errors
    /// The system's, and [`Error::is_other_process`](crate::Error::is_other_process).
    ///
    /// ```
    /// use multiproc::{Process, Signal};
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// child.terminate()?;
    /// assert_eq!(child.join().unwrap_err().signal(), Some(Signal::TERM));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn terminate(&self) -> Result<()> {
        self.send_signal(Signal::TERM)
    }

    /// Ends the process: sends it SIGKILL, which cannot be handled or ignored. It has no effect on
    /// one that has ended. CPython's `kill()`.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use multiproc::{Process, Signal};
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// child.kill()?;
    /// assert_eq!(child.join().unwrap_err().signal(), Some(Signal::KILL));
    /// child.kill()?; // no effect
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn kill(&self) -> Result<()> {
        self.send_signal(Signal::KILL)
    }

    /// Sends the process what Ctrl-C sends: SIGINT. It has no effect on one that has ended.
    /// CPython's `interrupt()` (of version 3.14).
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use multiproc::{Process, Signal};
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// child.interrupt()?; // ends it, unless this program was started with SIGINT ignored
    /// child.kill()?;
    /// assert!(matches!(child.join().unwrap_err().signal(), Some(Signal::INT | Signal::KILL)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn interrupt(&self) -> Result<()> {
        self.send_signal(Signal::INT)
    }

    /// Sends the process a signal. It has no effect on one that has ended.
    ///
    /// # Errors
    /// The system's (there may be no such signal), and
    /// [`Error::is_other_process`](crate::Error::is_other_process).
    ///
    /// ```
    /// use multiproc::{Process, Signal};
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).start()?;
    /// child.send_signal(Signal::HUP)?;
    /// assert_eq!(child.join().unwrap_err().signal(), Some(Signal::HUP));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn send_signal(&self, signal: Signal) -> Result<()> {
        self.0.send(signal)
    }

    /// Sends SIGTERM to the process and everything that it started, as
    /// [`terminate`](Handle::terminate) does to the process alone.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn shell() {
    ///     let _ = std::process::Command::new("sleep").arg("60").status();
    /// }
    ///
    /// let child = Process::new(shell, ()).start()?;
    /// child.terminate_tree()?; // the shell's `sleep`, too
    /// assert_eq!(child.join().unwrap_err().exitcode(), Some(-15));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn terminate_tree(&self) -> Result<()> {
        self.0.send_to_tree(Signal::TERM)
    }

    /// Sends SIGKILL to the process and everything that it started, with any library or program.
    ///
    /// What it started is found through `/proc`, by parent. A descendant whose own parent has ended
    /// already is not found; nor is any, if the process itself has.
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
        self.0.send_to_tree(Signal::KILL)
    }

    /// Sends SIGINT to the process and everything that it started.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn shell() {
    ///     let _ = std::process::Command::new("sleep").arg("60").status();
    /// }
    ///
    /// let child = Process::new(shell, ()).start()?;
    /// child.interrupt_tree()?; // the shell's `sleep`, too, as Ctrl-C would
    /// child.kill_tree()?; // if SIGINT is ignored
    /// let _ = child.join();
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn interrupt_tree(&self) -> Result<()> {
        self.0.send_to_tree(Signal::INT)
    }

    /// Asks the process to end and makes sure that it does. Returns when it has ended.
    ///
    /// 1. It gets a request that its function can see
    ///    ([`CurrentProcess::stop_requested`](crate::CurrentProcess::stop_requested)).
    /// 2. After `grace`, it gets SIGTERM.
    /// 3. After another `grace`, it gets SIGKILL.
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
        self.0.stop(grace, Core::send)
    }

    /// Asks the process to end as [`stop`](Handle::stop) does, and sends the signals to everything
    /// that it started, too.
    ///
    /// # Errors
    /// As for [`terminate`](Handle::terminate).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn shell() {
    ///     let _ = std::process::Command::new("sleep").arg("60").status();
    /// }
    ///
    /// let child = Process::new(shell, ()).start()?;
    /// child.stop_tree(std::time::Duration::from_millis(10))?; // the shell's `sleep`, too
    /// assert_eq!(child.join().unwrap_err().exitcode(), Some(-15));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stop_tree(&self, grace: Duration) -> Result<()> {
        self.0.stop(grace, Core::send_to_tree)
    }

    /// Asks the process to end when it suits, and returns at once. The process sees the request if
    /// it looks ([`CurrentProcess::stop_requested`](crate::CurrentProcess::stop_requested)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, current_process};
    ///
    /// let serve = || current_process().wait_stop(Duration::from_secs(60));
    /// let child = Process::new(serve, ()).start()?;
    /// child.request_stop();
    /// assert!(child.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn request_stop(&self) {
        self.0.request_stop();
    }

    /// Returns a descriptor that becomes readable when the process ends and stays so: for poll,
    /// epoll and async runtimes. CPython's `sentinel`.
    ///
    /// It costs a descriptor, until the last handle of the process goes.
    ///
    /// # Errors
    /// The system has no descriptor left;
    /// [`Error::is_other_process`](crate::Error::is_other_process).
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// use multiproc::{Process, wait};
    ///
    /// let child = Process::new(|| (), ()).start()?;
    /// assert!(child.sentinel()?.as_raw_fd() > 2);
    /// assert_eq!(wait(&[&child.sentinel()?], None)?, [0]);
    /// assert!(!child.is_alive());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn sentinel(&self) -> Result<BorrowedFd<'_>> {
        self.0.sentinel()
    }
}

/// The printed form of a process: `<Process(Process-1, started)>`.
pub(crate) fn print(
    f: &mut fmt::Formatter<'_>,
    kind: &str,
    name: &str,
    state: &str,
    daemon: bool,
) -> fmt::Result {
    let daemon = if daemon { ", daemon" } else { "" };
    write!(f, "<{kind}({name}, {state}{daemon})>")
}

impl fmt::Display for Handle {
    /// As in Python: `<Process(Process-1, started)>`, then `stopped`, `stopped[1]` or
    /// `stopped[SIGTERM]`; `unknown` in a forked copy of the process that started it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0.look() {
            _ if !self.0.is_ours() => "unknown".to_owned(),
            Ok(None) | Err(_) => "started".to_owned(),
            Ok(Some(end)) => match end.exitcode() {
                Some(0) => "stopped".to_owned(),
                Some(code) => {
                    match code.checked_neg().and_then(|number| Signal::new(number).name()) {
                        Some(name) => format!("stopped[{name}]"),
                        None => format!("stopped[{code}]"),
                    }
                }
                None => "stopped[?]".to_owned(),
            },
        };
        print(f, &self.0.spec.kind, &self.name(), &state, self.0.spec.ends_with_parent())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the running children of this process, in the order of their start; takes the status of
/// those that have ended. CPython's `active_children()`.
///
/// Not their children, nor the fork server.
///
/// ```
/// use multiproc::{Process, active_children};
///
/// assert!(active_children().is_empty());
/// let minute = std::time::Duration::from_secs(60);
/// let child = Process::new(std::thread::sleep, (minute,)).name("sleeper").start()?;
/// assert_eq!(active_children()[0].name(), "sleeper");
/// child.kill()?;
/// let _ = child.join();
/// assert!(active_children().is_empty());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use]
pub fn active_children() -> Vec<Handle> {
    registry::running().into_iter().map(Handle::new).collect()
}
