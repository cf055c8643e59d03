//! The one place where panics are caught.
//!
//! A panic hook, in children, writes `Process NAME:` before the panic's own text, and remembers
//! text, place and backtrace in a thread-local; `catch` picks them up on the same thread. A panic
//! that cannot be caught (a second one in a destructor, `panic = "abort"`) aborts the process after
//! the hook: so the hook tells a witness first, which reports it to the parent.
//!
//! The hook runs in a thread that panics, with any of the user's locks held: it takes none but by
//! `try_lock`, and never panics itself.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::identity;

/// A panic that ended a function in a child.
///
/// ```
/// use multiproc::Process;
///
/// fn divide(a: i32, b: i32) -> i32 {
///     a / b
/// }
///
/// let error = Process::new(divide, (1, 0)).start()?.join().unwrap_err();
/// let panic = error.panic().expect("a panic");
/// assert_eq!(panic.message(), "attempt to divide by zero");
/// assert!(panic.location().is_some_and(|location| location.line() > 0));
/// assert!(panic.to_string().starts_with("attempt to divide by zero, at "));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    message: String,
    location: Option<Location>,
    backtrace: Option<String>,
}

/// Where a panic happened: file, line and column of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    file: String,
    line: u32,
    column: u32,
}

impl Panic {
    /// Returns the text that the panic was raised with; a replacement, if its value is no text.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn divide(a: i32, b: i32) -> i32 {
    ///     a / b
    /// }
    ///
    /// let error = Process::new(divide, (1, 0)).start()?.join().unwrap_err();
    /// let panic = error.panic().expect("a panic");
    /// assert_eq!(panic.message(), "attempt to divide by zero");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns where it happened; `None` if the function replaced the panic hook.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn divide(a: i32, b: i32) -> i32 {
    ///     a / b
    /// }
    ///
    /// let error = Process::new(divide, (1, 0)).start()?.join().unwrap_err();
    /// let panic = error.panic().expect("a panic");
    /// let location = panic.location().expect("a place");
    /// assert!(location.file().ends_with(".rs"));
    /// assert!(location.line() >= 1 && location.column() >= 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// Returns the calls that led there, if the child's environment asked for them
    /// (`RUST_BACKTRACE=1`).
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn fails() {
    ///     panic!("no luck");
    /// }
    ///
    /// let process = Process::new(fails, ()).env("RUST_BACKTRACE", "1");
    /// let error = process.start()?.join().unwrap_err();
    /// assert!(error.panic().and_then(|panic| panic.backtrace()).is_some());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.location {
            Some(location) => write!(f, ", at {location}"),
            None => Ok(()),
        }
    }
}

impl Location {
    /// Returns the source file, as the compiler was given it.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn divide(a: i32, b: i32) -> i32 {
    ///     a / b
    /// }
    ///
    /// let error = Process::new(divide, (1, 0)).start()?.join().unwrap_err();
    /// let place = error.panic().and_then(|panic| panic.location()).expect("a place");
    /// assert!(place.file().ends_with(".rs"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line, from 1.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn divide(a: i32, b: i32) -> i32 {
    ///     a / b
    /// }
    ///
    /// let error = Process::new(divide, (1, 0)).start()?.join().unwrap_err();
    /// let place = error.panic().and_then(|panic| panic.location()).expect("a place");
    /// assert!(place.line() >= 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the column, from 1.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// fn divide(a: i32, b: i32) -> i32 {
    ///     a / b
    /// }
    ///
    /// let error = Process::new(divide, (1, 0)).start()?.join().unwrap_err();
    /// let place = error.panic().and_then(|panic| panic.location()).expect("a place");
    /// assert_eq!(place.column(), 5); // of `a / b`
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

thread_local! {
    /// The last panic of this thread, as the hook saw it.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A function that is told of a panic that nothing can catch.
type Witness = Arc<dyn Fn(Panic) + Send + Sync>;

/// The one witness of this process; a child's report.
static WITNESS: Mutex<Option<Witness>> = Mutex::new(None);

/// Calls `witness` with the panic when one is about to abort this process, in the thread that
/// panicked.
pub(crate) fn on_abort(witness: Option<Witness>) {
    *WITNESS.lock().unwrap_or_else(PoisonError::into_inner) = witness;
}

/// The function that names the task that this thread runs for a pool.
static TASK: OnceLock<fn() -> Option<String>> = OnceLock::new();

/// Makes the texts of panics name the task that `task` says their thread runs.
pub(crate) fn name_tasks(task: fn() -> Option<String>) {
    let _ = TASK.set(task);
}

/// Returns what panicked: `Process NAME`, and its task if it runs one.
fn who() -> String {
    let process = identity::current().name();
    match TASK.get().and_then(|task| task()) {
        Some(task) => format!("Process {process}, task {task}"),
        None => format!("Process {process}"),
    }
}

/// Precedes every panic in this process, a child, by `Process NAME:` on standard error, and
/// remembers where it was.
///
/// Once is enough: a forked child of a child has the hook already.
pub(crate) fn install_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // (A fork from a panic hook or from a destructor that a panic runs must do without.)
    if std::thread::panicking() || INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Before anything is written: what is written may panic, too.
        let aborting = remember(info);
        // One write, so that lines of several processes do not mix. A closed standard error is no
        // reason to stop.
        let _ = std::io::stderr().write_all(format!("{}:\n", who()).as_bytes());
        previous(info);
        if let Some(panic) = aborting {
            let witness = WITNESS.try_lock().ok().and_then(|witness| witness.clone());
            if let Some(witness) = witness {
                witness(panic);
            }
        }
    }));
}

/// The texts that the standard library panics with when a panic must not go on: it calls the hook
/// once more, and aborts.
const CANNOT_UNWIND: [&str; 2] =
    ["panic in a function that cannot unwind", "panic in a destructor during cleanup"];

/// The text with which it panics, and aborts, where a debug build finds unsafe code at fault.
const UNSOUND: &str = " precondition(s) violated";

/// Remembers a panic for `catch`; gives it if it is about to abort this process.
fn remember(info: &PanicHookInfo<'_>) -> Option<Panic> {
    let message = text(info.payload());
    if CANNOT_UNWIND.contains(&message.as_str()) {
        // What is to be told is the panic that came before.
        let last = LAST.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten();
        return Some(last.unwrap_or(Panic { message, location: None, backtrace: None }));
    }
    let location = info.location().map(|location| Location {
        file: location.file().to_owned(),
        line: location.line(),
        column: location.column(),
    });
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let aborts = cfg!(panic = "abort") || message.contains(UNSOUND);
    let panic = Panic { message, location, backtrace };
    if aborts {
        return Some(panic);
    }
    // Neither a panic in a destructor of this very thread-local nor one while it is borrowed may
    // become another.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(panic);
        }
    });
    None
}

/// A panic that is to go on when something has been put in order.
pub(crate) struct Held(Box<dyn Any + Send>);

impl Held {
    pub(crate) fn go_on(self) -> ! {
        panic::resume_unwind(self.0)
    }

    /// It does not go on.
    pub(crate) fn into_text(self) -> String {
        let text = text(&*self.0);
        // Its destructor is the user's, and could panic again.
        std::mem::forget(self.0);
        text
    }
}

/// Calls `f`; holds a panic in it.
pub(crate) fn hold<T>(f: impl FnOnce() -> T) -> Result<T, Held> {
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(Held)
}

/// Calls `f`; a panic in it becomes an error.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let message = text(&*payload);
        // Its destructor is the user's, and could panic again.
        std::mem::forget(payload);
        let last = LAST.try_with(|last| last.take()).ok().flatten();
        let (location, backtrace) =
            last.map_or((None, None), |last| (last.location, last.backtrace));
        Panic { message, location, backtrace }
    })
}

/// The text of a panic's value.
fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic with a value that is no text".to_owned()
    }
}
