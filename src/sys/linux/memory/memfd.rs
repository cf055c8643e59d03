//! Memory files: files without a name, which live in memory only.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::sys::fd;
use crate::sys::resource::{self, Resource};

/// With these seals nobody can change a byte or the length any more, so reading cannot race or
/// raise SIGBUS (`F_ADD_SEALS`, `fcntl(2)`).
pub(super) const SEALED: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Makes a memory file of `length` bytes, all zero, which can be sealed. `name` is what `/proc`
/// shows. The kernel takes pages as they are written to.
///
/// # Errors
/// EFBIG beyond the limit of file sizes; EMFILE; ENOMEM.
pub(crate) fn create(name: &str, length: usize) -> io::Result<OwnedFd> {
    check_size(length as u64)?;
    let memory = create_empty(name)?;
    rustix::fs::ftruncate(&memory, length as u64)?;
    Ok(memory)
}

/// Makes a memory file of no length.
pub(crate) fn create_empty(name: &str) -> io::Result<OwnedFd> {
    fd::above_stdio(rustix::fs::memfd_create(
        name,
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?)
}

/// Seals a memory file, so that nobody can change a byte or the length any more.
///
/// # Errors
/// EBUSY if somebody has it mapped writable.
pub(crate) fn make_constant(memory: BorrowedFd<'_>) -> io::Result<()> {
    /// The kernel refuses as well while it holds a page for a reason of its own, though it waits
    /// for a moment (measured: once in some thousand times for big files, on a busy machine).
    const TRIES: u32 = 5;
    let mut tries = 0;
    loop {
        tries += 1;
        match rustix::fs::fcntl_add_seals(memory, SEALED) {
            Err(Errno::BUSY | Errno::INTR) if tries < TRIES => {}
            done => return Ok(done?),
        }
    }
}

/// An error if this process may not have files of `length` bytes: to try would be the death of it
/// (SIGXFSZ).
pub(crate) fn check_size(length: u64) -> io::Result<()> {
    if resource::soft(Resource::FileSize).is_some_and(|limit| length > limit) {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}
