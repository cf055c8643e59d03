//! Standard streams for a process that is not trusted.
//!
//! A stream that is inherited is the program's open file, whose status flags both feel: if the
//! process made its standard output non-blocking, the program's own output would be lost. So it
//! gets another open file of the same thing, where there can be one.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use super::fd;

/// A stream, as somebody who is not trusted gets it.
#[derive(Debug)]
pub(crate) enum Parted {
    /// Its status flags change nothing.
    Indifferent,
    /// The same, as an open file of its own.
    Own(OwnedFd),
    /// It can only be had as it is.
    Joint,
}

/// The major number of the devices `null`, `zero` and their like (`null(4)`).
const MEMORY: u32 = 1;

/// Parts the standard stream of this number from who has it.
pub(crate) fn part(stream: BorrowedFd<'_>, number: usize) -> io::Result<Parted> {
    let stat = rustix::fs::fstat(stream)?;
    let flags = rustix::fs::fcntl_getfl(stream)?;
    match FileType::from_raw_mode(stat.st_mode) {
        // Nobody waits for these; and without appending, where to write is in the open file.
        FileType::RegularFile if !flags.contains(OFlags::APPEND) => Ok(Parted::Indifferent),
        FileType::CharacterDevice if rustix::fs::major(stat.st_rdev) == MEMORY => {
            Ok(Parted::Indifferent)
        }
        // To read from a terminal by the stream that writes to it is nothing that was given.
        FileType::CharacterDevice => {
            let access = if number == 0 { OFlags::RDONLY } else { OFlags::WRONLY };
            reopen(stream, access, flags)
        }
        FileType::RegularFile | FileType::Fifo => reopen(stream, flags & OFlags::RWMODE, flags),
        _ => Ok(Parted::Joint),
    }
}

/// Opens what a stream leads to anew, by way of `/proc/self/fd`. If it cannot be had so, or is
/// something else, the stream stays joint.
fn reopen(stream: BorrowedFd<'_>, access: OFlags, flags: OFlags) -> io::Result<Parted> {
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let kept = flags & (OFlags::APPEND | OFlags::NONBLOCK);
    // To open a pipe would wait for its other end.
    let opening = access | kept | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(own) = rustix::fs::open(path, opening, Mode::empty()) else { return Ok(Parted::Joint) };
    let (one, other) = (rustix::fs::fstat(&own)?, rustix::fs::fstat(stream)?);
    // Where `/proc` is not what it should be.
    if (one.st_dev, one.st_ino, one.st_rdev) != (other.st_dev, other.st_ino, other.st_rdev) {
        return Ok(Parted::Joint);
    }
    if !kept.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(&own, kept)?;
    }
    Ok(Parted::Own(fd::above_stdio(own)?))
}
