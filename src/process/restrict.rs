//! Limits of a process: what it may use, how long it may run, what it may reach.

use std::time::Duration;

use super::{Process, work_dir};
use crate::limits::Limits;

impl<T> Process<T> {
    /// Limits what the process may use. It gets a session of its own, as with a
    /// [`deadline`](Process::deadline).
    ///
    /// A limit that cannot be put in force is an error of `join`: the function does not run then.
    ///
    /// ```
    /// use multiproc::{LimitReached, Limits, Process};
    ///
    /// fn spin() {
    ///     while std::hint::black_box(true) {}
    /// }
    ///
    /// let second = std::time::Duration::from_secs(1);
    /// let child = Process::new(spin, ()).limits(Limits::new().cpu_time(second)).start()?;
    /// assert_eq!(child.join().unwrap_err().limit(), Some(&LimitReached::CpuTime(second)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> Process<T> {
        self.temporary = limits.wants_dir().then(work_dir::temporary_directory);
        self.spec.limits = limits;
        self
    }

    /// Makes a private directory below `place` instead of the directory for temporary files, as
    /// that was when the limits were given.
    pub(crate) fn temporary(mut self, place: Option<std::path::PathBuf>) -> Process<T> {
        self.temporary = place;
        self
    }

    /// Limits how long the process may run, from its start. It can see the deadline
    /// ([`CurrentProcess::time_left`](crate::CurrentProcess::time_left)); then it and what it
    /// started get SIGTERM, and SIGKILL after the [`grace`](Process::grace).
    ///
    /// Timers in the process see to it, so that it holds while nobody waits for it, also if it is
    /// stopped (it is continued then); one that has undone them is killed by whoever joins it. One
    /// that a debugger holds while nobody waits for it is killed, but then the error says SIGKILL.
    /// With zero, it is ended as soon as it has begun; a time beyond what the clock counts is none.
    /// It gets a session of its own, which Ctrl-C in the terminal does not reach (it ends with this
    /// program then). What is left of its process group is killed when its end is seen: processes
    /// that it started, unless they made a group of their own and it ended before them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{LimitReached, Process};
    ///
    /// let second = Duration::from_secs(1);
    /// let sleeper = Process::new(std::thread::sleep, (600 * second,));
    /// let stuck = sleeper.deadline(second / 10).start()?;
    /// assert_eq!(stuck.join().unwrap_err().limit(), Some(&LimitReached::Deadline(second / 10)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Process<T> {
        self.spec.deadline = Some(deadline);
        self
    }

    /// Runs the process in a cage, which closes just before its function runs.
    ///
    /// ```
    /// use multiproc::{Cage, Process};
    ///
    /// let reads = || std::fs::read("/etc/hostname").is_ok();
    /// let child = Process::new(reads, ()).cage(Cage::new()).start()?;
    /// assert!(!child.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "cage")]
    pub fn cage(mut self, cage: crate::Cage) -> Process<T> {
        self.spec.cage = Some(cage);
        self
    }

    /// Sets the time between SIGTERM and SIGKILL at the [deadline](Process::deadline): 3 seconds
    /// unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, current_process};
    ///
    /// // It sees its deadline coming, and returns what it has.
    /// fn search() -> u64 {
    ///     let mut found = 0;
    ///     let reserve = Duration::from_millis(900);
    ///     while current_process().time_left().is_none_or(|left| left > reserve) {
    ///         found += 1;
    ///     }
    ///     found
    /// }
    ///
    /// let process = Process::new(search, ()).deadline(Duration::from_secs(1));
    /// assert!(process.grace(Duration::from_secs(5)).start()?.join()? > 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn grace(mut self, grace: Duration) -> Process<T> {
        self.spec.grace = grace;
        self
    }
}
