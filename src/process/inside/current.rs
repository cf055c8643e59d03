//! This process, its parent, and what it runs on: what a function may ask.

use std::fmt;
use std::time::{Duration, Instant};

use super::parentage;
use crate::identity::{self, ParentIdentity};
use crate::process::children::handle;
use crate::sys::per_process::PerProcess;
use crate::sys::wait::poll::Deadline;

/// When this process will be ended; a forked copy has none.
static DEADLINE: PerProcess<Instant> = PerProcess::new();

/// Notes that this process will be ended when `left` is over.
pub(crate) fn set_deadline(left: Duration) {
    if let Some(deadline) = Instant::now().checked_add(left) {
        DEADLINE.set(deadline);
    }
}

/// This process: what [`current_process`] gives.
#[derive(Clone, Copy)]
pub struct CurrentProcess(());

/// The parent of this process: what [`parent_process`] gives.
pub struct ParentProcess(ParentIdentity);

/// Returns this process: its name, its number, whether it was asked to end. CPython's
/// `current_process()`.
///
/// ```
/// use multiproc::{Process, current_process};
///
/// assert_eq!(current_process().name(), "MainProcess");
/// let child = Process::new(|| current_process().name(), ()).name("my_service").start()?;
/// assert_eq!(child.join()?, "my_service");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use]
pub fn current_process() -> CurrentProcess {
    CurrentProcess(())
}

/// Returns the process that started this one; `None` in the main process. CPython's
/// `parent_process()`.
///
/// ```
/// use multiproc::{Process, parent_process};
///
/// assert!(parent_process().is_none());
/// let child = Process::new(|| parent_process().map(|parent| parent.pid()), ()).start()?;
/// assert_eq!(child.join()?, Some(std::process::id()));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use]
pub fn parent_process() -> Option<ParentProcess> {
    identity::current().parent.clone().map(ParentProcess)
}

/// Returns how many processes can run at the same time here: the processors that this one may use,
/// by its affinity and by the quota of its control group; at least 1.
///
/// ```
/// assert!(multiproc::cpu_count() >= 1);
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl CurrentProcess {
    /// Returns the name of this process; `MainProcess` for the program's own.
    ///
    /// ```
    /// assert_eq!(multiproc::current_process().name(), "MainProcess");
    /// ```
    #[must_use]
    pub fn name(self) -> String {
        identity::current().name()
    }

    /// Gives this process another name, for its log lines and messages. Its parent does not learn
    /// of it.
    ///
    /// ```
    /// use multiproc::current_process;
    ///
    /// current_process().set_name("controller");
    /// assert_eq!(current_process().name(), "controller");
    /// ```
    pub fn set_name(self, name: impl Into<String>) {
        identity::current().set_name(name.into());
    }

    /// Returns the number of this process.
    ///
    /// ```
    /// assert_eq!(multiproc::current_process().pid(), std::process::id());
    /// ```
    #[must_use]
    pub fn pid(self) -> u32 {
        identity::current().pid
    }

    /// Returns `true` if this process is a daemon: it may not have children, and is terminated when
    /// its parent ends.
    ///
    /// ```
    /// use multiproc::{Process, current_process};
    ///
    /// let ask = || current_process().daemon();
    /// assert!(Process::new(ask, ()).daemon(true).start()?.join()?);
    /// assert!(!current_process().daemon());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn daemon(self) -> bool {
        identity::current().daemon
    }

    /// Returns `true` if the parent asked this process to end
    /// ([`Handle::stop`](crate::Handle::stop)), or is gone. Costs one system call. Never in the
    /// main process.
    ///
    /// ```
    /// use multiproc::{Process, current_process};
    ///
    /// fn serve() -> u64 {
    ///     let mut turns = 0;
    ///     while !current_process().stop_requested() {
    ///         turns += 1;
    ///         std::thread::yield_now();
    ///     }
    ///     turns
    /// }
    ///
    /// let child = Process::new(serve, ()).start()?;
    /// child.request_stop();
    /// assert!(child.join().is_ok());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn stop_requested(self) -> bool {
        parentage::current().is_some_and(parentage::Parentage::stop_requested)
    }

    /// Returns when this process will be ended, if it was given a
    /// [deadline](crate::Process::deadline).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, current_process};
    ///
    /// let has_one = || current_process().deadline().is_some();
    /// assert!(Process::new(has_one, ()).deadline(Duration::from_secs(60)).start()?.join()?);
    /// assert!(current_process().deadline().is_none());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn deadline(self) -> Option<Instant> {
        DEADLINE.get().copied()
    }

    /// Returns how long it is until the [deadline](CurrentProcess::deadline): zero if that is past,
    /// `None` without one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, current_process};
    ///
    /// let process = Process::new(|| current_process().time_left(), ());
    /// let child = process.deadline(Duration::from_secs(60)).start()?;
    /// assert!(child.join()?.is_some_and(|left| left > Duration::from_secs(1)));
    /// assert_eq!(current_process().time_left(), None);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn time_left(self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Sleeps until the parent asks this process to end, or is gone, for `timeout` at the most.
    /// Returns `true` if it has asked. In the main process, it sleeps all the time, and returns
    /// false.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, current_process};
    ///
    /// fn heartbeat() -> u32 {
    ///     let mut beats = 1;
    ///     while !current_process().wait_stop(Duration::from_millis(1)) {
    ///         beats += 1;
    ///     }
    ///     beats
    /// }
    ///
    /// let child = Process::new(heartbeat, ()).start()?;
    /// child.stop(Duration::from_secs(10))?;
    /// assert!(child.join()? >= 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn wait_stop(self, timeout: Duration) -> bool {
        match parentage::current() {
            Some(parentage) => parentage.wait_stop_timeout(timeout),
            None => {
                std::thread::sleep(timeout);
                false
            }
        }
    }
}

impl fmt::Display for CurrentProcess {
    /// `<Process(Process-1, started)>`, `<_MainProcess(MainProcess, started)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = identity::current();
        handle::print(f, &identity.kind, &identity.name(), "started", identity.daemon)
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ParentProcess {
    /// Returns its name at the time when it started this process.
    ///
    /// ```
    /// use multiproc::{Process, parent_process};
    ///
    /// let ask = || parent_process().map(|parent| parent.name().to_owned());
    /// assert_eq!(Process::new(ask, ()).start()?.join()?.as_deref(), Some("MainProcess"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns its number.
    ///
    /// ```
    /// use multiproc::{Process, parent_process};
    ///
    /// let ask = || parent_process().map(|parent| parent.pid());
    /// assert_eq!(Process::new(ask, ()).start()?.join()?, Some(std::process::id()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns `true` if the parent is running.
    ///
    /// ```
    /// use multiproc::{Process, parent_process};
    ///
    /// let ask = || parent_process().is_some_and(|parent| parent.is_alive());
    /// assert!(Process::new(ask, ()).die_with_parent(false).start()?.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        parentage::current().is_none_or(|parentage| !parentage.tether.parent_is_gone())
    }

    /// Waits until the parent has ended, but no longer than `timeout`; without limit if that is
    /// `None`. Returns whether it has ended.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, parent_process};
    ///
    /// let waits = || parent_process().unwrap().join(Some(Duration::from_millis(1)));
    /// let child = Process::new(waits, ()).die_with_parent(false).start()?;
    /// assert!(!child.join()?); // this process goes on
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn join(&self, timeout: Option<Duration>) -> bool {
        let Some(parentage) = parentage::current() else { return false };
        parentage.tether.wait_parent(Deadline::within(timeout)).unwrap_or(false)
    }
}

impl fmt::Display for ParentProcess {
    /// `<ParentProcess(MainProcess, unknown)>`, as CPython prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        handle::print(f, "ParentProcess", self.name(), "unknown", false)
    }
}

impl fmt::Debug for ParentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
