//! This process, its parent, and what it runs on.

use std::fmt;
use std::time::{Duration, Instant};

use super::parentage;
use crate::identity::{self, ParentIdentity};
use crate::process::children::handle;
use crate::sys::per_process::PerProcess;
use crate::sys::wait::poll::Deadline;

static DEADLINE: PerProcess<Instant> = PerProcess::new();

/// Says when this process will be ended.
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

/// This process: its name, its number, whether it was asked to end.
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

/// The process that started this one; `None` in the main process.
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
    /// The name of this process; `MainProcess` for the program's own.
    #[must_use]
    pub fn name(self) -> String {
        identity::current().name()
    }

    /// Gives this process another name, for its log lines and messages. Its parent does not learn
    /// of it.
    pub fn set_name(self, name: impl Into<String>) {
        identity::current().set_name(name.into());
    }

    /// The number of this process.
    #[must_use]
    pub fn pid(self) -> u32 {
        identity::current().pid
    }

    /// Returns whether this process is a daemon.
    #[must_use]
    pub fn daemon(self) -> bool {
        identity::current().daemon
    }

    /// Returns whether the parent asked this process to end
    /// ([`Handle::stop`](crate::Handle::stop)), or is gone. Costs one system call. Never in the
    /// main process.
    #[must_use]
    pub fn stop_requested(self) -> bool {
        parentage::current().is_some_and(parentage::Parentage::stop_requested)
    }

    /// When this process will be ended, if it was given a [deadline](crate::Process::deadline).
    #[must_use]
    pub fn deadline(self) -> Option<Instant> {
        DEADLINE.get().copied()
    }

    /// Returns how long it is until then; zero if that is past, `None` without a deadline.
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

    /// Sleeps for `timeout` at the most, until the parent asks this process to end; whether it has.
    /// In the main process, it sleeps all the time.
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
    /// Its name when it started this process.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns whether it is running. A process that is not told otherwise
    /// ([`Process::die_with_parent`](crate::Process::die_with_parent)) ends with it, and never sees
    /// this be false.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        parentage::current().is_none_or(|parentage| !parentage.tether.parent_is_gone())
    }

    /// Waits until it has ended, but no longer than `timeout`; whether it has. (`None`: without
    /// limit.)
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
