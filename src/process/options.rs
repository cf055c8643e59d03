//! The settings of a process that is not started yet.
//!
//! Each method takes the process and returns it changed. Nothing is checked or made here: what is
//! wrong is an error of `start`, so that a chain of settings needs one `?`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use super::Process;
use super::environment::EnvironmentChange;
use super::work_dir::whole;
use crate::start::method::StartMethod;
use crate::start::stdio::Stdio;

impl<T> Process<T> {
    /// Names the process; an empty name leaves the default.
    pub fn name(mut self, name: impl Into<String>) -> Process<T> {
        let name = name.into();
        if !name.is_empty() {
            self.spec.name = name;
        }
        self
    }

    /// Sets whether the process is a daemon: terminated when this one ends, and not allowed to have
    /// children.
    ///
    /// (Not a Unix daemon: it ends with the program.)
    pub fn daemon(mut self, daemon: bool) -> Process<T> {
        self.spec.daemon = daemon;
        self
    }

    /// Sets how to start the process, if not by the program's method.
    pub fn start_method(mut self, method: StartMethod) -> Process<T> {
        self.method = Some(method);
        self
    }

    /// Sets a variable in the process's environment, which is otherwise this one's as it is at the
    /// start: byte for byte, entries included that are no variables, or variables that stand twice.
    /// What is set here replaces every entry of its name, and stands behind the others.
    ///
    /// The size does not matter: what an exec cannot carry (a variable of more than 128 KiB, or
    /// several MiB altogether) is set before the function runs. Only what runs before it, the
    /// loader and initialisers, sees a part. (`/proc/<pid>/environ` shows what the last exec
    /// carried.)
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Process<T> {
        self.environment
            .variables
            .insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets several variables in the process's environment.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Process<T> {
        variables.into_iter().fold(self, |process, (name, value)| process.env(name, value))
    }

    /// Removes a variable from the process's environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Process<T> {
        self.environment.variables.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Starts the process's environment empty; variables set before are forgotten.
    pub fn env_clear(mut self) -> Process<T> {
        self.environment = EnvironmentChange { clear: true, variables: BTreeMap::new() };
        self
    }

    /// The process's working directory, if not this one's as it is at the start. A relative path is
    /// taken from this process's working directory as it is now.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Process<T> {
        self.directory = Some(whole(directory.into()));
        self
    }

    /// The process's standard input: `/dev/null` unless set, as in CPython, so that processes do
    /// not take each other's input.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Process<T> {
        self.stdio[0] = stdin.into();
        self
    }

    /// The process's standard output: this one's, as it is at the start, unless set.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Process<T> {
        self.stdio[1] = stdout.into();
        self
    }

    /// The process's standard error: this one's, as it is at the start, unless set.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Process<T> {
        self.stdio[2] = stderr.into();
        self
    }

    /// Runs the function on a stack of at least so many bytes: in a thread of that name and
    /// size, for which the process waits. Unless set, it runs on the main thread, whose stack the
    /// system's limit governs.
    pub fn stack_size(mut self, bytes: usize) -> Process<T> {
        self.spec.stack_size = Some(bytes as u64);
        self
    }

    /// Sets how long what the function returns may be, encoded, in bytes: 1 GiB unless set, as for
    /// a message. The [`join`](Child::join) of a longer one fails with
    /// [`Failure::BadResult`](crate::Failure::BadResult), and takes no memory for it.
    ///
    /// The text of a panic or another failure may be 256 MiB long. What a result may ask of this
    /// process beyond its length, [`DecodeLimits`](crate::DecodeLimits) say.
    ///
    /// ```
    /// use multiproc::{Failure, Process};
    ///
    /// let child = Process::new(|| vec![7_u8; 1 << 20], ()).max_result(1000).start()?;
    /// assert!(matches!(child.join().unwrap_err().failure(), Failure::BadResult(_)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_result(mut self, bytes: u64) -> Process<T> {
        self.spec.max_result = bytes;
        self
    }

    /// Sets whether the process ends when this one does, however that happens: true unless set.
    ///
    /// What it starts by other means (`std::process::Command`) is not covered, nor is the process
    /// itself any more once it has executed another program in its own place or closed descriptors
    /// that are not its own.
    ///
    /// With `false`, it may outlive this process: it is neither terminated nor waited for at the
    /// end of this one. It can see the end of its parent with
    /// [`parent_process`](crate::parent_process).
    pub fn die_with_parent(mut self, dies: bool) -> Process<T> {
        self.spec.dies_with_parent = dies;
        self
    }

    /// Ends it with the program as daemons are, although it may have children.
    pub(crate) fn for_pool(mut self) -> Process<T> {
        self.spec.serves_pool = true;
        self
    }
}
