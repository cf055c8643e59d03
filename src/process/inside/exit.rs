//! The end of a process: what happens when `main` returns, or anybody calls `process::exit`.
//!
//! `arm` registers `leaving` with the C library (`on_exit(3)` or `atexit(3)`), so that every way
//! out but a signal and `_exit` leads through `wind_down`. That does, once:
//!
//! 1. The program's finalizers, the last registered first.
//! 2. Shut the fork server down: what it holds may be the descriptors that the next steps need.
//! 3. SIGTERM to all daemons; then wait for each, all together 3 seconds, and SIGKILL.
//! 4. Wait for the other children, without limit, as CPython does.
//! 5. Wait for private directories that are being removed, 30 seconds at the most.
//!
//! A process that is killed instead does none of this. Its children end by the lifeline;
//! directories are left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::parentage;
use crate::log::get_logger;
use crate::process::children::core::Core;
use crate::process::children::{registry, removal};
use crate::signal::Signal;
use crate::start::forkserver;
use crate::start::wire::Report;
use crate::sys::parcel::Parcel;
use crate::sys::per_process::PerProcess;
use crate::sys::process::exit as sys;
use crate::sys::program::profile;
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// Time between SIGTERM and SIGKILL for daemons at the end of the program, all together.
const GRACE: Duration = Duration::from_secs(3);

/// Time that the program waits, at its end and before a fork, for private directories that are
/// being removed.
pub(crate) const REMOVAL: Duration = Duration::from_secs(30);

/// The duties of this process at its end.
#[derive(Default)]
struct Ending {
    /// It has begun: whoever comes second does nothing.
    done: AtomicBool,
    finalizers: Mutex<Vec<Finalizer>>,
}

type Finalizer = Box<dyn FnOnce() + Send>;

/// A forked copy has nothing to end.
static ENDING: PerProcess<Ending> = PerProcess::new();

/// This process's; a forked copy begins anew.
fn ending() -> &'static Ending {
    // A forked copy has nothing to end: not what its original started, nor what that registered.
    ENDING.get_or_init(|_| Ending::default())
}

/// Makes this process wind down when it leaves by `exit`. Several calls register once.
pub(crate) fn arm() {
    ending();
    sys::at_exit(leaving);
}

/// Does the same in a forked child, in front of all that its parent registered: what comes after
/// it, the child does not run.
pub(crate) fn arm_first() {
    sys::at_exit(leaving);
    sys::at_exit_first();
}

/// Runs `f` when this process ends: after the return from `main` or from the function of a child,
/// after a panic that nobody caught, and in `process::exit`; not when a signal ends it. The last
/// registered runs first. CPython's `atexit.register` and `util.Finalize`.
///
/// Children do not inherit it, by no start method. (CPython: `atexit`, and `util.Finalize`.)
///
/// ```
/// use multiproc::{Process, at_exit};
///
/// fn worker() {
///     at_exit(|| println!("cleaned up"));
/// }
///
/// Process::new(worker, ()).start()?.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn at_exit(f: impl FnOnce() + Send + 'static) {
    arm();
    ending().finalizers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(f));
}

/// Ends what this process started, in CPython's order and with its log lines. Only the first call
/// does.
pub(crate) fn wind_down() {
    if ending().done.swap(true, Ordering::AcqRel) {
        return;
    }
    get_logger().info("process shutting down");
    get_logger().debug("running all \"atexit\" finalizers with priority >= 0");
    run_finalizers();
    // Before the children, for what it holds: to wait for a child may take a descriptor, and there
    // may be no other left.
    forkserver::shut_down();
    registry::sweep();
    let children = registry::tied();
    for child in children.iter().filter(|child| child.spec.ends_with_parent()) {
        get_logger().info(format_args!("calling terminate() for daemon {}", child.name()));
        let _ = child.signal(Signal::TERM);
    }
    // Daemons first: another child may be waiting for one of them to end.
    // Counted from the first wait, one time for all of them.
    let mut grace = None;
    for daemon in children.iter().filter(|child| child.spec.ends_with_parent()) {
        put_down(daemon, *grace.get_or_insert_with(|| Deadline::after(GRACE)));
    }
    // Those that are no daemons are waited for as long as they like: CPython joins them, too.
    for child in &children {
        get_logger().info(format_args!("calling join() for process {}", child.name()));
        if !child.spec.ends_with_parent() {
            // One that reads it to its end would wait for us as we do for it.
            drop(child.take_stdin());
            let _ = child.wait(Deadline::Never);
        }
    }
    removal::finish(REMOVAL);
    get_logger().debug("running the remaining \"atexit\" finalizers");
}

/// Runs the last registered first, also those that others register meanwhile. The lock is not held
/// while one runs.
fn run_finalizers() {
    loop {
        let last = ending().finalizers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(finalizer) = last else { return };
        // One that panics does not keep the others from running; the hook has shown it.
        let _ = unwind::catch(finalizer);
    }
}

/// Waits for a daemon that was terminated; kills it when the grace is over.
fn put_down(daemon: &Arc<Core>, grace: Deadline) {
    // One that we may not kill (it is another user's than we are by now) ends with us.
    if matches!(daemon.wait(grace), Ok(None)) && daemon.signal(Signal::KILL).is_ok() {
        let _ = daemon.wait(Deadline::Never);
    }
}

/// Returns `true` if the C library is at its exit handlers, in which a forked child's `exit` would
/// not do what it says.
pub(crate) fn is_leaving() -> bool {
    LEAVING.load(Ordering::Relaxed)
}

/// Set once the exit handlers run; a copy that is forked from one of them is leaving, too.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// The exit handler. `code` is what the process exits with, where the C library tells (glibc does).
///
/// In a child it also reports the code, if nothing was reported: `process::exit` in the function. A
/// copy (fork, clone) leaves here and does not run the handlers that its original registered.
fn leaving(code: Option<i32>) {
    // Nothing may unwind into the C library.
    let _ = unwind::catch(|| {
        if ENDING.get().is_none() && parentage::current().is_none() {
            // Nothing of ours in this process: a copy that the program forked.
            return;
        }
        LEAVING.store(true, Ordering::Relaxed);
        wind_down();
        let Some(parentage) = parentage::current() else { return };
        if let Some(code) = code
            && !parentage.has_reported()
        {
            get_logger().info(format_args!("process exiting with exitcode {code}"));
            parentage.report(&Report::Exiting(code), &Parcel::default());
        }
        if parentage.is_copy {
            // What this process registered for its end has run. What comes now, its original did:
            // in a fork, it would undo the parent's work; in a clone of the fork server, it is
            // clean-up of memory that goes the next moment, and costs a third of all the page
            // faults of its life.
            sys::flush_c_streams();
            // Where the C library does not tell the code, the rest has to run.
            if let Some(code) = code {
                profile::write();
                sys::now(code);
            }
        }
    });
}

/// Leaves this process, a child that has wound down and reported.
pub(crate) fn leave(code: i32) -> ! {
    std::process::exit(code)
}
