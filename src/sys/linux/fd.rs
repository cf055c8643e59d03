//! Descriptors: always owned, always close-on-exec, never 0 to 2.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

/// Describes what a descriptor leads to: device and number of a file or socket.
pub(crate) type Identity = (u64, u64);

/// Which file or socket a descriptor leads to; `None` if it is not open.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> Option<Identity> {
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// The first number behind standard input, output and error.
const FIRST: RawFd = 3;

/// Moves a descriptor out of 0..3, where a program that closed its standard streams would have got
/// it.
///
/// Left there, the child's standard streams would be laid over it.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FIRST)?)
}

/// A duplicate of `fd`, close-on-exec and above the standard streams.
pub(crate) fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, FIRST)?)
}

/// An error if this process has no room for `count` more descriptors. (`any` is one that it has.)
pub(crate) fn check_room(any: BorrowedFd<'_>, count: usize) -> io::Result<()> {
    let room: io::Result<Vec<OwnedFd>> = (0..count).map(|_| duplicate(any)).collect();
    room.map(drop)
}

/// `/dev/null`, for reading and writing.
pub(crate) fn null() -> io::Result<OwnedFd> {
    above_stdio(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// One of the caller's standard streams, or nothing if it is closed.
pub(crate) fn standard(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: whether 0, 1 or 2 is open is asked before it is handed out, and the convention that
    // nobody closes a standard stream while somebody else starts a process is that of the standard
    // library's own `Stdio::inherit`.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(fd).is_ok().then_some(fd)
}

/// Lays `fd` over the standard stream `number` of this process.
pub(crate) fn lay_over(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    match number {
        0 => rustix::stdio::dup2_stdin(fd)?,
        1 => rustix::stdio::dup2_stdout(fd)?,
        _ => rustix::stdio::dup2_stderr(fd)?,
    }
    Ok(())
}

/// Opens the read and the write end of a pipe.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((above_stdio(read)?, above_stdio(write)?))
}

/// A descriptor that is readable for ever: the read end of a pipe that nobody writes to.
pub(crate) fn always_readable() -> io::Result<OwnedFd> {
    Ok(pipe()?.0)
}

/// Takes over a descriptor that this process was started with, if there is one of that number.
///
/// # Safety
/// Nothing else in the process may own the number.
pub(crate) unsafe fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    if number < FIRST {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: F_SETFD with any number is harmless, and fails when it is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, as just seen, and the caller promises that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Describes what identifies a file on this machine while somebody holds it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    /// Of the file at `path`.
    pub(crate) fn at(path: impl AsRef<std::path::Path>) -> io::Result<FileId> {
        let stat = rustix::fs::stat(path.as_ref())?;
        Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// Opens a directory to hand to a child; nothing is read from it.
pub(crate) fn directory(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    above_stdio(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Makes an open directory the working directory.
pub(crate) fn enter(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// A file's whole contents; for the small files of `/proc`.
pub(crate) fn read_small(path: &str) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut File::open(path)?, &mut text)?;
    Ok(text)
}
