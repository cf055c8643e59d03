//! Limits of a process, and the one that it reached.
//!
//! The kernel keeps most of them (`setrlimit(2)`); `sys::limits::watch` keeps the others by timers
//! in the process, and has it tell its parent which limit it reached, as an exit status has no room
//! for that.

#![deny(clippy::arithmetic_side_effects, reason = "a limit may be any number")]

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::limits::rlimit as sys;
use crate::sys::limits::watch;
use crate::sys::resource::Resource;

/// Limits of what a process may use: for [`Process::limits`](crate::Process::limits),
/// [`PoolBuilder::limits`](crate::PoolBuilder::limits) and [`Tasks::limits`](crate::Tasks::limits).
///
/// Most are the kernel's resource limits (see the man page setrlimit(2)). A process cannot lift
/// them, with three exceptions that code which means harm can undo: the file size, which the
/// library itself must be able to lift to hand over a big result; the resident memory, which a
/// timer in the process looks after; and the processors. Against such code, give it a deadline and
/// an address space, too. (In a cage, with the feature `cage`, neither the file size nor the
/// processors can be lifted.)
///
/// A limit that cannot be is refused where it is put to use: an error of
/// [`Process::start`](crate::Process::start) and [`PoolBuilder::build`](crate::PoolBuilder::build),
/// and the outcome of tasks.
///
/// ```
/// use multiproc::{LimitReached, Limits, Process};
///
/// fn hungry() -> usize {
///     let mut all = Vec::new();
///     loop {
///         all.push(vec![1_u8; 1 << 20]);
///     }
/// }
///
/// let limits = Limits::new().resident(64 << 20);
/// let error = Process::new(hungry, ()).limits(limits).start()?.join().unwrap_err();
/// assert_eq!(error.limit(), Some(&LimitReached::Resident(64 << 20)));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    address_space: Option<u64>,
    resident: Option<u64>,
    cpu_time: Option<Duration>,
    open_files: Option<u64>,
    file_size: Option<u64>,
    processes: Option<u64>,
    nice: Option<i32>,
    affinity: Option<Vec<usize>>,
    private_dir: bool,
}

/// A limit that ended a process.
///
/// ```
/// use std::time::Duration;
/// use multiproc::{LimitReached, Process};
///
/// let second = Duration::from_secs(1);
/// let child = Process::new(std::thread::sleep, (60 * second,)).deadline(second / 100).start()?;
/// let error = child.join().unwrap_err();
/// match error.limit() {
///     Some(LimitReached::Deadline(time)) => assert_eq!(*time, second / 100),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LimitReached {
    /// It took longer than this.
    Deadline(Duration),
    /// It computed for longer than this.
    CpuTime(Duration),
    /// An allocation failed, as its address space may have so many bytes.
    AddressSpace(u64),
    /// It took more than so many bytes of memory.
    Resident(u64),
    /// It wrote behind so many bytes of a file.
    FileSize(u64),
    /// It wrote more than so many bytes to a standard stream whose output was gathered:
    /// [`Process::max_output`](crate::Process::max_output).
    Output(u64),
}

impl Limits {
    /// Makes limits that limit nothing.
    ///
    /// ```
    /// use multiproc::Limits;
    ///
    /// assert_eq!(Limits::new(), Limits::default());
    /// let limits = Limits::new().resident(256 << 20).open_files(64); // 256 MiB
    /// # let _ = limits;
    /// ```
    #[must_use]
    pub fn new() -> Limits {
        Limits::default()
    }

    /// Limits its address space, in bytes: what it has mapped, used or not (`RLIMIT_AS`). That is
    /// more than it uses: the program itself counts, and each thread's stack. Beyond it,
    /// allocations fail, by which Rust code aborts. Files in memory that it has not mapped do not
    /// count. Zero is refused; [`u64::MAX`] is no limit.
    ///
    /// ```
    /// use multiproc::{LimitReached, Limits, Process};
    ///
    /// let hungry = || vec![1_u8; 8 << 30].len();
    /// let limits = Limits::new().address_space(4 << 30);
    /// let error = Process::new(hungry, ()).limits(limits).start()?.join().unwrap_err();
    /// assert_eq!(error.limit(), Some(&LimitReached::AddressSpace(4 << 30)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn address_space(mut self, bytes: u64) -> Limits {
        self.address_space = Some(bytes);
        self
    }

    /// Limits the memory, in bytes, that it takes from its start on, or a task from its own start
    /// on, and that is resident. It is looked at every 10 ms that the process computes, so it may
    /// be more for a moment.
    ///
    /// Only its private memory counts: not the program's code, files that it maps, memory that
    /// processes share ([`SharedSlice`](crate::SharedSlice) and the like), nor what it inherited,
    /// preloaded or at a fork, also if it writes to that. So what it puts into memory files
    /// (`memfd_create`, `/dev/shm`), shared mappings and pipes' buffers is not counted: a control
    /// group of the system's counts it.
    ///
    /// Zero is refused; what no machine has is no limit.
    ///
    /// ```
    /// use multiproc::{Limits, Process};
    ///
    /// let modest = || vec![1_u8; 1 << 20].len(); // 1 MiB
    /// let child = Process::new(modest, ()).limits(Limits::new().resident(64 << 20)).start()?;
    /// assert_eq!(child.join()?, 1 << 20);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn resident(mut self, bytes: u64) -> Limits {
        self.resident = Some(bytes);
        self
    }

    /// Limits the time that it computes, all its threads together; in a pool, for each task.
    /// SIGXCPU ends it. Code that sees to it that it gets no signals is killed by the kernel up to
    /// four seconds later in a process of its own, without the limit's name in the error; in a
    /// pool, give it a deadline, too. Zero is refused; more than a hundred years is no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{LimitReached, Limits, Process};
    ///
    /// fn spin() {
    ///     while std::hint::black_box(true) {}
    /// }
    ///
    /// let time = Duration::from_millis(50);
    /// let child = Process::new(spin, ()).limits(Limits::new().cpu_time(time)).start()?;
    /// assert_eq!(child.join().unwrap_err().limit(), Some(&LimitReached::CpuTime(time)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn cpu_time(mut self, time: Duration) -> Limits {
        self.cpu_time = Some(time);
        self
    }

    /// Limits the number of descriptors that it may have open (`RLIMIT_NOFILE`). Those that it
    /// starts with count: leave it some 16. Zero is refused; more than this process may have is as
    /// many as that.
    ///
    /// ```
    /// use multiproc::{Limits, Process};
    ///
    /// fn open_many() -> usize {
    ///     (0..1000).map_while(|_| std::fs::File::open("/dev/null").ok()).collect::<Vec<_>>().len()
    /// }
    ///
    /// let child = Process::new(open_many, ()).limits(Limits::new().open_files(64)).start()?;
    /// assert!(child.join()? < 64);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn open_files(mut self, files: u64) -> Limits {
        self.open_files = Some(files);
        self
    }

    /// Limits the length, in bytes, of files that it writes (`RLIMIT_FSIZE`). SIGXFSZ ends it. With
    /// zero, it may write to no file; [`u64::MAX`] is no limit.
    ///
    /// ```
    /// use multiproc::{LimitReached, Limits, Process};
    ///
    /// fn write_much() {
    ///     std::fs::write("big", vec![0; 1 << 20]).unwrap();
    /// }
    ///
    /// let limits = Limits::new().file_size(1000).private_dir(true);
    /// let child = Process::new(write_much, ()).limits(limits).start()?;
    /// assert_eq!(child.join().unwrap_err().limit(), Some(&LimitReached::FileSize(1000)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn file_size(mut self, bytes: u64) -> Limits {
        self.file_size = Some(bytes);
        self
    }

    /// Limits the number of processes and threads that its user may have at all, those of other
    /// programs included (`RLIMIT_NPROC`). (No limit for root.) With zero, it can start none.
    ///
    /// ```
    /// use multiproc::{Limits, Process};
    ///
    /// let thread = || std::thread::Builder::new().spawn(|| ()).is_ok();
    /// let child = Process::new(thread, ()).limits(Limits::new().processes(0)).start()?;
    /// let _could = child.join()?; // false, unless for root
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn processes(mut self, processes: u64) -> Limits {
        self.processes = Some(processes);
        self
    }

    /// Sets its niceness, from -20 to 19, the nicest (`setpriority(2)`). (Below this process's own
    /// takes privileges.)
    ///
    /// ```
    /// use multiproc::{Limits, Process};
    ///
    /// let child = Process::new(|| 7, ()).limits(Limits::new().nice(19)).start()?;
    /// assert_eq!(child.join()?, 7);
    /// assert!(Process::new(|| 7, ()).limits(Limits::new().nice(20)).start().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Limits {
        self.nice = Some(nice);
        self
    }

    /// Limits the processors that it runs on, counted from 0 (`sched_setaffinity(2)`). A process
    /// that means harm can lift this one, if no cage keeps it from that.
    ///
    /// ```
    /// use multiproc::{Limits, Process, cpu_count};
    ///
    /// let child = Process::new(cpu_count, ()).limits(Limits::new().affinity([0])).start()?;
    /// assert_eq!(child.join()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn affinity(mut self, processors: impl IntoIterator<Item = usize>) -> Limits {
        self.affinity = Some(processors.into_iter().collect());
        self
    }

    /// Gives it a new, empty directory to work in, which only this user can enter; also in its
    /// `TMPDIR`. It is made in this process's `TMPDIR` as that is when the limits are given to a
    /// process or a pool, or else in `/tmp`. It goes, with all that is in it, when the process has
    /// ended and this one knows of it; it stays if this program is killed before.
    ///
    /// ```
    /// use multiproc::{Limits, Process};
    ///
    /// fn work() -> std::path::PathBuf {
    ///     std::fs::write("scratch", b"..").unwrap();
    ///     std::env::current_dir().unwrap()
    /// }
    ///
    /// let child = Process::new(work, ()).limits(Limits::new().private_dir(true)).start()?;
    /// assert!(!child.join()?.exists()); // it went with the process
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn private_dir(mut self, private: bool) -> Limits {
        self.private_dir = private;
        self
    }

    /// Returns `true` if a directory is to be made.
    pub(crate) fn wants_dir(&self) -> bool {
        self.private_dir
    }

    /// The least limit of its memory.
    #[cfg(feature = "cage")]
    pub(crate) fn memory(&self) -> Option<u64> {
        [self.address_space, self.resident].into_iter().flatten().min()
    }

    /// Returns `true` if its open descriptors are limited.
    #[cfg(feature = "cage")]
    pub(crate) fn limits_files(&self) -> bool {
        self.open_files.is_some()
    }

    /// Returns `true` if there are any.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// Returns what it may compute.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.cpu_time
    }

    /// The same, but for what a pool counts for each task.
    pub(crate) fn of_worker(&self) -> Limits {
        Limits { cpu_time: None, ..self.clone() }
    }

    /// The same, with no more resident memory than so.
    pub(crate) fn resident_at_most(self, most: Option<u64>) -> Limits {
        Limits { resident: self.resident.into_iter().chain(most).min(), ..self }
    }

    /// Returns what is wrong with them, if something is.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.affinity.as_ref().is_some_and(Vec::is_empty) {
            return Err("a process must be allowed one processor at least".to_owned());
        }
        if self.affinity.iter().flatten().any(|processor| *processor >= sys::MAX_PROCESSORS) {
            return Err(format!(
                "there is no processor of a number from {} on",
                sys::MAX_PROCESSORS
            ));
        }
        if self.cpu_time == Some(Duration::ZERO) {
            return Err("a process must be allowed some time to compute".to_owned());
        }
        let none = [
            (self.address_space, "address space"),
            (self.resident, "resident memory"),
            (self.open_files, "open files"),
        ];
        if let Some((_, what)) = none.iter().find(|(limit, _)| *limit == Some(0)) {
            return Err(format!("a process must be allowed some {what}"));
        }
        if self.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            return Err("a niceness is from -20 to 19".to_owned());
        }
        Ok(())
    }

    /// Returns what is wrong with them for a task, if something is.
    pub(crate) fn check_for_task(&self) -> Result<(), String> {
        if self.nice.is_some() || self.affinity.is_some() || self.private_dir {
            return Err(
                "niceness, processors and a private directory are a worker's, not a task's"
                    .to_owned(),
            );
        }
        self.check()
    }

    /// Puts them in force in this process, a child. `watch::arm` was called before.
    ///
    /// The order: what takes rights or descriptors comes before what forbids them; the open files
    /// come last.
    ///
    /// # Errors
    /// A limit that cannot be put in force, named. The function does not run then.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let named = |what: &'static str| {
            move |error| io::Error::other(format!("cannot limit its {what}: {error}"))
        };
        if let Some(nice) = self.nice {
            sys::nice(nice).map_err(|error| {
                io::Error::other(format!("cannot set its niceness to {nice}: {error}"))
            })?;
        }
        if let Some(processors) = &self.affinity {
            sys::affinity(processors).map_err(|error| {
                io::Error::other(format!("cannot run on the processors {processors:?}: {error}"))
            })?;
        }
        if let Some(time) = self.cpu_time {
            watch::limit_cpu(Some(time)).map_err(named("CPU time"))?;
            // The kernel counts nanoseconds.
            // The kernel's own limit, in whole seconds, comes after ours, for code that blocks our
            // signal.
            let seconds = time.min(watch::LONGEST).as_secs().saturating_add(1);
            sys::limit(Resource::Cpu, seconds, true).map_err(named("CPU time"))?;
        }
        if let Some(bytes) = self.file_size {
            watch::note_file_size(bytes).map_err(named("file size"))?;
            sys::limit(Resource::FileSize, bytes, false).map_err(named("file size"))?;
        }
        if let Some(processes) = self.processes {
            sys::limit(Resource::Processes, processes, true).map_err(named("processes"))?;
        }
        if let Some(bytes) = self.resident {
            watch::limit_resident(bytes).map_err(named("resident memory"))?;
        }
        if let Some(bytes) = self.address_space {
            watch::note_address_space(bytes).map_err(named("address space"))?;
            sys::limit(Resource::AddressSpace, bytes, true).map_err(named("address space"))?;
        }
        if let Some(files) = self.open_files {
            sys::limit(Resource::OpenFiles, files, true).map_err(named("open files"))?;
        }
        Ok(())
    }

    /// Puts those in force that can be for one task, until what is returned is dropped. Where there
    /// is a limit already, the lower one holds.
    pub(crate) fn for_task(&self) -> io::Result<TaskLimits> {
        let mut limits =
            TaskLimits { before: Vec::new(), noted: Vec::new(), resident: None, has_cpu: false };
        if let Some(bytes) = self.resident {
            limits.resident = Some(watch::limit_resident(bytes)?);
        }
        if let Some(time) = self.cpu_time {
            watch::limit_cpu(Some(time))?;
            limits.has_cpu = true;
        }
        let all = [
            (Resource::FileSize, self.file_size, Some(watch::note_file_size as Note)),
            (Resource::Processes, self.processes, None),
            (Resource::OpenFiles, self.open_files, None),
            (Resource::AddressSpace, self.address_space, Some(watch::note_address_space as Note)),
        ];
        for (resource, limit, note) in all {
            let Some(limit) = limit else { continue };
            let now = sys::limit(resource, limit, false)?;
            limits.before.push((resource, now));
            if now <= limit {
                sys::limit(resource, now, false)?;
            } else if let Some(note) = note {
                limits.noted.push((note, note(limit)?));
            }
        }
        Ok(limits)
    }
}

/// Notes how much there may be of something, and returns what was noted before.
type Note = fn(u64) -> io::Result<u64>;

/// The limits of a task; dropped, those that were before are in force again.
#[derive(Debug)]
pub(crate) struct TaskLimits {
    before: Vec<(Resource, u64)>,
    noted: Vec<(Note, u64)>,
    resident: Option<watch::Resident>,
    has_cpu: bool,
}

impl Drop for TaskLimits {
    fn drop(&mut self) {
        for (resource, before) in self.before.drain(..) {
            let _ = sys::limit(resource, before, false);
        }
        for (note, before) in self.noted.drain(..) {
            let _ = note(before);
        }
        if let Some(before) = self.resident {
            watch::restore_resident(before);
        }
        if self.has_cpu {
            let _ = watch::limit_cpu(None);
        }
    }
}

impl LimitReached {
    /// Reads what a process noted before it ended: the kind, and how much.
    pub(crate) fn from_note(note: &[u8]) -> Option<LimitReached> {
        let (kind, value) = note.split_first()?;
        let value = u64::from_le_bytes(value.try_into().ok()?);
        Some(match *kind {
            watch::DEADLINE => LimitReached::Deadline(Duration::from_nanos(value)),
            watch::CPU => LimitReached::CpuTime(Duration::from_nanos(value)),
            watch::ADDRESS_SPACE => LimitReached::AddressSpace(value),
            watch::RESIDENT => LimitReached::Resident(value),
            watch::FILE_SIZE => LimitReached::FileSize(value),
            _ => return None,
        })
    }
}

impl fmt::Display for LimitReached {
    /// `its deadline of 2s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitReached::Deadline(time) => write!(f, "its deadline of {time:?}"),
            LimitReached::CpuTime(time) => write!(f, "its CPU time of {time:?}"),
            LimitReached::AddressSpace(bytes) => write!(f, "its address space of {bytes} bytes"),
            LimitReached::Resident(bytes) => write!(f, "its resident memory of {bytes} bytes"),
            LimitReached::FileSize(bytes) => write!(f, "its file size of {bytes} bytes"),
            LimitReached::Output(bytes) => write!(f, "its output of {bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Limits::new().affinity([]).check().is_err());
        assert!(Limits::new().affinity([1 << 20]).check().is_err());
        assert!(Limits::new().cpu_time(Duration::ZERO).check().is_err());
        assert!(Limits::new().resident(0).check().is_err());
        assert!(Limits::new().address_space(0).check().is_err());
        assert!(Limits::new().open_files(0).check().is_err());
        assert!(Limits::new().nice(20).check().is_err());
        assert!(Limits::new().nice(i32::MIN).check().is_err());
        assert!(Limits::new().nice(19).file_size(0).processes(0).check().is_ok());
        assert!(Limits::new().nice(1).check_for_task().is_err());
        assert!(Limits::new().affinity([0]).cpu_time(Duration::from_millis(1)).check().is_ok());
        assert_eq!(LimitReached::from_note(&[]), None);
        assert_eq!(LimitReached::from_note(&[99, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
