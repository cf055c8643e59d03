//! Files mapped for reading. Whoever borrows the bytes promises that nobody changes the file.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

/// A file mapped for reading.
#[derive(Debug)]
pub(crate) struct ReadMap {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: read-only memory, unmapped only by the owner's drop.
unsafe impl Send for ReadMap {}
// SAFETY: as above; nothing is written through it.
unsafe impl Sync for ReadMap {}

impl ReadMap {
    /// Maps `length` bytes; pages are mapped as they are read.
    pub(crate) fn of(fd: impl AsFd, length: usize) -> io::Result<ReadMap> {
        // Private: the kernel counts a shared mapping among those that could write, and would not
        // seal (before Linux 6.7).
        ReadMap::with(MapFlags::PRIVATE, fd, length)
    }

    /// Maps `length` bytes, all pages at once, as all are about to be read.
    pub(crate) fn populated(fd: impl AsFd, length: usize) -> io::Result<ReadMap> {
        ReadMap::with(MapFlags::PRIVATE | MapFlags::POPULATE, fd, length)
    }

    /// `mmap(2)` at an address of the kernel's choice.
    fn with(flags: MapFlags, fd: impl AsFd, length: usize) -> io::Result<ReadMap> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ, flags, fd, 0)
        }?;
        let at_zero =
            || io::Error::new(io::ErrorKind::InvalidData, "the kernel mapped memory at zero");
        let start = NonNull::new(start).ok_or_else(at_zero)?;
        Ok(ReadMap { start, length })
    }

    /// Borrows the bytes.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes are mapped readable at `start` until drop; the caller promises the
        // rest.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length) }
    }
}

impl Drop for ReadMap {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours and no borrow of it outlives us.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.length) };
    }
}
