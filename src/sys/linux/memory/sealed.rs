//! Sealed memory files: big messages, which a socket could not take without blocking.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::SealFlags;

#[cfg(feature = "cage")]
use super::bytes;
use super::read_map::ReadMap;
#[cfg(feature = "cage")]
use super::shared::SharedFile;
use super::{huge, memfd, shared};

/// Puts `parts` into a memory file that can never change again.
///
/// # Errors
/// EFBIG beyond the limit of file sizes; EMFILE; ENOMEM.
pub(crate) fn seal(parts: &[&[u8]]) -> io::Result<OwnedFd> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut file = File::from(memfd::create("multiproc", length)?);
    huge::back(file.as_fd(), length);
    for part in parts {
        file.write_all(part)?;
    }
    memfd::make_constant(file.as_fd())?;
    Ok(file.into())
}

/// A new memory file for `fill`, for a process that cannot make one later. It takes no memory until
/// it is filled, and never becomes longer.
#[cfg(feature = "cage")]
pub(crate) fn prepare(length: usize) -> io::Result<SharedFile> {
    let memory = SharedFile::create_unsealed("multiproc", length)?;
    rustix::fs::fcntl_add_seals(memory.fd(), SealFlags::GROW)?;
    Ok(memory)
}

/// `seal`, with memory that was prepared. No limit of the length of files holds for this, and it
/// takes little address space.
#[cfg(feature = "cage")]
pub(crate) fn fill<'a>(memory: &'a SharedFile, parts: &[&[u8]]) -> io::Result<BorrowedFd<'a>> {
    /// Bytes that are mapped at once.
    const WINDOW: usize = 1 << 20;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > memory.length() {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let mut rest: Vec<&[u8]> = parts.iter().rev().copied().collect();
    for start in (0..length).step_by(WINDOW) {
        let window = memory.map(start, WINDOW.min(memory.length() - start))?;
        let mut at = 0;
        while at < window.length()
            && let Some(part) = rest.pop()
        {
            let (now, later) = part.split_at(part.len().min(window.length() - at));
            bytes::store(window.many(at, now.len()), now);
            at += now.len();
            if !later.is_empty() {
                rest.push(later);
            }
        }
    }
    let memory = memory.fd().as_fd();
    rustix::fs::ftruncate(memory, length as u64)?;
    memfd::make_constant(memory)?;
    Ok(memory)
}

/// Bytes of a sealed memory file.
#[derive(Debug)]
pub(crate) struct Mapping(ReadMap);

impl Mapping {
    /// Maps all of a memory file that somebody sent.
    ///
    /// # Errors
    /// It is no memory file, not sealed, of huge pages, empty, or has holes.
    pub(crate) fn of(memory: BorrowedFd<'_>) -> io::Result<Mapping> {
        let refused = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let seals = rustix::fs::fcntl_get_seals(memory)
            .map_err(|_| refused("what came in place of a big message is no memory file"))?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::WRITE) {
            return Err(refused("the memory of a big message is not sealed"));
        }
        shared::check_ordinary(memory)?;
        let stat = rustix::fs::fstat(memory)?;
        let length = usize::try_from(stat.st_size).unwrap_or(0);
        if length == 0 {
            return Err(refused("the memory of a big message is empty"));
        }
        // Whoever sends bytes has had them: to read holes would take memory of ours (`seal` leaves
        // none).
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if allocated < length as u64 {
            return Err(refused("the memory of a big message has holes"));
        }
        ReadMap::populated(memory, length).map(Mapping)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the seals keep the file as long as it is and everybody from writing.
        unsafe { self.0.bytes() }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::MemfdFlags;
    use rustix::io::Errno;

    use super::*;
    use crate::sys::fd;
    use crate::sys::memory::memfd::SEALED;

    #[test]
    fn what_is_sealed_is_read_back() {
        let memory = seal(&[b"one ", b"two"]).expect("seal");
        assert_eq!(&*Mapping::of(memory.as_fd()).expect("map"), b"one two");
        assert!(File::from(memory).write_all(b"x").is_err(), "a sealed file took a write");
    }

    #[test]
    #[cfg(feature = "cage")]
    fn what_is_filled_is_read_back() {
        let bytes: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        for (ends, most) in
            [([0, 0, 1], 1), ([3, 3, 1000], 5000), ([100, 1 << 20, 3 << 20], 3 << 20)]
        {
            let parts = [&bytes[..ends[0]], &bytes[ends[0]..ends[1]], &bytes[ends[1]..ends[2]]];
            let memory = prepare(most).expect("prepare");
            let filled = fill(&memory, &parts).expect("fill");
            assert!(*Mapping::of(filled).expect("map") == bytes[..ends[2]]);
            assert!(File::from(memory.fd().try_clone().expect("clone")).write_all(b"x").is_err());
        }
        let small = prepare(5).expect("prepare");
        assert_eq!(
            fill(&small, &[b"123", b"456"]).expect_err("too long").raw_os_error(),
            Some(libc::EFBIG)
        );
        assert!(rustix::fs::ftruncate(small.fd(), 6).is_err(), "it grew");
    }

    #[test]
    fn unsealed_memory_is_refused() {
        let memory = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd");
        let mut file = File::from(memory);
        file.write_all(b"x").expect("write");
        assert!(Mapping::of(file.as_fd()).is_err());
        let (read, _write) = fd::pipe().expect("pipe");
        assert!(Mapping::of(read.as_fd()).is_err());
    }

    #[test]
    fn memory_that_nobody_has_paid_for_is_refused() {
        let sealed = |flags, length| {
            let memory = rustix::fs::memfd_create("test", flags | MemfdFlags::ALLOW_SEALING)?;
            rustix::fs::ftruncate(&memory, length)?;
            rustix::fs::fcntl_add_seals(&memory, SEALED)?;
            Ok::<_, Errno>(memory)
        };
        let sparse = sealed(MemfdFlags::CLOEXEC, 1 << 40).expect("memfd");
        assert!(Mapping::of(sparse.as_fd()).is_err());
        assert_eq!(
            rustix::fs::fstat(&sparse).expect("stat").st_blocks,
            0,
            "the receiver took memory"
        );
        // Where the kernel has none of these, nobody can send them.
        if let Ok(huge) = sealed(MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB, 2 << 20) {
            assert!(Mapping::of(huge.as_fd()).is_err());
        }
    }
}
