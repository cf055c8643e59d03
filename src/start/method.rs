//! The start methods, and which one a program uses.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Cause, Error, Result};
use crate::sys::per_process::PerProcess;

/// Describes how a child is made.
///
/// ```
/// use multiproc::{Process, StartMethod, get_all_start_methods};
///
/// assert_eq!(get_all_start_methods()[0], StartMethod::Forkserver); // the default comes first
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

const ALL: [StartMethod; 3] = [StartMethod::Forkserver, StartMethod::Spawn, StartMethod::Fork];

/// The program's choice; children inherit it.
static CHOICE: PerProcess<Mutex<Option<StartMethod>>> = PerProcess::new();

fn choice() -> &'static Mutex<Option<StartMethod>> {
    CHOICE.get_or_init(|before| {
        Mutex::new(before.and_then(|before| before.try_lock().ok().and_then(|choice| *choice)))
    })
}

/// All start methods of this platform, the default first.
#[must_use]
pub fn get_all_start_methods() -> &'static [StartMethod] {
    &ALL
}

/// Sets the start method of this program, once, before the first process uses it.
///
/// # Errors
/// It was set before, or the default was used already: [`Error::is_method_set`].
///
/// ```
/// use multiproc::{StartMethod, get_start_method, set_start_method};
///
/// set_start_method(StartMethod::Spawn)?;
/// assert_eq!(get_start_method(), StartMethod::Spawn);
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
/// CPython's `set_start_method(method, force=True)`.
pub fn force_start_method(method: Option<StartMethod>) {
    *choice().lock().unwrap_or_else(PoisonError::into_inner) = method;
}

/// The start method of this program; if none was set, the default is from now on.
pub fn get_start_method() -> StartMethod {
    *choice().lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(ALL[0])
}

/// The start method of this program, if it is settled already. CPython's
/// `get_start_method(allow_none=True)`.
#[must_use]
pub fn get_start_method_if_set() -> Option<StartMethod> {
    *choice().lock().unwrap_or_else(PoisonError::into_inner)
}

impl StartMethod {
    /// Its name, as CPython's.
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
        ALL.into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| Cause::UnknownMethod(name.to_owned()).into())
    }
}
