//! Cages for hostile code: nothing but computing is allowed, unless it is named. The rules as users
//! write them; the platform's part is `sys::cage`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Cause, Result};
use crate::limits::Limits;
use crate::sys::cage as sys;

/// A cage for code that may mean harm: no network, no files but those that are named, no new
/// processes, no signals to others. (With the feature `cage`.)
///
/// For [`Process::cage`](crate::Process::cage) and [`PoolBuilder::cage`](crate::PoolBuilder::cage).
/// The kernel keeps it: Landlock for files, TCP and signals, a seccomp filter for system calls;
/// nothing inside can open it again. It closes just before the function runs, so what the process
/// has by then stays: its arguments with their descriptors, its streams, its link to this program.
/// A kernel without Landlock or seccomp is a clear error
/// ([`Failure::NotRun`](crate::Failure::NotRun)), never a cage with a hole.
///
/// # What it allows
/// The filter has a list of what is allowed. What is not on it fails: with EPERM what was looked at
/// and refused, with ENOSYS what was not, so that libraries take an older call.
///
/// | | in every cage | with [`allow_network`](Cage::allow_network) | with [`allow_processes`](Cage::allow_processes) |
/// |---|---|---|---|
/// | files | what is named; pipes; what it has open; the mode and the times of that only if some file may be written | | to execute what may be read |
/// | memory | its own; shared memory, unless its memory is limited ([`allow_shared_memory`](Cage::allow_shared_memory)) | | |
/// | sockets | pairs of streams, and those that it has | Unix, IPv4, IPv6; netlink to ask for addresses | |
/// | descriptors made not to wait | when they are made | later as well, if its streams are its own (below) | |
/// | `ioctl` | to ask for what is there to read, and what a terminal is | to ask for interfaces | |
/// | processes | threads | | children, in the same namespaces |
/// | signals | to itself | | to its children |
/// | how it is scheduled | its own priority, downwards; not on which processors | | |
/// | limits | lowered | | |
///
/// What nobody gets: `ptrace` and the memory of other processes, `bpf`, `io_uring`,
/// `perf_event_open`, `userfaultfd`, `keyctl`, mounts, namespaces, modules, the clock, other users'
/// numbers, attributes of files by their path, watching files, memory and messages of System V and
/// POSIX, leases, signals sent by descriptors, and calls of 32 bits (those end the process).
///
/// A process of root gives up all capabilities, with their bounding set: it may read then what its
/// user may, not what others have closed to it. And its limits become final.
///
/// # Streams
/// Terminals, pipes and files opened for appending are opened anew for the process, so that it does
/// not change how this program's own standard streams behave (`O_NONBLOCK`); and a terminal for
/// writing is one that cannot be read. A stream that is a socket or another file is the program's:
/// in a cage with the network, a process that has a socket for a stream cannot make descriptors
/// non-blocking. What it can do is to shut such a socket down, or to write anywhere in such a file.
/// So give it [`Stdio::piped`](crate::Stdio::piped) or [`Stdio::null`](crate::Stdio::null) where
/// that counts.
///
/// # What it does not do
/// It does not limit time and memory: [`Limits`](crate::Limits) and deadlines do. Where the address
/// space or the resident memory is limited, memory that neither counts is refused; a result may
/// take as much again as the lower of the two; and there are at most 256 descriptors more than at
/// first, unless [`Limits::open_files`](crate::Limits::open_files) says otherwise, as the kernel
/// may hold some hundred kilobytes in each. What you hand to it is not counted: a
/// [`Queue`](crate::Queue) that it puts into grows until somebody takes from it. (Limits of single
/// [tasks](crate::Tasks::limits) can be lifted by code that means harm; those of the pool cannot.)
///
/// It does not keep the process from closing all that it has open, the lifeline among it: then it
/// lives on when this program ends without ending it (it was killed, say).
///
/// It does not hide what is in the process's own memory or close what it has open (with the fork
/// method, the memory and every descriptor of this program: use another for code that means harm),
/// hide that a file is there, with its size and times, keep it from locking a file that it may
/// read, or protect from faults of the kernel itself. Who may write anything may also change the
/// mode and the times of what it has open. A program with a library that starts threads before
/// `main` cannot be caged: they would stay outside, and so it is an error.
///
/// # Which kernel
/// Linux 5.13 with Landlock. What its Landlock does not keep, the filter does: emptying files
/// (before 6.2), TCP (6.7), devices (6.10), signals and abstract sockets (6.12). For a cage that
/// allows processes the filter cannot keep signals inside; there, before 6.12, the process does not
/// run, and says so.
///
/// Paths of files and folders that are named must be there. Names are as this process sees them.
///
/// A program that is built to measure itself (coverage, PGO) needs `.write` of the folder for these
/// files in its cages.
///
/// ```
/// use multiproc::{Cage, Process};
///
/// fn parse(path: String) -> usize {
///     std::fs::read(path).map_or(0, |bytes| bytes.len())
/// }
///
/// if let Err(error) = Cage::check_support() {
///     println!("{error}");
///     return Ok(());
/// }
/// let uploads = std::env::temp_dir().join(format!("uploads-{}", std::process::id()));
/// std::fs::create_dir(&uploads).unwrap();
/// let picture = uploads.join("picture.png").display().to_string();
/// std::fs::write(&picture, b"pixels").unwrap();
///
/// let cage = Cage::new().read(&uploads);
/// let seen = Process::new(parse, (picture,)).cage(cage.clone()).start()?.join()?;
/// let hidden = Process::new(parse, ("/etc/passwd".to_owned(),)).cage(cage).start()?.join()?;
/// assert_eq!((seen, hidden), (6, 0));
/// # std::fs::remove_dir_all(uploads).unwrap();
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cage {
    #[serde(with = "paths")]
    read: Vec<PathBuf>,
    #[serde(with = "paths")]
    write: Vec<PathBuf>,
    network: bool,
    processes: bool,
    shared_memory: bool,
}

impl Cage {
    /// Makes a cage in which nothing is allowed but to compute.
    ///
    /// ```
    /// use multiproc::{Cage, Process};
    ///
    /// if Cage::check_support().is_ok() {
    ///     let compute = |n: u64| n * n;
    ///     assert_eq!(Process::new(compute, (7,)).cage(Cage::new()).start()?.join()?, 49);
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn new() -> Cage {
        Cage::default()
    }

    /// Allows to read a file, or a folder and all below it.
    ///
    /// A relative path is taken from the working directory of this process as it is now, wherever
    /// it is when a process is started. (An empty one, or one from a directory that is gone, is an
    /// error of the start.)
    ///
    /// ```
    /// use multiproc::{Cage, Process};
    ///
    /// if Cage::check_support().is_ok() {
    ///     let reads = || std::fs::read("/proc/self/cmdline").is_ok();
    ///     let cage = Cage::new().read("/proc");
    ///     assert!(Process::new(reads, ()).cage(cage).start()?.join()?);
    ///     assert!(!Process::new(reads, ()).cage(Cage::new()).start()?.join()?);
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn read(mut self, path: impl AsRef<Path>) -> Cage {
        self.read.push(whole(path.as_ref()));
        self
    }

    /// Allows to read, write, make and remove files in a folder and all below it, or to read and
    /// write a file. A relative path is taken as by [`read`](Cage::read).
    ///
    /// What it writes to a folder that is kept in memory (`tmpfs`, which `/tmp` may be) takes
    /// memory that none of its limits counts. And `/proc`, `/sys` or `/dev` to write to is, for
    /// root, the machine.
    ///
    /// ```
    /// use multiproc::{Cage, Process};
    ///
    /// fn save(path: String) -> bool {
    ///     std::fs::write(path, b"result").is_ok()
    /// }
    ///
    /// if Cage::check_support().is_err() {
    ///     return Ok(());
    /// }
    /// let folder = std::env::temp_dir().join(format!("results-{}", std::process::id()));
    /// std::fs::create_dir(&folder).unwrap();
    /// let file = folder.join("result").display().to_string();
    /// let cage = Cage::new().write(&folder);
    /// assert!(Process::new(save, (file.clone(),)).cage(cage).start()?.join()?);
    /// assert!(!Process::new(save, (file,)).cage(Cage::new()).start()?.join()?);
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn write(mut self, path: impl AsRef<Path>) -> Cage {
        self.write.push(whole(path.as_ref()));
        self
    }

    /// Allows to use the network and Unix sockets, to ask for addresses by netlink, and nothing
    /// else that is a socket.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use multiproc::{Cage, Process};
    ///
    /// if Cage::check_support().is_ok() {
    ///     let listens = || TcpListener::bind("127.0.0.1:0").is_ok();
    ///     assert!(!Process::new(listens, ()).cage(Cage::new()).start()?.join()?);
    ///     assert!(Process::new(listens, ()).cage(Cage::new().allow_network()).start()?.join()?);
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn allow_network(mut self) -> Cage {
        self.network = true;
        self
    }

    /// Allows to start processes, which are in the same cage, and to signal those. (To execute a
    /// program, the process has to be allowed to [`read`](Cage::read) it and its libraries.) Takes
    /// Linux 6.12: before, nothing would keep its signals from others.
    #[must_use]
    pub fn allow_processes(mut self) -> Cage {
        self.processes = true;
        self
    }

    /// Allows to make shared memory ([`SharedBuffer`](crate::SharedBuffer),
    /// [`Queue`](crate::Queue), [`Lock`](crate::Lock) and their like) though the process's memory
    /// is limited.
    ///
    /// That is refused otherwise, as neither
    /// [`Limits::address_space`](crate::Limits::address_space) nor
    /// [`Limits::resident`](crate::Limits::resident) counts memory in files that are not mapped.
    /// Code which means harm can have as much of it then as
    /// [`Limits::file_size`](crate::Limits::file_size) times
    /// [`Limits::open_files`](crate::Limits::open_files), and more in messages to itself.
    ///
    /// ```
    /// use multiproc::{Cage, Limits, Process, SharedMemory};
    ///
    /// if Cage::check_support().is_ok() {
    ///     let run = |cage: Cage| -> multiproc::Result<bool> {
    ///         let process = Process::new(|| SharedMemory::new(4096).is_ok(), ());
    ///         let limits = Limits::new().resident(64 << 20);
    ///         Ok(process.limits(limits).cage(cage).start()?.join()?)
    ///     };
    ///     assert!(!run(Cage::new())?);
    ///     assert!(run(Cage::new().allow_shared_memory())?);
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn allow_shared_memory(mut self) -> Cage {
        self.shared_memory = true;
        self
    }

    /// Checks that this kernel can keep a cage. (One that allows processes takes a newer kernel.)
    ///
    /// # Errors
    /// It cannot: what it lacks.
    ///
    /// ```
    /// use multiproc::Cage;
    ///
    /// match Cage::check_support() {
    ///     Ok(()) => println!("cages can be kept"),
    ///     Err(error) => println!("{error}"), // what the kernel lacks
    /// }
    /// ```
    pub fn check_support() -> Result<()> {
        match sys::missing() {
            None => Ok(()),
            Some(what) => {
                Err(Cause::BadInput(format!("this kernel cannot keep a cage: {what}")).into())
            }
        }
    }

    /// Checks that its paths can be named to the kernel.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        match self.read.iter().chain(&self.write).find(|path| !path.is_absolute()) {
            None => Ok(()),
            Some(path) if path.as_os_str().is_empty() => {
                Err("a path of a cage is empty".to_owned())
            }
            Some(path) => Err(format!(
                "the path {} of a cage is relative to a working directory that is not known",
                path.display()
            )),
        }
    }

    /// Closes the cage around this process, whose limits are in force, for good.
    pub(crate) fn enter(
        &self,
        limits: &Limits,
        own_streams: bool,
    ) -> std::result::Result<sys::Closed, String> {
        sys::enter(&sys::Rules {
            read: &self.read,
            write: &self.write,
            network: self.network,
            processes: self.processes,
            memory: limits.memory(),
            limits_files: limits.limits_files(),
            own_streams,
            shared_memory: self.shared_memory,
        })
    }
}

/// Makes a path absolute; leaves it as it is if there is no working directory, which `Cage::check`
/// finds.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Paths as they cross: of any bytes, where serde has text only.
mod paths {
    use std::ffi::{OsStr, OsString};
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(|path| -> &OsStr { path.as_os_str() }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let paths: Vec<OsString> = Vec::deserialize(from)?;
        Ok(paths.into_iter().map(PathBuf::from).collect())
    }
}
