//! Writable memory in a file that nobody else has, until it is frozen.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::frozen::Frozen;
use super::memory;
use super::per_process::Generation;
use super::read_map::ReadMap;

/// From here on, huge pages can be had.
const HUGE: usize = 2 << 20;

/// Memory of this process alone. A forked copy does not have it: it is not mapped there, and access panics.
#[derive(Debug)]
pub(crate) struct Exclusive {
    fd: OwnedFd,
    map: WriteMap,
}

impl Exclusive {
    /// `length` bytes, at least one, all zero. Memory is taken as it is written to.
    pub(crate) fn create(length: usize) -> io::Result<Exclusive> {
        let fd = memory::create("multiproc", length)?;
        let map = WriteMap::of(&fd, length)?;
        Ok(Exclusive { fd, map })
    }

    pub(crate) fn length(&self) -> usize {
        self.map.length
    }

    /// Whether this is the process that has it, and no copy of that.
    pub(crate) fn is_ours(&self) -> bool {
        self.map.is_ours()
    }

    /// # Panics
    /// In a forked copy of the process whose it is.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.check_owner();
        // SAFETY: mapped until drop, in this very process; nobody else has the memory or can change its length.
        unsafe { std::slice::from_raw_parts(self.map.start.as_ptr().cast(), self.map.length) }
    }

    /// # Panics
    /// As `bytes`.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.check_owner();
        // SAFETY: as in `bytes`; and this borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr().cast(), self.map.length) }
    }

    /// Makes the first `length` bytes, at least one, constant for ever; the others are gone.
    pub(crate) fn freeze(self, length: usize) -> io::Result<Frozen> {
        if !self.is_ours() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the memory belongs to another process"));
        }
        let Exclusive { fd, map } = self;
        // The kernel seals what nobody can write to through a mapping.
        drop(map);
        rustix::fs::ftruncate(&fd, length as u64)?;
        match memory::make_constant(fd.as_fd()) {
            Ok(()) => Frozen::open(Arc::new(fd)),
            // Somebody still has it mapped: a copy that was forked before the kernel was told not to give it, or a device
            // that writes directly. They go on with this file, we with another.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let map = ReadMap::of(&fd, length)?;
                // SAFETY: we have no writable mapping any more, and whoever has one does not know of it.
                let copy = memory::seal(&[unsafe { map.bytes() }])?;
                Frozen::open(Arc::new(copy))
            }
            Err(error) => Err(error),
        }
    }
}

/// A file mapped for writing, in one process.
#[derive(Debug)]
struct WriteMap {
    start: NonNull<c_void>,
    length: usize,
    owner: Generation,
}

// SAFETY: memory of which this value is the only owner, like a box.
unsafe impl Send for WriteMap {}
// SAFETY: as above; it is written through exclusive references only.
unsafe impl Sync for WriteMap {}

impl WriteMap {
    fn of(fd: impl AsFd, length: usize) -> io::Result<WriteMap> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, fd, 0) }?;
        let start = NonNull::new(start).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = WriteMap { start, length, owner: Generation::current() };
        // SAFETY: advice for our own mapping: copies of this process are not to have it.
        unsafe { rustix::mm::madvise(start.as_ptr(), length, Advice::LinuxDontFork) }?;
        if length >= HUGE {
            // SAFETY: advice for our own mapping; it changes no byte.
            let _ = unsafe { rustix::mm::madvise(start.as_ptr(), length, Advice::LinuxHugepage) };
        }
        Ok(map)
    }

    #[inline]
    fn is_ours(&self) -> bool {
        self.owner == Generation::current()
    }

    #[inline]
    fn check_owner(&self) {
        assert!(self.is_ours(), "exclusive memory belongs to the process that this one is a forked copy of");
    }
}

impl Drop for WriteMap {
    fn drop(&mut self) {
        // In a copy, something else may be at this address.
        if self.is_ours() {
            // SAFETY: this mapping is ours and no borrow of it outlives us.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn frozen_memory_is_what_was_written_and_stays() {
        let mut memory = Exclusive::create(10_000).expect("create");
        memory.bytes_mut()[4] = 7;
        let frozen = memory.freeze(5).expect("freeze");
        assert_eq!(frozen.bytes(), [0, 0, 0, 0, 7]);
        let path = format!("/proc/self/fd/{}", frozen.fd().as_raw_fd());
        let mut file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
        assert!(io::Write::write_all(&mut file, b"x").is_err(), "frozen memory was written to");
        assert!(file.set_len(0).is_err(), "frozen memory shrank");
    }

    #[test]
    fn memory_that_somebody_has_mapped_is_copied() {
        let mut memory = Exclusive::create(4096).expect("create");
        memory.bytes_mut()[0] = 7;
        let _other = WriteMap::of(&memory.fd, 4096).expect("map");
        let before = rustix::fs::fstat(&memory.fd).expect("stat").st_ino;
        let frozen = memory.freeze(4096).expect("freeze");
        assert_eq!(frozen.bytes()[0], 7);
        assert_ne!(rustix::fs::fstat(frozen.fd()).expect("stat").st_ino, before, "not a copy");
    }
}
