//! Writable memory in a file that nobody else has, until it is frozen.
//!
//! A copy of this process is no owner of it, and must not see what this one writes; but references
//! that were handed out before (`&'static [T]` of a leaked buffer) must stay valid there. The
//! kernel offers no copy-on-write for a shared mapping, so memory that is in use when the library
//! copies the process is mapped privately first, at the same address, from the same file
//! ([`part_from_copies`]). From then on nobody writes to the file: a page that either process
//! writes to becomes its own, as with all other memory, and what is frozen later is a copy. A copy
//! that somebody else forks does not have the memory.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::frozen::Frozen;
use super::huge::{self, HUGE};
use super::read_map::ReadMap;
use super::{memfd, sealed};
use crate::sys::per_process::{Generation, PerProcess};

/// Memory of this process alone, as a box is of its owner.
#[derive(Debug)]
pub(crate) struct Exclusive {
    map: Arc<WriteMap>,
    owner: Generation,
}

/// A file mapped for writing.
#[derive(Debug)]
struct WriteMap {
    fd: Arc<OwnedFd>,
    start: NonNull<c_void>,
    length: usize,
    state: AtomicU8,
}

/// Mapped shared, so that what is written is in the file; kept from copies of this process.
const SHARED: u8 = 0;
/// As `SHARED`, and nobody has a reference to it, so a copy can do without it.
const UNUSED: u8 = 1;
/// Mapped privately: copies of this process have it, too, each as its own, and the file has what
/// was there before.
const PRIVATE: u8 = 2;

// SAFETY: the address of memory that has one owner, `Exclusive`, like a box; the rest is of such
// types.
unsafe impl Send for WriteMap {}
// SAFETY: as above; the memory is only written through exclusive references to the owner.
unsafe impl Sync for WriteMap {}

/// The mappings of this process that are not private, by their addresses.
static MAPPED: PerProcess<Mutex<BTreeMap<usize, Arc<WriteMap>>>> = PerProcess::new();

/// Maps all memory that is in use privately, before this process is copied: the copy then has a
/// copy of it.
///
/// # Errors
/// The kernel refuses. Nothing is lost then, but the process must not be copied: references to the
/// memory may be anywhere, and would lead nowhere in the copy.
pub(crate) fn part_from_copies() -> io::Result<()> {
    let Some(mapped) = MAPPED.get() else { return Ok(()) };
    let mut mapped = mapped.lock().unwrap_or_else(PoisonError::into_inner);
    for map in mapped.values() {
        if map.state.load(Ordering::Relaxed) == SHARED {
            map.make_private()?;
        }
    }
    mapped.retain(|_, map| map.state.load(Ordering::Relaxed) != PRIVATE);
    Ok(())
}

impl Exclusive {
    /// Makes memory of `length` bytes, at least one, all zero. The kernel takes pages as they are
    /// written to.
    ///
    /// # Errors
    /// No descriptor or memory is left; EFBIG beyond the limit of file sizes.
    pub(crate) fn create(length: usize) -> io::Result<Exclusive> {
        Exclusive::of(memfd::create("multiproc", length)?, length)
    }

    /// `create`, for memory that is going to be written to whole: it may have its pages already.
    pub(crate) fn create_to_fill(length: usize) -> io::Result<Exclusive> {
        let file = memfd::create("multiproc", length)?;
        huge::back(file.as_fd(), length);
        Exclusive::of(file, length)
    }

    /// Maps a file that nobody else has.
    fn of(file: OwnedFd, length: usize) -> io::Result<Exclusive> {
        let map = Arc::new(WriteMap::of(file, length)?);
        let exclusive = Exclusive { map: Arc::clone(&map), owner: Generation::current() };
        let mapped = MAPPED.get_or_init(|_| Mutex::default());
        mapped.lock().unwrap_or_else(PoisonError::into_inner).insert(map.address(), map);
        Ok(exclusive)
    }

    /// Returns its length in bytes.
    pub(crate) fn length(&self) -> usize {
        self.map.length
    }

    /// Returns `true` if the memory can be used by others later as if it were new: not once it is
    /// private, or in a copy.
    pub(crate) fn can_be_kept(&self) -> bool {
        self.is_ours() && self.map.state.load(Ordering::Relaxed) != PRIVATE
    }

    /// Marks it as not in use, so that copies of this process need not have it.
    pub(crate) fn rest(&self) {
        let _ =
            self.map.state.compare_exchange(SHARED, UNUSED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Marks it as in use again, before anybody has a reference to it.
    pub(crate) fn wake(&self) {
        let _ =
            self.map.state.compare_exchange(UNUSED, SHARED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Borrows the bytes.
    ///
    /// # Panics
    /// In a copy of the process whose it is.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.check_owner();
        // SAFETY: mapped until drop, in this very process and in the copies that the library makes
        // of it; nobody else has the memory or can change its length.
        unsafe { std::slice::from_raw_parts(self.map.start.as_ptr().cast(), self.map.length) }
    }

    /// Borrows the bytes to write to.
    ///
    /// # Panics
    /// As `bytes`.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.check_owner();
        // SAFETY: as in `bytes`; and this borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr().cast(), self.map.length) }
    }

    /// Makes the first `length` bytes, at least one, constant for ever; the others are gone. Memory
    /// that is private, or that somebody else still has mapped, is copied for that.
    ///
    /// 1. Take it off the list, so that it is not mapped privately any more.
    /// 2. Unmap it: the kernel seals only what nobody can write to through a mapping (EBUSY).
    /// 3. Cut the file, seal it.
    /// 4. Map it for reading.
    pub(crate) fn freeze(self, length: usize) -> io::Result<Frozen> {
        if !self.is_ours() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the memory belongs to another process",
            ));
        }
        // From here on, the state cannot change.
        self.unlist();
        if self.map.state.load(Ordering::Relaxed) == PRIVATE {
            // What was written since is not in the file, which a copy of this process may have
            // mapped.
            let copy = sealed::seal(&[&self.bytes()[..length]])?;
            return Frozen::open(Arc::new(copy));
        }
        let fd = Arc::clone(&self.map.fd);
        // The kernel seals what nobody can write to through a mapping.
        drop(self);
        rustix::fs::ftruncate(&fd, length as u64)?;
        match memfd::make_constant(fd.as_fd()) {
            Ok(()) => Frozen::open(fd),
            // Somebody still has it mapped: a copy that was forked before the kernel was told not
            // to give it, or a device that writes directly. They go on with this file, we with
            // another.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let map = ReadMap::of(&fd, length)?;
                // SAFETY: we have no writable mapping any more, and whoever has one does not know
                // of it.
                let copy = sealed::seal(&[unsafe { map.bytes() }])?;
                Frozen::open(Arc::new(copy))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if this process made it, and not one of which this is a copy.
    #[inline]
    fn is_ours(&self) -> bool {
        self.owner == Generation::current()
    }

    /// Panics in a copy of the process whose the memory is: there, something else may be at its
    /// address.
    #[inline]
    fn check_owner(&self) {
        assert!(
            self.is_ours(),
            "exclusive memory belongs to the process that this one is a forked copy of"
        );
    }

    /// Takes it from the list of mappings, so that it is not mapped privately any more.
    fn unlist(&self) {
        if self.is_ours()
            && let Some(mapped) = MAPPED.get()
        {
            mapped.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.map.address());
        }
    }
}

impl Drop for Exclusive {
    /// Unmaps the memory in its owner, and a private mapping in a copy, too.
    fn drop(&mut self) {
        self.unlist();
        // In a copy that does not have the memory, something else may be at this address.
        if self.is_ours() || self.map.state.load(Ordering::Relaxed) == PRIVATE {
            // SAFETY: this mapping is ours and no borrow of it outlives us; nobody maps it
            // privately any more.
            let _ = unsafe { rustix::mm::munmap(self.map.start.as_ptr(), self.map.length) };
        }
    }
}

impl WriteMap {
    /// All of a file, mapped shared. Not unmapped by its drop, but by its owner's.
    fn of(fd: OwnedFd, length: usize) -> io::Result<WriteMap> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &fd, 0)
        }?;
        let start =
            NonNull::new(start).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = WriteMap { fd: Arc::new(fd), start, length, state: AtomicU8::new(SHARED) };
        if let Err(error) = map.keep_from_copies() {
            // SAFETY: the mapping was made above, and nobody knows of it.
            let _ = unsafe { rustix::mm::munmap(start.as_ptr(), length) };
            return Err(error);
        }
        map.advise_huge();
        Ok(map)
    }

    /// Its address, by which it is in the list.
    fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// Maps the file again, privately, at the same address. Whoever uses the memory meanwhile sees
    /// no change.
    fn make_private(&self) -> io::Result<()> {
        // Not reserved: a big buffer of which little is written to is no reason to refuse.
        if let Err(error) = self.map_again(MapFlags::PRIVATE | MapFlags::NORESERVE) {
            // Kernels before 6.12 may have taken the mapping away before they refused. All that was
            // written is in the file.
            if self.map_again(MapFlags::SHARED).and_then(|()| self.keep_from_copies()).is_err() {
                // References to the memory would lead nowhere.
                std::process::abort();
            }
            return Err(error);
        }
        self.advise_huge();
        self.state.store(PRIVATE, Ordering::Relaxed);
        Ok(())
    }

    /// Maps the file over the mapping (`MAP_FIXED`).
    fn map_again(&self, flags: MapFlags) -> io::Result<()> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the range is our own mapping of the same file, which has the same bytes as long
        // as this mapping is shared; the kernel has accesses of other threads wait while it
        // replaces one by the other.
        unsafe {
            rustix::mm::mmap(
                self.start.as_ptr(),
                self.length,
                protection,
                flags | MapFlags::FIXED,
                &self.fd,
                0,
            )?;
        }
        Ok(())
    }

    /// Keeps the mapping out of copies that somebody else forks (`MADV_DONTFORK`).
    fn keep_from_copies(&self) -> io::Result<()> {
        // SAFETY: advice for our own mapping; it changes no byte.
        Ok(unsafe { rustix::mm::madvise(self.start.as_ptr(), self.length, Advice::LinuxDontFork) }?)
    }

    /// Asks for huge pages, where that is worth while.
    fn advise_huge(&self) {
        if self.length >= HUGE {
            // SAFETY: as above.
            let _ = unsafe {
                rustix::mm::madvise(self.start.as_ptr(), self.length, Advice::LinuxHugepage)
            };
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
        let _other =
            WriteMap::of(memory.map.fd.try_clone().expect("duplicate"), 4096).expect("map");
        let before = rustix::fs::fstat(&memory.map.fd).expect("stat").st_ino;
        let frozen = memory.freeze(4096).expect("freeze");
        assert_eq!(frozen.bytes()[0], 7);
        assert_ne!(rustix::fs::fstat(frozen.fd()).expect("stat").st_ino, before, "not a copy");
    }

    #[test]
    fn private_memory_goes_on_and_leaves_the_file_as_it_was() {
        let mut memory = Exclusive::create(3 * 4096).expect("create");
        memory.bytes_mut()[5000] = 7;
        memory.map.make_private().expect("map privately");
        assert!(!memory.can_be_kept());
        assert_eq!(memory.bytes()[4999..5002], [0, 7, 0]);
        memory.bytes_mut()[5001] = 8;
        let mut file = [0; 3];
        rustix::io::pread(&memory.map.fd, &mut file, 4999).expect("read");
        assert_eq!(file, [0, 7, 0], "what was written since is in the file");
        assert_eq!(memory.freeze(5002).expect("freeze").bytes()[4999..], [0, 7, 8]);
    }
}
