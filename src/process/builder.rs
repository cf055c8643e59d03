//! A process that is not started yet: what it runs, and how it is started.
//!
//! # Order of a start
//! 1. Refuse what cannot be: a daemon's child, code of a library, arguments that could not be
//!    encoded.
//! 2. Make what the process needs: directory, streams, environment, lifeline.
//! 3. Arm this process's own end, and take the status of a few children that have ended.
//! 4. Keep a descriptor in reserve, so that the child can be waited for whatever comes.
//! 5. Launch, by the method.
//! 6. Keep what was given away with the arguments, enter the child into the registry, and begin to
//!    pass on what it says beside its result.
//!
//! A failure before 5 leaves nothing behind: directories and descriptors are dropped, and an end of
//! a pipe among the arguments is still this process's. Killed between 5 and 6, this process leaves
//! a child that its lifeline ends.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
#[cfg(feature = "cage")]
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::children::core::Description;
use super::children::handle::{self, Handle};
use super::children::{OnDrop, reaper, registry, removal};
use super::environment::EnvironmentChange;
use super::inside::{bootstrap, exit, hook};
use super::relaying::Relaying;
use super::work_dir::WorkDir;
use super::{Child, Run, run};
use crate::channel::buffered::MAX_MESSAGE;
use crate::codec::{self, Ends};
use crate::error::{Cause, Result, os};
use crate::identity;
use crate::log::LogSettings;
use crate::relay::reader;
use crate::start::fork;
use crate::start::method::{self, StartMethod};
use crate::start::preload;
use crate::start::stdio::{Pipes, Stdio, Streams};
use crate::start::wire::Job;
use crate::start::{Launched, Order, ProcessSpec, launch};
#[cfg(feature = "cage")]
use crate::sys::ipc::lifeline::PrivateLifeline;
use crate::sys::parcel::Parcel;
use crate::sys::process::clone::Promise;
use crate::sys::process::reserve;
use crate::sys::program::code::{Contentless, Crossing, Entry, FnPointer, Offset, Refusal};
use crate::sys::program::title;
use crate::target::{Captureless, Target, function_entry, pointer_entry};
use crate::trace_context;

/// A process that is not started yet: the function to run, and the way to run it.
///
/// [`start`](Process::start) makes a [`Child`] of it, which has the methods that only make sense
/// then; so starting one twice and joining one that was never started do not compile.
///
/// ```
/// use multiproc::Process;
///
/// fn worker(num: u32) -> u32 {
///     println!("Worker: {num}");
///     num
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let child = Process::new(worker, (3,)).name("third").daemon(true).start()?;
/// assert_eq!(child.join()?, 3);
/// # Ok(())
/// # }
/// ```
///
/// Every method that sets something can be called in any order; the last call of each counts.
#[must_use = "a process does nothing until it is started"]
pub struct Process<T> {
    work: Work,
    function: &'static str,
    pub(super) spec: ProcessSpec,
    pub(super) method: Option<StartMethod>,
    pub(super) environment: EnvironmentChange,
    pub(super) directory: Option<PathBuf>,
    /// Where a private directory is made: that for temporary files, when it was asked for.
    pub(super) temporary: Option<PathBuf>,
    pub(super) stdio: [Stdio; 3],
    pub(super) on_drop: OnDrop,
    pub(super) forwards_records: bool,
    result: PhantomData<fn() -> T>,
}

/// The work of a process.
enum Work {
    /// A function, by its entry, with its encoded arguments, or why they could not be.
    Entry(Entry, std::result::Result<(Parcel, Ends), String>),
    /// Anything, in a copy of this process.
    Closure(Closure),
}

type Closure = Box<dyn FnOnce() -> std::result::Result<Parcel, Refusal> + Send>;

impl<T: Serialize + DeserializeOwned> Process<T> {
    /// Makes a process that will run `target` with `args`, a tuple of 0 to 8 arguments. CPython's
    /// `Process(target=.., args=..)`.
    ///
    /// `target` is a `fn` or a closure that captures nothing: what it needs, it gets as arguments.
    /// These are encoded here and now, as CPython's are frozen, and decoded in the child; an
    /// argument that cannot be encoded is an error from [`start`](Process::start). (One that
    /// surprises: a `PathBuf` that is not UTF-8, which serde refuses; an `OsString` crosses
    /// whatever it holds. What some of serde's attributes ask of the format, `SelfDescribing`
    /// gives, with the feature `self-describing`.)
    ///
    /// A closure must not capture a copyable token without a size, which nothing can tell from no
    /// capture: see [`Target`](crate::Target#what-a-closure-must-not-capture).
    ///
    /// The process is called `Process-1` and so on, a child's child `Process-1:1`; the number is
    /// used up whether the process is started or not. It is a daemon if this process is.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn greet(name: String, times: usize) -> String {
    ///     vec![format!("hello {name}"); times].join(", ")
    /// }
    ///
    /// let process = Process::new(greet, ("bob".to_owned(), 2));
    /// assert_eq!(process.to_string(), "<Process(Process-1, initial)>");
    /// assert_eq!(process.start()?.join()?, "hello bob, hello bob");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new<F, Args>(target: F, args: Args) -> Process<T>
    where
        F: Target<Args, Output = T> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
    {
        let () = Contentless::<F>::PROOF;
        // Moved to the child, where it is made from nothing; so it must not be dropped here.
        mem::forget(target);
        Process::with(
            Work::Entry(function_entry::<F, Args>(), codec::encode_with_ends(&args)),
            type_name::<F>(),
            "Process".to_owned(),
        )
    }

    /// Makes a process that will run the function that `pointer` names, with `args`.
    ///
    /// [`Process::new`] wants to know the function when the program is compiled. This is for one
    /// that is chosen at run time: from a table, say. The pointer crosses as the distance of its
    /// function from a fixed place in the program's file, and is looked up there in the child,
    /// which runs the same file. So it must name a function of the program itself, not of a
    /// dynamic library: otherwise [`start`](Process::start) fails, under every start method, as it
    /// does for arguments that cannot be encoded.
    ///
    /// A pointer is only taken as a target: it cannot be an argument, a result or a message,
    /// because the receiver could not tell a forged one. For the same choice in a pool, send a
    /// value that names the function, an `enum` say, and match on it in the task.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn sum(numbers: Vec<u64>) -> u64 { numbers.iter().sum() }
    /// fn product(numbers: Vec<u64>) -> u64 { numbers.iter().product() }
    ///
    /// let table: [(&str, fn(Vec<u64>) -> u64); 2] = [("sum", sum), ("product", product)];
    /// let (_, chosen) = table[1];
    /// let child = Process::from_pointer(chosen, (vec![2, 3, 7],)).start()?;
    /// assert_eq!(child.join()?, 42);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn from_pointer<P, Args>(pointer: P, args: Args) -> Process<T>
    where
        P: Target<Args, Output = T> + FnPointer,
        Args: Serialize + DeserializeOwned,
    {
        let arguments = codec::encode_with_ends(&(Crossing(pointer), args));
        Process::with(
            Work::Entry(pointer_entry::<P, Args>(), arguments),
            type_name::<P>(),
            "Process".to_owned(),
        )
    }

    /// Makes a process that will run a closure with everything that it captured, in a copy of this
    /// process made by `fork(2)`.
    ///
    /// Nothing needs to be encoded but the result. Generators of random numbers go on from where
    /// they are here, in every such child the same; what must differ has to be seeded anew in the
    /// closure. Starting it is refused while this process has other threads: the copy would have
    /// none of them, but the locks that they held, for ever
    /// ([`start_unchecked`](Process::start_unchecked) does it all the same).
    ///
    /// References that the closure captures lead to the copy's own memory, which holds what it held
    /// at the start. The library sees to that for its own memory
    /// ([`SharedBuffer`](crate::SharedBuffer) included). It cannot for memory that other code maps
    /// so that a copy shares it (`MAP_SHARED`), does not have it or finds it wiped
    /// (`MADV_DONTFORK`, `MADV_WIPEONFORK`): if a crate gives references to such memory, do not use
    /// them in the child, of the fork method or, from a [preload
    /// function](crate::set_forkserver_preload), of the forkserver method.
    ///
    /// ```no_run
    /// use multiproc::Process;
    ///
    /// let numbers = vec![1, 2, 3];
    /// let child = Process::from_closure(move || numbers.iter().sum::<i32>()).start()?;
    /// assert_eq!(child.join()?, 6);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn from_closure<F>(closure: F) -> Process<T>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let work = move || codec::encode(&closure()).map_err(Refusal::Result);
        let mut process =
            Process::with(Work::Closure(Box::new(work)), type_name::<F>(), "Process".to_owned());
        process.method = Some(StartMethod::Fork);
        process
    }

    /// Makes a process for a type with `run`. It is named after the type.
    pub(super) fn of<W: Run<Output = T>>(this: W) -> Process<T> {
        let work = Work::Entry(run::entry::<W>(), codec::encode_with_ends(&this));
        Process::with(work, type_name::<W>(), run::kind::<W>().to_owned())
    }

    /// Common part of all constructors: the next number among this process's children is used up
    /// here.
    fn with(work: Work, function: &'static str, kind: String) -> Process<T> {
        let current = identity::current();
        let path = current.next_path();
        let name = identity::default_name(&kind, &path);
        let mut spec = ProcessSpec::new(kind, name, path, MAX_MESSAGE);
        spec.daemon = current.daemon;
        Process {
            work,
            function,
            spec,
            method: None,
            environment: EnvironmentChange::default(),
            directory: None,
            temporary: None,
            stdio: [Stdio::null(), Stdio::inherit(), Stdio::inherit()],
            on_drop: OnDrop::Detach,
            forwards_records: false,
            result: PhantomData,
        }
    }
}

impl<T> Process<T> {
    /// Returns the name that the process will have. (`get_`, as `name` sets it: like
    /// `std::process::Command`.)
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// assert_eq!(Process::new(|| (), ()).get_name(), "Process-1");
    /// assert_eq!(Process::new(|| (), ()).name("my service").get_name(), "my service");
    /// ```
    #[must_use]
    pub fn get_name(&self) -> &str {
        &self.spec.name
    }

    /// Returns `true` if it will be a daemon. CPython's `daemon`, before the start.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// assert!(!Process::new(|| (), ()).is_daemon());
    /// assert!(Process::new(|| (), ()).daemon(true).is_daemon());
    /// ```
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.spec.daemon
    }

    /// Returns false, as CPython's `is_alive()` does before the start.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// assert!(!Process::new(|| (), ()).is_alive());
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        false
    }

    /// Starts the process, and returns before its function runs. CPython's `start()`.
    ///
    /// With the feature `tracing`, the child is a span `process` of the level info until its end is
    /// seen, within the span that is current here; one event of the level error tells of a failure.
    ///
    /// The first start with the forkserver method also starts the fork server, which takes some
    /// milliseconds.
    ///
    /// # Errors
    /// This process is a daemon; it has left its process namespace for its children; the arguments
    /// cannot be encoded; the function is code of a library; the system lacks descriptors,
    /// processes or memory; fork beside other threads; the fork server or its preload function
    /// failed.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let children: Vec<_> = (0..3_u32)
    ///     .map(|number| Process::new(|number: u32| number * number, (number,)).start())
    ///     .collect::<Result<_, _>>()?;
    /// let squares: Result<Vec<_>, _> = children.iter().map(|child| child.join()).collect();
    /// assert_eq!(squares?, [0, 1, 4]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn start(self) -> Result<Child<T>> {
        self.start_with(None)
    }

    /// The steps of a start; `promise` is the caller's word for a fork beside other threads.
    pub(super) fn start_with(self, promise: Option<Promise>) -> Result<Child<T>> {
        bootstrap::refuse_while_bootstrapping()?;
        let method = self.method.unwrap_or_else(method::start_method);
        let on_drop = self.on_drop;
        let Ready { order, work, description, relaying } = self.ready(method)?;
        exit::arm();
        registry::sweep();
        reserve::keep().map_err(os("cannot keep a descriptor in reserve"))?;
        // Last of all: whatever could fail before has not.
        let mut launched = match method {
            StartMethod::Fork if exit::is_leaving() => return Err(Cause::Exiting.into()),
            StartMethod::Fork => {
                // A fork has to be alone.
                removal::finish(exit::REMOVAL);
                reaper::finish(exit::REMOVAL);
                let _silence = reader::silence(exit::REMOVAL);
                start_fork(order, promise, work.entry, work.closure)?
            }
            StartMethod::Forkserver | StartMethod::Spawn => launch(order, method)?,
        };
        work.ends.keep();
        let mut pipes = Pipes::default();
        let [_, stdout, stderr] = &mut launched.pipes.0;
        (pipes.0[1], pipes.0[2]) = (stdout.take(), stderr.take());
        let core = registry::add(description, launched);
        relaying.begin(&core, &mut pipes)?;
        let [_, stdout, stderr] = pipes.0;
        Ok(Child::new(Handle::new(core), [stdout, stderr], on_drop))
    }

    /// Steps 1 and 2: checks everything, and makes what the process and its handles need.
    fn ready(self, method: StartMethod) -> Result<Ready> {
        if identity::current().daemon {
            return Err(Cause::DaemonHasNoChildren.into());
        }
        let mut environment = self.environment;
        // A worker's tasks bring their own.
        if !self.spec.serves_pool
            && let Some(context) = trace_context::to_pass_on()
        {
            environment.set_default(trace_context::VARIABLE, &context);
        }
        let mut environment = environment.apply()?;
        let mut work = self.work.ready(self.function, method)?;
        #[cfg_attr(
            not(feature = "cage"),
            expect(unused_mut, reason = "a cage gets the private directory")
        )]
        let mut spec = self.spec;
        spec.check().map_err(Cause::BadInput)?;
        let work_dir = WorkDir::make(&spec, self.directory, self.temporary, &mut environment)?;
        #[cfg(feature = "cage")]
        if let (Some(cage), Some(own)) = (&mut spec.cage, &work_dir.private) {
            *cage = mem::take(cage).write(own.path());
        }
        let mut stdio = self.stdio;
        let relaying = Relaying::prepare(&mut stdio, self.forwards_records, &mut work.arguments)?;
        #[cfg_attr(not(feature = "cage"), expect(unused_mut, reason = "a cage parts them"))]
        let mut streams = Streams::open(stdio)?;
        #[cfg(feature = "cage")]
        let has_own_streams = spec.is_caged() && streams.part()?;
        #[cfg(feature = "cage")]
        let (own_lifeline, lifeline) = own_lifeline(&spec)?;
        let order = Order {
            job: Job {
                records: relaying.wanted(),
                #[cfg(feature = "cage")]
                has_own_streams,
                ..job(spec.clone(), work.offset, method)
            },
            arguments: mem::take(&mut work.arguments),
            streams,
            #[cfg(feature = "cage")]
            lifeline,
            environment,
            directory: work_dir.directory,
        };
        let description = Description {
            spec,
            function: self.function,
            private_dir: work_dir.private,
            #[cfg(feature = "cage")]
            lifeline: own_lifeline,
        };
        Ok(Ready { order, work, description, relaying })
    }
}

/// The message of a process of this description, with what it has of this one as that is now.
fn job(spec: ProcessSpec, entry: Option<Offset>, method: StartMethod) -> Job {
    let current = identity::current();
    Job {
        spec,
        entry,
        program: title::program().to_owned(),
        parent_name: current.name(),
        parent_pid: current.pid,
        method,
        log: LogSettings::now(),
        records: None,
        decode_limits: codec::decode_limits(),
        preload: preload::current(),
        environment: None,
        streams: [false; 3],
        directory: false,
        #[cfg(feature = "cage")]
        has_own_streams: false,
    }
}

/// A process that has only to be launched: what is sent, what is run, and how it is entered.
struct Ready {
    order: Order,
    work: ReadyWork,
    description: Description,
    relaying: Relaying,
}

/// Makes both ends of a lifeline for a process in a cage: this program's, and the process's.
#[cfg(feature = "cage")]
fn own_lifeline(spec: &ProcessSpec) -> Result<(Option<PrivateLifeline>, Option<OwnedFd>)> {
    if !spec.is_caged() {
        return Ok((None, None));
    }
    let made =
        PrivateLifeline::new().map_err(os("cannot open a lifeline for a process in a cage"))?;
    Ok((Some(made.0), Some(made.1)))
}

/// The work of a process, as a start method takes it.
struct ReadyWork {
    entry: Option<Entry>,
    /// Where the entry is, for a process that executes this program's file.
    offset: Option<Offset>,
    arguments: Parcel,
    /// The ends of pipes among the arguments, given away once the process is launched.
    ends: Ends,
    closure: Option<Closure>,
}

impl Work {
    /// Refuses what cannot be run by this method.
    fn ready(self, function: &'static str, method: StartMethod) -> Result<ReadyWork> {
        let (entry, (arguments, ends), closure) = match self {
            Work::Entry(entry, Ok(arguments)) => (Some(entry), arguments, None),
            Work::Entry(_, Err(reason)) => {
                return Err(
                    Cause::Encode { what: format!("the arguments of {function}"), reason }.into()
                );
            }
            Work::Closure(_) if method != StartMethod::Fork => {
                let text = format!("{function} captures variables, so it can only be forked");
                return Err(Cause::BadInput(text).into());
            }
            Work::Closure(closure) => (None, Default::default(), Some(closure)),
        };
        let offset = entry.and_then(Offset::of);
        if method != StartMethod::Fork {
            hook::check()?;
            if offset.is_none() {
                return Err(Cause::ForeignCode { function: function.to_owned() }.into());
            }
        }
        Ok(ReadyWork { entry, offset, arguments, ends, closure })
    }
}

/// Forks. The copy goes through `bootstrap` and never returns from this function; only the parent
/// does.
fn start_fork(
    order: Order,
    promise: Option<Promise>,
    entry: Option<Entry>,
    closure: Option<Closure>,
) -> Result<Launched> {
    fork::launch(order, promise, (entry, closure), |order, link, ready, work| {
        let Order { job, mut arguments, .. } = order;
        let records = job.records.and_then(|wanted| Some((arguments.fds.pop()?, wanted)));
        bootstrap::live_as_fork(&job, link, records, ready, move || match work {
            (_, Some(closure)) => closure(),
            (Some(entry), None) => entry(&arguments.bytes, arguments.fds),
            (None, None) => Err(Refusal::Arguments("there is nothing to run".into())),
        })
    })
}

impl<T> fmt::Display for Process<T> {
    /// `<Process(Process-1, initial)>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        handle::print(f, &self.spec.kind, &self.spec.name, "initial", self.spec.daemon)
    }
}

impl<T> fmt::Debug for Process<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
