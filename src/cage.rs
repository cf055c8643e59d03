//! What hostile code may do: nothing but compute, unless it is named.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Cause, Result};
use crate::sys::cage as sys;

/// A cage for code that may mean harm: no network, no files but those that are named, no new processes, no signals to others.
/// (With the feature `cage`.)
///
/// For [`Process::cage`](crate::Process::cage) and [`PoolBuilder::cage`](crate::PoolBuilder::cage). The kernel keeps it: Landlock for
/// files, TCP and signals, a seccomp filter for system calls; nothing inside can open it again. It closes just before the function
/// runs, so what the process has by then stays: its arguments with their descriptors, its streams, its link to this program. A
/// kernel without Landlock or seccomp is a clear error ([`Failure::NotRun`](crate::Failure::NotRun)), never a cage with a hole.
///
/// What it does not do: it does not limit time and memory ([`Limits`](crate::Limits) and deadlines do), hide what is in the process's
/// own memory or close what it has open (with the fork method, the memory and every descriptor of this program: use another for
/// code that means harm), hide that a file is there, with its size and times, or protect from faults of the kernel itself. Who may
/// write anything may also change the mode and the times of what it has open. A program with a library that starts threads before
/// `main` cannot be caged: they would stay outside, and so it is an error.
///
/// Paths of files and folders that are named must be there. Names are as this process sees them.
///
/// A program that is built to measure itself (coverage, PGO) needs `.write` of the folder for these files in its cages.
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
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    network: bool,
    processes: bool,
}

impl Cage {
    /// Nothing is allowed.
    #[must_use]
    pub fn new() -> Cage {
        Cage::default()
    }

    /// Lets it read a file, or a folder and all below it.
    #[must_use]
    pub fn read(mut self, path: impl AsRef<Path>) -> Cage {
        self.read.push(path.as_ref().to_owned());
        self
    }

    /// Lets it read, write, make and remove files in a folder and all below it, or read and write a file.
    #[must_use]
    pub fn write(mut self, path: impl AsRef<Path>) -> Cage {
        self.write.push(path.as_ref().to_owned());
        self
    }

    /// Lets it use the network and other sockets.
    #[must_use]
    pub fn allow_network(mut self) -> Cage {
        self.network = true;
        self
    }

    /// Lets it start processes, which are in the same cage, and signal those. (To execute a program, it has to be allowed to
    /// [`read`](Cage::read) it and its libraries.)
    #[must_use]
    pub fn allow_processes(mut self) -> Cage {
        self.processes = true;
        self
    }

    /// Whether this kernel can keep a cage.
    ///
    /// # Errors
    /// It cannot: what it lacks.
    pub fn check_support() -> Result<()> {
        match sys::missing() {
            None => Ok(()),
            Some(what) => Err(Cause::BadInput(format!("this kernel cannot keep a cage: {what}")).into()),
        }
    }

    /// Closes it around this process, for good.
    pub(crate) fn enter(&self) -> std::result::Result<(), String> {
        sys::enter(&sys::Rules {
            read: &self.read,
            write: &self.write,
            network: self.network,
            processes: self.processes,
        })
    }
}
