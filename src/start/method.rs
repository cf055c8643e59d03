//! The start methods, and which one a program uses.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Cause, Error, Result};
use crate::sys::per_process::PerProcess;

/// The way in which a child process is made.
///
/// ```
/// use multiproc::{Process, StartMethod};
///
/// assert_eq!(StartMethod::ALL[0], StartMethod::Forkserver); // the default comes first
/// assert_eq!("spawn".parse::<StartMethod>()?, StartMethod::Spawn);
/// let child = Process::new(|| (), ()).start_method(StartMethod::Spawn).start()?;
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartMethod {
    /// A fork server, a process of one thread that executes this program's file once, clones each
    /// child. The default: as fast as a fork from a tiny program, whatever the size of this one,
    /// and safe beside threads.
    Forkserver,
    /// Each child executes this program's file anew. Slower by an exec; nothing is shared with any
    /// other process.
    Spawn,
    /// The child is a copy of this process, its generators of random numbers included: each child
    /// draws what this process would draw next, so seed them anew. Refused while other threads
    /// exist.
    Fork,
}

/// The program's choice; children inherit it.
static CHOICE: PerProcess<Mutex<Option<StartMethod>>> = PerProcess::new();

/// This process's choice; a forked copy begins with its original's.
fn choice() -> &'static Mutex<Option<StartMethod>> {
    CHOICE.get_or_init(|before| {
        Mutex::new(before.and_then(|before| before.try_lock().ok().and_then(|choice| *choice)))
    })
}

/// Sets the start method of this program, once, before the first process uses it.
///
/// Children inherit it. CPython's `set_start_method(method)`.
///
/// # Errors
/// It was set before, or the default was used already: [`Error::is_method_set`].
///
/// ```
/// use multiproc::{StartMethod, start_method, set_start_method};
///
/// set_start_method(StartMethod::Spawn)?;
/// assert_eq!(start_method(), StartMethod::Spawn);
/// assert!(set_start_method(StartMethod::Fork).unwrap_err().is_method_set());
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn set_start_method(method: StartMethod) -> Result<()> {
    let mut choice = choice().lock().unwrap_or_else(PoisonError::into_inner);
    if choice.is_some() {
        return Err(Cause::MethodIsSet.into());
    }
    *choice = Some(method);
    Ok(())
}

/// Sets the start method of this program, whether it was set before or not; `None` leaves it open
/// again.
///
/// Processes that are started already are not affected. CPython's
/// `set_start_method(method, force=True)`.
///
/// ```
/// use multiproc::{StartMethod, force_start_method, start_method_if_set};
///
/// force_start_method(Some(StartMethod::Spawn));
/// force_start_method(Some(StartMethod::Fork));
/// assert_eq!(start_method_if_set(), Some(StartMethod::Fork));
/// force_start_method(None);
/// assert_eq!(start_method_if_set(), None);
/// ```
pub fn force_start_method(method: Option<StartMethod>) {
    *choice().lock().unwrap_or_else(PoisonError::into_inner) = method;
}

/// Returns the start method of this program. If none was set, this settles it as the default, so
/// that a later [`set_start_method`] fails.
///
/// CPython's `get_start_method()`.
///
/// ```
/// use multiproc::{StartMethod, set_start_method, start_method};
///
/// assert_eq!(start_method(), StartMethod::Forkserver);
/// assert!(set_start_method(StartMethod::Spawn).is_err());
/// ```
pub fn start_method() -> StartMethod {
    *choice().lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(StartMethod::ALL[0])
}

/// Returns the start method of this program, or `None` if neither a call nor a start of a process
/// has settled it.
///
/// CPython's `get_start_method(allow_none=True)`.
///
/// ```
/// use multiproc::{StartMethod, set_start_method, start_method_if_set};
///
/// assert_eq!(start_method_if_set(), None);
/// set_start_method(StartMethod::Spawn).unwrap();
/// assert_eq!(start_method_if_set(), Some(StartMethod::Spawn));
/// ```
#[must_use]
pub fn start_method_if_set() -> Option<StartMethod> {
    *choice().lock().unwrap_or_else(PoisonError::into_inner)
}

impl StartMethod {
    /// All start methods of this platform, the default first. CPython's
    /// `get_all_start_methods()`.
    pub const ALL: &'static [StartMethod] =
        &[StartMethod::Forkserver, StartMethod::Spawn, StartMethod::Fork];

    /// Returns CPython's name for it: `"forkserver"`, `"spawn"` or `"fork"`. [`FromStr`] parses the
    /// same names.
    ///
    /// ```
    /// use multiproc::StartMethod;
    ///
    /// let names: Vec<_> = StartMethod::ALL.iter().map(|method| method.name()).collect();
    /// assert_eq!(names, ["forkserver", "spawn", "fork"]);
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StartMethod::Forkserver => "forkserver",
            StartMethod::Spawn => "spawn",
            StartMethod::Fork => "fork",
        }
    }
}

impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for StartMethod {
    type Err = Error;

    fn from_str(name: &str) -> Result<StartMethod> {
        StartMethod::ALL
            .iter()
            .copied()
            .find(|method| method.name() == name)
            .ok_or_else(|| Cause::UnknownMethod(name.to_owned()).into())
    }
}
