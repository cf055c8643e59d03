//! Run Rust functions in processes, as easily as in threads: Python's `multiprocessing`, for code
//! that can crash, leak, hang, eat memory or be hostile, and that a program must be able to end and
//! survive.
//!
//! ```
//! use multiproc::Process;
//!
//! fn worker(num: u32) -> u32 {
//!     println!("Worker: {num}");
//!     num * num
//! }
//!
//! fn main() -> multiproc::Result<()> {
//!     let child = Process::new(worker, (7,)).start()?;
//!     assert_eq!(child.join()?, 49);
//!     Ok(())
//! }
//! ```
//!
//! No macro, no attribute, no call at the beginning of `main`: the same lines work in a program, in
//! a `#[test]`, in a doc test (this is one), in an example and in a benchmark.
//!
//! # What it gives
//! - [`Process`]: a function or a closure without captures, with 0 to 8 arguments that serde can
//!   encode, or a type with [`Run`]. Its [`start`](Process::start) gives a [`Child`], whose
//!   [`join`](Child::join) gives the typed result or says how the process failed: a panic with its
//!   message and place, an exit code, a signal ([`Failure`]). Errors that serde does not know
//!   (`anyhow`, [`std::io::Error`]) cross by `?`, as [`PortableError`].
//! - Three [start methods](StartMethod). The default, a fork server, clones children from a small
//!   process of one thread: as fast as a fork of a tiny program, however large this one is and
//!   however many threads it has.
//! - Ends that hold: children end with this program, however it ends, SIGKILL included, also when
//!   they are stuck in a computation ([`die_with_parent`](Process::die_with_parent)). At a normal
//!   end, daemons are terminated and the others joined. [`stop`](Handle::stop) asks, then insists;
//!   [`kill_tree`](Handle::kill_tree) takes along what the process started, and
//!   [`kill_on_drop`](Process::kill_on_drop) does so when the [`Child`] is dropped.
//! - Shared memory: [`SharedSlice`], which nobody can change any more and all read without copies,
//!   made in a [`SharedBuffer`]; [`SharedMemory`] and [`SharedArray`], which all write to;
//!   [`ShareableList`] for mixed small values. All cross as arguments and results. Whatever another
//!   process does to them is an error here, never undefined behaviour.
//! - Messages: [`pipe`] and [`connection`], as fast as memory; [`Queue`], [`JoinableQueue`] and
//!   [`SimpleQueue`] for many who put and many who get; the halves of a queue ([`Queue::split`]),
//!   of which each side learns when the other is gone; [`Listener`] and [`connect`] for programs
//!   that do not know each other. Ends of all of them, locks, files and sockets ([`Descriptor`])
//!   cross as arguments, results and inside messages. All have one family of errors: [`SendError`]
//!   and [`RecvError`] of calls that wait, and those of their `try_` and `_timeout` forms.
//! - Locks for threads and processes alike: [`Lock`], [`RLock`], [`RwLock`], [`Semaphore`],
//!   [`BoundedSemaphore`], [`Condition`], [`Event`], [`Barrier`]. A process that is killed while it
//!   holds, waits, puts or gets leaves them usable: a lock tells its next owner
//!   ([`AcquireError::Poisoned`]), permits come back, barriers break, a queue loses the one value
//!   that was in the dead one's hand.
//! - [`Pool`]: many tasks on a few processes, which survives whatever they do. A task fails alone,
//!   with the reason ([`TaskError`]); deadlines, retries, cancelling, chunks by themselves, handles
//!   that are futures. With the feature `tracing`, tasks are spans, and what workers say is in
//!   them ([`PoolBuilder::forward_logs`]). On any iterator in one line:
//!   [`process_map`](ProcessMap::process_map).
//! - [`Limits`] for processes, pools and tasks, [deadlines](Process::deadline), and, with the
//!   feature `cage`, a cage for hostile code: no network, no files but those named, no new
//!   processes. The error names the limit that was hit ([`LimitReached`]).
//! - With the feature `async`, futures under any executor: `child.await` and `task.await`; `Async`
//!   around an end of a channel, a queue, a listener or a set, with `Stream` and `Sink`;
//!   `Tasks::stream`, whose inputs and outcomes are streams.
//! - What children log in the program's own logger ([`Process::forward_logs`]), and what they write
//!   line by line with their name before it ([`Stdio::lines`]); the context of a trace goes along
//!   with children and tasks ([`set_trace_context`]).
//! - Names, [`current_process`], [`parent_process`], [`active_children`], [`log_to_stderr`];
//!   [`wait`] for many at once: ends of processes, values, [`Room`] for values, tasks; a
//!   [`WaitSet`] for many thousands, again and again, [`Writable`] ends among them.
//!
//! # What it does not do
//! - Without a cage, it is no sandbox: a child may do whatever this user may. It shields the
//!   program from a child's faults, not the system from its malice.
//! - A child is not a thread: it has its own copy of all statics, as they are at a program's start
//!   (with the fork server, as the [preload function](set_forkserver_preload) left them), and gets
//!   values only as arguments.
//! - A closure that captures a copyable value without a size cannot be refused: [`Target`] says
//!   what follows from that.
//! - No async runtime inside; the [`sentinel`](Handle::sentinel) of a process and the descriptors
//!   of pipes, queues and listeners work with any.
//! - It does not run code of dynamic libraries in other processes, except by fork. The same holds
//!   for a process with rights that its real user has not (set-user-id, file capabilities): what
//!   that executes does not trust its environment.
//! - A stack overflow ends a child by SIGSEGV, without the message that `main`'s threads print.
//!
//! # Before `main`
//! A child executes this program's file; an initialiser that the linker puts before `main` sees a
//! private environment variable, runs the function in place of `main`, and exits. So, in a child of
//! the forkserver and spawn methods, `main` has not run: what it sets up (a logger, a runtime,
//! command-line options) is not there. `std::env::args` gives one argument, the title that `ps`
//! shows. What the program's file does at start-up (the loader, other initialisers) happens in
//! children, too: with the fork server once for all of them, and what it leaves in memory, they
//! share.
//!
//! # What a child has
//! | | forkserver | spawn | fork |
//! |---|---|---|---|
//! | memory | the fork server's | new | a copy of the caller's |
//! | standard output and error, directory, environment | the caller's at the start | the same | the same |
//! | standard input | `/dev/null`, unless [set](Process::stdin) | the same | the same |
//! | other open files | none | none | the caller's, its ends of other children's pipes included |
//! | user, groups, capabilities, root folder, seccomp filters | the caller's at the start | the same | the same |
//! | umask, limits, priority, affinity, namespaces, Landlock rules, security labels, bounding set | the caller's at the first start, or after [`restart_forkserver`] | the caller's | the caller's |
//! | generators of random numbers | those of threads: new; in statics: as a [preload function](set_forkserver_preload) left them | new | the caller's: children draw the same numbers |
//! | signals | default; what the program ignored at its first start stays ignored | default; what it ignores at the start stays so | the caller's |
//!
//! # Coverage and profiles
//! What children run counts in a program that is built for coverage (`cargo llvm-cov`) or for a
//! profile (PGO), with every start method: each process writes what it counted when its function
//! returns or panics, or it leaves by `exit`, and the fork server what a preload function counted.
//! What a signal ends (`terminate`, `kill`, a deadline or another limit) has written nothing. A
//! process in a cage needs the right to write to the folder of these files (`.write(folder)`);
//! without it, LLVM's runtime complains on standard error, and its counts are lost. Where the
//! pattern `LLVM_PROFILE_FILE` is relative, it is meant from the directory in which the process
//! ends.
//!
//! # Platforms
//! Linux 5.4 and newer, 64-bit, with `/proc`; tested on x86-64 with glibc. On Linux 6.5 and newer,
//! a running child costs this process one descriptor, before that two. Elsewhere, a clear compile
//! error.
//!
//! Those who share a lock or a queue must be in one process namespace: the kernel knows owners by
//! their numbers there. Before Linux 5.16, who waits for something that others may die with looks
//! after them up to fifty times a second. Before 5.17, two deaths at one instant may leave somebody
//! asleep who waits without a time-out: the kernel's own list had that gap.
//!
//! # Coming from Python
//! | Python | here |
//! |---|---|
//! | `Process(target=f, args=(a,))` | [`Process::new(f, (a,))`](Process::new); for a function chosen at run time, [`Process::from_pointer`] |
//! | `name=`, `daemon=` | [`.name(..)`](Process::name), [`.daemon(..)`](Process::daemon) |
//! | `p.start()` | [`.start()?`](Process::start): consumes the process, gives a [`Child`] |
//! | `p.join()`, `p.join(1)` | [`.join()`](Child::join), [`.join_timeout(..)`](Child::join_timeout), [`.try_join()`](Child::try_join): with the result |
//! | `p.is_alive()`, `p.exitcode`, `p.pid`, `p.name`, `p.daemon` | the methods of these names: [`Handle`] |
//! | `p.terminate()`, `p.kill()`, `p.interrupt()` | the same, and [`.stop(..)`](Handle::stop), [`.kill_tree()`](Handle::kill_tree) |
//! | `p.sentinel`, `multiprocessing.connection.wait` | [`.sentinel()`](Handle::sentinel), [`wait`] |
//! | `selectors.DefaultSelector()` | [`WaitSet`] |
//! | `subprocess.run(.., capture_output=True)` | [`.output()`](Process::output) |
//! | `p.close()` | [`.close()`](Child::close), or drop it |
//! | `class Worker(Process)` with `run` | a type that implements [`Run`] |
//! | `current_process()`, `parent_process()`, `active_children()`, `cpu_count()` | [`current_process`], [`parent_process`], [`active_children`], [`cpu_count`] |
//! | `set_start_method(m)`, `force=True` | [`set_start_method`], [`force_start_method`] |
//! | `get_start_method()`, `allow_none=True` | [`start_method`], [`start_method_if_set`] |
//! | `get_all_start_methods()`, `get_context(m)` | [`StartMethod::ALL`], [`Context::new(m)`](Context::new) |
//! | `set_forkserver_preload([..])` | [`set_forkserver_preload`]: a function |
//! | `log_to_stderr(level)`, `get_logger()` | [`log_to_stderr`] (without a level: [`Level::NotSet`]), [`get_logger`]; for your own records, the `log` crate |
//! | `SharedMemory(create=True, size=n)` | [`SharedMemory::new(n)`](SharedMemory::new), passed as an argument; or [`create_unique`](SharedMemory::create_unique) |
//! | `SharedMemory(name, create=True, size=n)`, `SharedMemory(name)` | [`SharedMemory::create_named`], [`SharedMemory::attach`] |
//! | `shm.buf[i:j]`, `shm.close()`, `shm.unlink()` | [`read_at`](SharedMemory::read_at) and [`write_at`](SharedMemory::write_at), drop it, [`unlink`](SharedMemory::unlink) |
//! | `ShareableList([..])` | [`ShareableList::new`] |
//! | `RawArray('i', n)`, `RawArray('i', [..])` | [`SharedArray::new`], [`SharedArray::from_slice`] |
//! | a numpy array in shared memory | [`SharedSlice`], or [`SharedArray`] |
//! | `atexit.register`, `util.Finalize` | [`at_exit`] |
//! | `sys.exit(n)` in a child | `std::process::exit(n)`, with all of a positive `n` |
//! | `os.fork` and a closure | [`Process::from_closure`] |
//! | `freeze_support()`, `if __name__ == '__main__'`, `set_executable` | not needed |
//! | `Pipe(duplex=False)`, `Pipe()` | [`pipe`], [`connection`] |
//! | `Queue(n)`, `JoinableQueue(n)`, `SimpleQueue()` | [`Queue::bounded`], or for 0 [`Queue::new`]; [`JoinableQueue`], [`SimpleQueue`] |
//! | `q.put(x)`, `put_nowait`, `put(x, timeout=t)`, and `get` | [`put`](Queue::put), [`try_put`](Queue::try_put), [`put_timeout`](Queue::put_timeout), and `get` |
//! | `q.qsize()`, `q.empty()`, `q.full()`, `maxsize` | [`len`](Queue::len), [`is_empty`](Queue::is_empty), [`is_full`](Queue::is_full), [`capacity`](Queue::capacity) |
//! | `queue.Full`, `queue.Empty` | [`TrySendError::Full`], [`SendTimeoutError::Timeout`]; [`TryRecvError::Empty`], [`RecvTimeoutError::Timeout`] |
//! | `queue.ShutDown`, `EOFError`, `BrokenPipeError` | `Disconnected` of [`RecvError`] and [`SendError`] |
//! | `q.close()`, `q.join_thread()`, `queue.shutdown()` | drop it, not needed, [`Queue::shutdown`] |
//! | `Lock()`, `RLock()`, `with lock:` | [`Lock`], [`RLock`], `let _guard = lock.acquire()?;` |
//! | `lock.acquire(block=False)`, `acquire(timeout=t)`, `release()` | [`try_acquire`](Lock::try_acquire), [`acquire_timeout`](Lock::acquire_timeout), drop the guard |
//! | `Semaphore(n)`, `BoundedSemaphore(n)`; `acquire`, `release` as signals | [`Semaphore`], [`BoundedSemaphore`]; [`Permit::forget`], [`Semaphore::release`] |
//! | `Condition()`, `Event()`, `Barrier(n, action)` | [`Condition`], [`Event`], [`Barrier`] with [`wait_with`](Barrier::wait_with) |
//! | `Value('i', 0)`, `with v.get_lock(): v.value += 1` | [`SharedValue::new(0)`](SharedValue::new), `*v.lock()? += 1` |
//! | `Array('i', n)` | [`SharedArray`] and a [`Lock`] beside it |
//! | `multiprocessing.connection.Listener`, `Client` | [`Listener`], [`connect`], [`Client`] |
//! | `conn.send`, `recv`, `poll`, `send_bytes`, `recv_bytes`, `recv_bytes_into` | the methods of these names: [`Connection`] |
//! | `authkey` | [`ListenerBuilder::key`], [`Client::key`]; processes themselves need none: none is reached by an address |
//! | `Pool(n)`, `Pool(initializer=f, initargs=a, maxtasksperchild=k)` | [`Pool::new`], [`Pool::builder`] |
//! | `apply`, `map`, `imap`; `apply_async` | the methods of these names: [`Pool`]; [`submit`](Pool::submit) |
//! | `map_async`, `starmap`, `starmap_async`, `imap_unordered` | the methods of these names: [`Tasks`], which [`Pool::tasks`] gives |
//! | `chunksize=`, `callback=` | [`Tasks::chunk_size`], [`Task::on_done`] |
//! | `result.get(timeout)`, `ready()`, `wait(t)` | [`Task::join_timeout`], [`is_ready`](Task::is_ready), [`wait`](Task::wait) |
//! | `close`, `terminate`, `join`, `with Pool() as pool:` | the same, [`PoolBuilder::scope`] |
//! | `resource.setrlimit` in a child | [`Process::limits`] |
//! | a file or a socket as an argument, `reduction.DupFd` | [`Descriptor`] |

#[cfg(feature = "async")]
mod aio;
#[cfg(feature = "cage")]
mod cage;
mod channel;
mod codec;
mod error;
#[cfg(multiproc_fuzz)]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod limits;
mod log;
mod pool;
mod process;
#[cfg(doctest)]
mod readme;
mod relay;
mod shm;
mod signal;
mod start;
mod sync;
mod sys;
mod target;
mod text;
#[cfg(feature = "tracing")]
mod trace;
mod trace_context;
mod unwind;

#[cfg(feature = "async")]
pub use aio::{Async, ByteStream, Exited, Joining};
/// The crate whose trait `Pod` says which types are plain bytes.
pub use bytemuck;
#[cfg(feature = "cage")]
pub use cage::Cage;
pub use channel::{
    AcceptError, Address, AuthenticationError, Client, ConnectError, Connection,
    ConnectionIntoIter, ConnectionIter, Descriptor, JoinableQueue, JoinableQueueIntoIter,
    JoinableQueueIter, Listener, ListenerBuilder, Queue, QueueIntoIter, QueueIter, QueueReceiver,
    QueueReceiverIntoIter, QueueReceiverIter, QueueSender, Receiver, ReceiverIntoIter,
    ReceiverIter, RecvError, RecvIntoError, RecvTimeoutError, Room, SendError, SendTimeoutError,
    Sender, SimpleQueue, TryRecvError, TrySendError, Writable, connect, connection,
    connection_with_capacity, pipe, pipe_with_capacity,
};
#[cfg(feature = "self-describing")]
pub use codec::SelfDescribing;
pub use codec::{DecodeLimits, decode_limits, set_decode_limits};
pub use error::{Error, Failure, JoinError, PortableError, RemoteError, Result, TaskError};
pub use limits::{LimitReached, Limits};
pub use log::{Level, LogRecord, Logger, get_logger, log_to_stderr};
#[cfg(feature = "async")]
pub use pool::OutcomeStream;
pub use pool::{
    CurrentTask, IMap, MapTask, Outcomes, Pool, PoolBuilder, PoolStats, ProcessMap, Progress,
    Retry, Task, Tasks, TimedOut, WorkerStats, Workplace, current_task, with_worker_state,
    worker_id,
};
#[doc(hidden)]
pub use pool::{elsewhere, station};
pub use process::{
    AddError, Child, Context, CurrentProcess, Handle, Output, ParentProcess, Process, Run,
    StillRunning, WaitSet, Waitable, active_children, at_exit, at_forkserver_child, cpu_count,
    current_process, parent_process, restart_forkserver, set_forkserver_preload, wait,
};
pub use relay::Line;
pub use shm::{
    Access, Atomic, Item, ListError, OutOfBounds, ReadOnly, ReadWrite, SetError, ShareableList,
    SharedArray, SharedBuffer, SharedMemory, SharedSlice,
};
pub use signal::Signal;
pub use start::method::{
    StartMethod, force_start_method, set_start_method, start_method, start_method_if_set,
};
pub use start::stdio::Stdio;
pub use sync::{
    AcquireError, Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, LockGuard,
    Permit, Poisoned, RLock, RLockGuard, ReadGuard, RwLock, Semaphore, SharedValue,
    SharedValueGuard, WriteGuard,
};
pub use sys::program::code::FnPointer;
#[doc(hidden)]
pub use target::Captureless;
pub use target::Target;
pub use trace_context::{set_trace_context, trace_context};
pub use unwind::{Location, Panic};
