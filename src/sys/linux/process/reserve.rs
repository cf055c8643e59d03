//! One descriptor in reserve: a program that has none left must still be able to join its children.
//!
//! Taking a child's status takes a pidfd, and reading its report may bring a descriptor. Other code
//! of the program that has used up the limit would otherwise leave zombies that nobody can take.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::fd;
use crate::sys::per_process::PerProcess;

/// A forked copy begins without: its first start of a process fills it.
static RESERVE: PerProcess<Mutex<Option<OwnedFd>>> = PerProcess::new();

/// Locks this process's reserve.
fn reserve() -> MutexGuard<'static, Option<OwnedFd>> {
    RESERVE.get_or_init(|_| Mutex::new(None)).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that there is a reserve.
///
/// # Errors
/// EMFILE.
pub(crate) fn keep() -> io::Result<()> {
    let mut reserve = reserve();
    if reserve.is_none() {
        *reserve = Some(fd::null()?);
    }
    Ok(())
}

/// Returns `true` if an error is a lack of descriptors: of this process (EMFILE) or of the system
/// (ENFILE).
pub(crate) fn is_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Does `f` with the room of the reserve, then fills it again. `f` must not wait for anybody, and
/// leave no descriptor open. Another thread may be quicker to take the room: then `f` fails as
/// before.
pub(crate) fn spend<T>(f: impl FnOnce() -> T) -> T {
    let mut reserve = reserve();
    *reserve = None;
    let done = f();
    *reserve = fd::null().ok();
    done
}
