//! One descriptor in reserve: a program that has none left must still be able to join its children.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::fd;
use crate::sys::per_process::PerProcess;

static RESERVE: PerProcess<Mutex<Option<OwnedFd>>> = PerProcess::new();

fn reserve() -> MutexGuard<'static, Option<OwnedFd>> {
    RESERVE.get_or_init(|_| Mutex::new(None)).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that there is a reserve.
pub(crate) fn keep() -> io::Result<()> {
    let mut reserve = reserve();
    if reserve.is_none() {
        *reserve = Some(fd::null()?);
    }
    Ok(())
}

/// Returns whether an error is a lack of descriptors.
pub(crate) fn is_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Does `f` with the room of the reserve. It must not wait for anybody, and leave no descriptor
/// open.
pub(crate) fn spend<T>(f: impl FnOnce() -> T) -> T {
    let mut reserve = reserve();
    *reserve = None;
    let done = f();
    *reserve = fd::null().ok();
    done
}
