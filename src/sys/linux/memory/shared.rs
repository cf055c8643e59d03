//! Memory that several processes have mapped writable, in a memory file that passes by descriptor.
//!
//! There are no references to it but to atomics: another process may change any byte at any time,
//! and what is read twice may differ. Whoever reads copies first and checks then.

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use rustix::fs::{FallocateFlags, Mode, OFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::huge::HUGE;
use super::memfd;
use crate::sys::fd;

/// Nobody can change the length, so no access inside it can raise SIGBUS; and nobody can add more
/// seals.
const SEALED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Types that may lie in memory that other processes write to at any time.
///
/// # Safety
/// It consists of atomics only, in a layout fixed by `repr(C)`: any bytes are a value of it.
pub unsafe trait Layout {}

// SAFETY: an atomic, of which any bytes are a value.
unsafe impl Layout for AtomicU8 {}
// SAFETY: as above.
unsafe impl Layout for AtomicU16 {}
// SAFETY: as above.
unsafe impl Layout for AtomicU32 {}
// SAFETY: as above.
unsafe impl Layout for AtomicU64 {}
// SAFETY: as above.
unsafe impl Layout for AtomicUsize {}
// SAFETY: as above.
unsafe impl Layout for AtomicI8 {}
// SAFETY: as above.
unsafe impl Layout for AtomicI16 {}
// SAFETY: as above.
unsafe impl Layout for AtomicI32 {}
// SAFETY: as above.
unsafe impl Layout for AtomicI64 {}
// SAFETY: as above.
unsafe impl Layout for AtomicIsize {}
// SAFETY: an array has nothing but its elements.
unsafe impl<T: Layout, const N: usize> Layout for [T; N] {}

/// A memory file of fixed length, for several processes to write to.
#[derive(Clone, Debug)]
pub(crate) struct SharedFile {
    fd: Arc<OwnedFd>,
    length: usize,
}

impl SharedFile {
    /// Makes one, all zero. `name` is for those who look into `/proc`. The kernel takes pages as
    /// they are written to.
    pub(crate) fn create(name: &str, length: usize) -> io::Result<SharedFile> {
        let file = SharedFile::create_unsealed(name, length)?;
        rustix::fs::fcntl_add_seals(&file.fd, SEALED)?;
        Ok(file)
    }

    /// Makes one whose seals are the caller's business.
    pub(crate) fn create_unsealed(name: &str, length: usize) -> io::Result<SharedFile> {
        Ok(SharedFile { fd: Arc::new(memfd::create(name, length)?), length })
    }

    /// Takes one that somebody sent.
    ///
    /// # Errors
    /// It is no memory file, could change its length, or has huge pages.
    pub(crate) fn open(fd: Arc<OwnedFd>) -> io::Result<SharedFile> {
        let seals = seals(fd.as_fd())?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(refused("shared memory that could change its length"));
        }
        check_ordinary(fd.as_fd())?;
        let length =
            usize::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(|_| refused("no length"))?;
        Ok(SharedFile { fd, length })
    }

    /// The same memory, by a descriptor that can only be read from: the kernel does not map that
    /// one writable. Nor can anybody open the memory anew for writing, who may not change its mode.
    pub(crate) fn read_only(&self) -> io::Result<SharedFile> {
        self.open_to_read(Mode::RUSR)
    }

    /// `read_only` of memory with a name, by which this user's processes open it for writing.
    pub(crate) fn read_only_by_name(&self) -> io::Result<SharedFile> {
        self.open_to_read(Mode::RUSR | Mode::WUSR)
    }

    /// Opens the file anew for reading (`/proc/self/fd`), after taking from others what `mode` does
    /// not have.
    fn open_to_read(&self, mode: Mode) -> io::Result<SharedFile> {
        // Of memory that everybody may open, any user could have another descriptor from this one.
        let _ = rustix::fs::fchmod(&self.fd, mode);
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let fd = fd::above_stdio(rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)?;
        Ok(SharedFile { fd: Arc::new(fd), length: self.length })
    }

    /// Returns the file.
    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Returns `true` if `other` is the same file, by another descriptor perhaps.
    pub(crate) fn is_same(&self, other: &SharedFile) -> bool {
        let identity = |file: &SharedFile| {
            rustix::fs::fstat(&file.fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
        };
        Arc::ptr_eq(&self.fd, &other.fd)
            || identity(self).is_some_and(|own| identity(other) == Some(own))
    }

    /// Returns its length in bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Takes the memory for a part now (`fallocate(2)`), so that writing there cannot fail later.
    ///
    /// # Errors
    /// ENOSPC, ENOMEM.
    pub(crate) fn reserve(&self, offset: usize, length: usize) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(
                &self.fd,
                FallocateFlags::empty(),
                offset as u64,
                length as u64,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Gives the memory of a part back (`FALLOC_FL_PUNCH_HOLE`); it is zero from then on.
    pub(crate) fn release(&self, offset: usize, length: usize) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.fd, flags, offset as u64, length as u64)?)
    }

    /// Maps a part; `offset` is a multiple of the page size.
    pub(crate) fn map(&self, offset: usize, length: usize) -> io::Result<Shared> {
        self.map_with(ProtFlags::READ | ProtFlags::WRITE, offset, length)
    }

    /// Maps all of it for reading: to store to a cell of it would be a crash.
    pub(crate) fn map_to_read(&self) -> io::Result<Shared> {
        self.map_with(ProtFlags::READ, 0, self.length)
    }

    /// `mmap(2)`, of a part inside the file.
    fn map_with(&self, protection: ProtFlags, offset: usize, length: usize) -> io::Result<Shared> {
        if length == 0 || offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(refused("a part beyond the end of shared memory"));
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                &self.fd,
                offset as u64,
            )
        }?;
        let start =
            NonNull::new(start).ok_or_else(|| refused("the kernel mapped memory at zero"))?;
        Ok(Shared { start, length, is_kept: false })
    }

    /// Maps all of it.
    pub(crate) fn map_all(&self) -> io::Result<Shared> {
        self.map(0, self.length)
    }
}

/// Returns the seals of a memory file; anything else is refused (EINVAL of `F_GET_SEALS`).
pub(crate) fn seals(fd: BorrowedFd<'_>) -> io::Result<SealFlags> {
    rustix::fs::fcntl_get_seals(fd)
        .map_err(|_| refused("what came in place of shared memory is no memory file"))
}

/// Refuses memory files of huge pages: to touch one when there is none left is the signal SIGBUS.
pub(crate) fn check_ordinary(fd: BorrowedFd<'_>) -> io::Result<()> {
    let kind = rustix::fs::fstatfs(fd)?.f_type;
    if kind == libc::TMPFS_MAGIC {
        Ok(())
    } else {
        Err(refused("shared memory of an unusual kind"))
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Mapped memory that other processes may write to at any time. It is used through cells only.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<c_void>,
    length: usize,
    /// It stays mapped when this is dropped.
    is_kept: bool,
}

// SAFETY: memory that is only accessed through atomics, unmapped only by the owner's drop.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Returns the cells at `offset`.
    ///
    /// # Panics
    /// They are not inside, or not aligned: a mistake of ours, as sizes were checked when the
    /// memory came.
    pub(crate) fn at<T: Layout>(&self, offset: usize) -> &T {
        &self.many::<T>(offset, 1)[0]
    }

    /// `count` times the cells, from `offset` on.
    ///
    /// # Panics
    /// As `at`.
    pub(crate) fn many<T: Layout>(&self, offset: usize, count: usize) -> &[T] {
        let end = count.checked_mul(size_of::<T>()).and_then(|size| size.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.length), "outside of shared memory");
        assert!(
            offset.is_multiple_of(align_of::<T>()) && align_of::<T>() <= 4096,
            "unaligned in shared memory"
        );
        // SAFETY: inside the mapping, which lives as long as the borrow, and aligned (the mapping
        // begins with a page). Any bytes are a value of `T`, and as it consists of atomics, changes
        // by others are no race.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().byte_add(offset).cast(), count) }
    }

    /// Keeps it mapped for ever: the kernel knows an address in it, which whoever forgot a guard
    /// does not take back.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// The addresses.
    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.start.addr().get();
        start..start + self.length
    }

    /// Asks for huge pages, where the kernel is set up to give them.
    pub(crate) fn advise_huge(&self) {
        if self.length >= HUGE {
            // SAFETY: advice for our own mapping; it changes no byte.
            let _ = unsafe {
                rustix::mm::madvise(self.start.as_ptr(), self.length, Advice::LinuxHugepage)
            };
        }
    }

    /// The address, for those who promise more than cells need.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }
}

impl Drop for Shared {
    /// Unmaps the memory, unless it is to be kept.
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // SAFETY: this mapping is ours, and neither a borrow of it nor an address that the kernel
        // knows outlives us.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_see_the_same_cells() {
        let file = SharedFile::create("test", 8192).expect("create");
        let (one, other) = (file.map_all().expect("map"), file.map(4096, 4096).expect("map"));
        one.at::<AtomicU64>(4096 + 8).store(7, Ordering::Relaxed);
        assert_eq!(other.many::<AtomicU64>(0, 2)[1].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn memory_that_could_shrink_is_refused() {
        let file = SharedFile::create_unsealed("test", 4096).expect("create");
        assert!(SharedFile::open(Arc::clone(file.fd())).is_err());
        let (read, _write) = fd::pipe().expect("pipe");
        assert!(SharedFile::open(Arc::new(read)).is_err());
        let file = SharedFile::create("test", 4096).expect("create");
        assert!(rustix::fs::ftruncate(file.fd(), 0).is_err(), "sealed memory shrank");
        assert_eq!(SharedFile::open(Arc::clone(file.fd())).expect("open").length(), 4096);
        assert!(file.map(4096, 1).is_err());
    }

    #[test]
    fn what_was_released_is_zero() {
        let file = SharedFile::create("test", 1 << 40).expect("create");
        let part = 1 << 30;
        file.reserve(part, 4096).expect("reserve");
        let mapped = file.map(part, 4096).expect("map");
        mapped.at::<AtomicU64>(0).store(7, Ordering::Relaxed);
        file.release(part, 4096).expect("release");
        assert_eq!(mapped.at::<AtomicU64>(0).load(Ordering::Relaxed), 0);
    }
}
