//! Huge pages for memory that is about to be written to whole.
//!
//! A page fault costs as much as to write to a page: a buffer of 256 MiB takes 65,536 of them, and
//! as many again in each process that maps it. With pages of 2 MiB it takes 128.
//!
//! A file's pages are huge only where the kernel is told so for the whole machine
//! (`transparent_hugepage/shmem_enabled`, which is "never" nearly everywhere), but
//! `MADV_COLLAPSE` (Linux 6.1) does not ask for that: it makes a huge page of the small ones that a
//! range has, and of zeros. So a range that has one small page costs next to nothing to collapse,
//! and what is written later meets the huge page.
//!
//! None of this is needed: where the kernel refuses, pages are small as ever.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};

/// The size of a huge page, and its alignment.
pub(super) const HUGE: usize = 2 << 20;

/// From this size on, huge pages are worth their system calls: these have all processors hand in
/// the pages that they keep at hand, which takes milliseconds on a busy machine.
const WORTH_IT: usize = 16 << 20;

/// `MADV_COLLAPSE`, which not every C library's headers have.
const COLLAPSE: libc::c_int = 25;

/// Gives a memory file of this length, which has nothing in it and is going to be written to whole,
/// huge pages.
pub(super) fn back(file: BorrowedFd<'_>, length: usize) {
    if length >= WORTH_IT {
        // What was not had is small pages.
        let _ = collapse(file, length / HUGE * HUGE);
    }
}

/// Collapses the first `length` bytes of a file, a multiple of `HUGE`, into huge pages.
fn collapse(file: BorrowedFd<'_>, length: usize) -> io::Result<()> {
    for at in (0..length).step_by(HUGE) {
        // By a call: a mapping that no page can be had for would raise SIGBUS.
        rustix::io::pwrite(file, &[0], at as u64)?;
    }
    // The kernel collapses what is aligned in the file and in memory.
    let reserved = length + HUGE;
    let no_access = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), reserved, ProtFlags::empty(), no_access)
    }?;
    let aligned = start.wrapping_byte_add(start.addr().next_multiple_of(HUGE) - start.addr());
    // SAFETY: inside the mapping that was just made, which nobody else knows of; nothing is read or
    // written through it.
    let collapsed = unsafe {
        rustix::mm::mmap(
            aligned,
            length,
            ProtFlags::READ,
            MapFlags::SHARED | MapFlags::FIXED,
            file,
            0,
        )
        .map_err(io::Error::from)
        .and_then(|at| match libc::madvise(at, length, COLLAPSE) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    // SAFETY: the mappings are ours, and nobody uses them.
    unsafe { rustix::mm::munmap(start, reserved) }?;
    collapsed
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::memory::memfd;

    /// Kilobytes of a kind that the kernel counts for the mapping of a range.
    fn kilobytes(start: *const u8, kind: &str) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("read");
        let begins = format!("{:x}-", start.addr());
        let mapping = maps.lines().skip_while(|line| !line.starts_with(&begins));
        let line = mapping.skip(1).find(|line| line.starts_with(kind)).expect("a mapping");
        line.split_whitespace().nth(1).and_then(|count| count.parse().ok()).expect("a number")
    }

    #[test]
    fn a_file_is_as_long_and_as_empty_as_before() {
        for length in [WORTH_IT, WORTH_IT + HUGE - 1, WORTH_IT + 4097] {
            let file = memfd::create("test", length).expect("create");
            back(file.as_fd(), length);
            assert_eq!(rustix::fs::fstat(&file).expect("stat").st_size, length as i64);
            let mut bytes = vec![1; length];
            let mut at = 0;
            while at < length {
                at += rustix::io::pread(&file, &mut bytes[at..], at as u64).expect("read");
            }
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_big_file_has_huge_pages_where_the_kernel_has_any() {
        let file = memfd::create("test", WORTH_IT).expect("create");
        match collapse(file.as_fd(), WORTH_IT) {
            Ok(()) => {}
            // Old, or without huge pages that are free.
            Err(error) => return eprintln!("the kernel refuses: {error}"),
        }
        let stat = rustix::fs::fstat(&file).expect("stat");
        assert!(stat.st_blocks * 512 >= WORTH_IT as i64, "{} blocks", stat.st_blocks);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
            rustix::mm::mmap(ptr::null_mut(), WORTH_IT, ProtFlags::READ, flags, &file, 0)
        };
        let start = start.expect("map").cast::<u8>();
        if start.addr() % HUGE == 0 {
            assert_eq!(
                kilobytes(start, "FilePmdMapped:").max(kilobytes(start, "ShmemPmdMapped:")) << 10,
                WORTH_IT as u64
            );
        }
        // SAFETY: the mapping is ours, and nobody uses it.
        unsafe { rustix::mm::munmap(start.cast(), WORTH_IT) }.expect("unmap");
    }
}
