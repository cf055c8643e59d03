//! The settings of a process that is not started yet.
//!
//! Each method takes the process and returns it changed. Nothing is checked or made here: what is
//! wrong is an error of `start`, so that a chain of settings needs one `?`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use super::Process;
use super::children::OnDrop;
use super::environment::EnvironmentChange;
use super::work_dir::whole;
use crate::start::method::StartMethod;
use crate::start::stdio::Stdio;

impl<T> Process<T> {
    /// Names the process: in log lines, in errors, in its printed form, and in its title, which
    /// `ps` shows. An empty name leaves the default. CPython's `name=`.
    ///
    /// ```
    /// use multiproc::{Process, current_process};
    ///
    /// let child = Process::new(|| current_process().name(), ()).name("my_service").start()?;
    /// assert_eq!((child.name().as_str(), child.join()?.as_str()), ("my_service", "my_service"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Process<T> {
        let name = name.into();
        if !name.is_empty() {
            self.spec.name = name;
        }
        self
    }

    /// Makes the process a daemon, or not: daemons are terminated when this process ends, and may
    /// not have children. Unless set, the process is one if this process is. CPython's `daemon=`.
    ///
    /// (Not a Unix daemon: it ends with the program.)
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let _child = Process::new(std::thread::sleep, (minute,)).daemon(true).start()?;
    /// // The end of the program terminates it, and does not wait for a minute.
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Process<T> {
        self.spec.daemon = daemon;
        self
    }

    /// Starts the process by this method instead of the program's.
    ///
    /// ```
    /// use multiproc::{Process, StartMethod};
    ///
    /// let child = Process::new(|| 7, ()).start_method(StartMethod::Spawn).start()?;
    /// assert_eq!((child.start_method(), child.join()?), (StartMethod::Spawn, 7));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
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
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let home = || (std::env::var("HOME").ok(), std::env::var_os("NAME"));
    /// let child = Process::new(home, ()).env("HOME", "/nowhere").env_remove("NAME").start()?;
    /// assert_eq!(child.join()?, (Some("/nowhere".to_owned()), None));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Process<T> {
        self.environment
            .variables
            .insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets several variables in the process's environment, as [`env`](Process::env) sets one.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let ask = || (std::env::var("HOST").ok(), std::env::var("PORT").ok());
    /// let child = Process::new(ask, ()).envs([("HOST", "localhost"), ("PORT", "80")]).start()?;
    /// assert_eq!(child.join()?, (Some("localhost".to_owned()), Some("80".to_owned())));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Process<T> {
        variables.into_iter().fold(self, |process, (name, value)| process.env(name, value))
    }

    /// Removes a variable from the process's environment; every entry of that name goes.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let has_path = || std::env::var_os("PATH").is_some();
    /// assert!(!Process::new(has_path, ()).env_remove("PATH").start()?.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Process<T> {
        self.environment.variables.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Starts the process's environment empty. Variables that were set before are forgotten, those
    /// that are set afterwards are all that it has.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let all = || std::env::vars().collect::<Vec<_>>();
    /// let child = Process::new(all, ()).env_clear().env("ONLY", "this").start()?;
    /// assert_eq!(child.join()?, [("ONLY".to_owned(), "this".to_owned())]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn env_clear(mut self) -> Process<T> {
        self.environment = EnvironmentChange { clear: true, variables: BTreeMap::new() };
        self
    }

    /// Starts the process in this directory, instead of the one that is this process's at the
    /// start. A relative path is taken from this process's working directory as it is now.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let where_am_i = || std::env::current_dir().unwrap();
    /// let child = Process::new(where_am_i, ()).current_dir("/").start()?;
    /// assert_eq!(child.join()?, std::path::Path::new("/"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Process<T> {
        self.directory = Some(whole(directory.into()));
        self
    }

    /// Sets the process's standard input: `/dev/null` unless set, as in CPython, so that processes
    /// do not take each other's input.
    ///
    /// ```
    /// use std::io::Write;
    /// use multiproc::{Process, Stdio};
    ///
    /// let count = || std::io::stdin().lines().count();
    /// let mut child = Process::new(count, ()).stdin(Stdio::piped()).start()?;
    /// child.take_stdin().unwrap().write_all(b"one\ntwo\n").unwrap();
    /// assert_eq!(child.join()?, 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Process<T> {
        self.stdio[0] = stdin.into();
        self
    }

    /// Sets the process's standard output: this process's, as it is at the start, unless set.
    ///
    /// ```
    /// use std::io::Read;
    /// use multiproc::{Process, Stdio};
    ///
    /// let mut child = Process::new(|| println!("said"), ()).stdout(Stdio::piped()).start()?;
    /// let mut text = String::new();
    /// child.take_stdout().unwrap().read_to_string(&mut text).unwrap();
    /// assert_eq!(text, "said\n");
    /// # child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Process<T> {
        self.stdio[1] = stdout.into();
        self
    }

    /// Sets the process's standard error: this process's, as it is at the start, unless set.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let log = std::env::temp_dir().join(format!("log-{}", std::process::id()));
    /// let file = std::fs::File::create(&log).unwrap();
    /// Process::new(|| eprintln!("started"), ()).stderr(file).start()?.join()?;
    /// assert_eq!(std::fs::read_to_string(&log).unwrap(), "started\n");
    /// # std::fs::remove_file(log).unwrap();
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Process<T> {
        self.stdio[2] = stderr.into();
        self
    }

    /// Runs the function on a stack of at least `bytes` bytes: in a thread of the process's name,
    /// for which the process waits. Unless set, the function runs on the main thread, whose stack
    /// the system's limit governs (`ulimit -s`, mostly 8 MiB).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn deep(levels: u64) -> u64 {
    ///     let block = std::hint::black_box([levels; 64]);
    ///     if levels == 0 { 0 } else { block[7] / levels + deep(levels - 1) }
    /// }
    ///
    /// let child = Process::new(deep, (50_000,)).stack_size(256 << 20).start()?;
    /// assert_eq!(child.join()?, 50_000);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Process<T> {
        self.spec.stack_size = Some(bytes as u64);
        self
    }

    /// Limits the length of what the function returns, encoded, in bytes: 1 GiB unless set, as for
    /// a message. The [`join`](crate::Child::join) of a longer one fails with
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

    /// Limits what [`Child::wait_with_output`](crate::Child::wait_with_output) gathers of each
    /// standard stream, in bytes; no limit unless set. When one has more, the process is killed,
    /// with everything that it started, and has failed with
    /// [`LimitReached::Output`](crate::LimitReached::Output).
    ///
    /// ```
    /// use multiproc::{LimitReached, Process};
    ///
    /// fn endless() {
    ///     loop { println!("again") }
    /// }
    ///
    /// let output = Process::new(endless, ()).max_output(1000).output()?;
    /// assert_eq!(output.stdout.len(), 1000);
    /// let error = output.result.unwrap_err();
    /// assert_eq!(error.limit(), Some(&LimitReached::Output(1000)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn max_output(mut self, bytes: u64) -> Process<T> {
        self.spec.max_output = Some(bytes);
        self
    }

    /// Kills the process when its [`Child`](crate::Child) is dropped while it runs, with everything
    /// that it started ([`kill_tree`](crate::Handle::kill_tree)), or lets it run on: false unless
    /// set.
    ///
    /// No zombie is left: the drop waits for the end for a millisecond, and has a thread take the
    /// status of a process that takes longer to die. It does not matter which handles there are,
    /// but for the `Child`. What the process left to itself is not found, as
    /// [`kill_tree`](crate::Handle::kill_tree) says. A forked copy of this program kills nothing.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let minute = std::time::Duration::from_secs(60);
    /// let child = Process::new(std::thread::sleep, (minute,)).kill_on_drop(true).start()?;
    /// let handle = child.handle();
    /// drop(child);
    /// assert_eq!(handle.join().unwrap_err().exitcode(), Some(-9));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn kill_on_drop(mut self, kill: bool) -> Process<T> {
        self.on_drop = if kill { OnDrop::Kill } else { OnDrop::Detach };
        self
    }

    /// Ends the process when this one ends, however that happens, or not: true unless set.
    ///
    /// What it starts by other means (`std::process::Command`) is not covered, nor is the process
    /// itself any more once it has executed another program in its own place or closed descriptors
    /// that are not its own.
    ///
    /// With `false`, it may outlive this process: it is neither terminated nor waited for at the
    /// end of this one. It can see the end of its parent with
    /// [`parent_process`](crate::parent_process).
    ///
    /// ```
    /// use multiproc::{Process, parent_process};
    ///
    /// fn outlives() -> bool {
    ///     parent_process().is_some_and(|parent| parent.is_alive())
    /// }
    ///
    /// let child = Process::new(outlives, ()).die_with_parent(false).start()?;
    /// assert!(child.join()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn die_with_parent(mut self, dies: bool) -> Process<T> {
        self.spec.dies_with_parent = dies;
        self
    }

    /// Ends the process with the program as daemons are, although it may have children: a worker of
    /// a pool.
    pub(crate) fn for_pool(mut self) -> Process<T> {
        self.spec.serves_pool = true;
        self
    }
}
