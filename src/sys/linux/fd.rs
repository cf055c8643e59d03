//! Descriptors: always owned, always close-on-exec, never 0 to 2.
//!
//! A program may have closed its standard streams, and then the kernel gives these numbers to the
//! next file that is opened (`open(2)`: the lowest that is free). A descriptor of ours there would
//! be taken for the program's output, and in a child the streams would be laid over it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

/// Device and inode of the file or socket that a descriptor leads to.
pub(crate) type Identity = (u64, u64);

/// Returns which file or socket a descriptor leads to (`fstat(2)`); `None` if it is not open.
pub(crate) fn identity(fd: BorrowedFd<'_>) -> Option<Identity> {
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// The first number behind standard input, output and error.
const FIRST: RawFd = 3;

/// Moves a descriptor out of 0 to 2 (`F_DUPFD_CLOEXEC`), where it came to be if the program has
/// closed its standard streams.
///
/// Left there, the child's standard streams would be laid over it.
///
/// # Errors
/// EMFILE; the descriptor is closed then.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FIRST)?)
}

/// Duplicates `fd`, close-on-exec and above the standard streams.
///
/// # Errors
/// EMFILE.
pub(crate) fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, FIRST)?)
}

/// Checks that this process has room for `count` more descriptors, by opening them and closing them
/// again. `any` is one that it has. Another thread may take the room in the meantime.
///
/// # Errors
/// EMFILE.
pub(crate) fn check_room(any: BorrowedFd<'_>, count: usize) -> io::Result<()> {
    let room: io::Result<Vec<OwnedFd>> = (0..count).map(|_| duplicate(any)).collect();
    room.map(drop)
}

/// Opens `/dev/null` for reading and writing.
pub(crate) fn null() -> io::Result<OwnedFd> {
    above_stdio(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Returns one of this process's standard streams, or `None` if it is closed (EBADF).
pub(crate) fn standard(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: whether 0, 1 or 2 is open is asked before it is handed out, and the convention that
    // nobody closes a standard stream while somebody else starts a process is that of the standard
    // library's own `Stdio::inherit`.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(fd).is_ok().then_some(fd)
}

/// Lays `fd` over the standard stream `number` of this process (`dup2(2)`), which closes what was
/// there.
pub(crate) fn lay_over(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    match number {
        0 => rustix::stdio::dup2_stdin(fd)?,
        1 => rustix::stdio::dup2_stdout(fd)?,
        _ => rustix::stdio::dup2_stderr(fd)?,
    }
    Ok(())
}

/// Opens a pipe; returns its read end and its write end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((above_stdio(read)?, above_stdio(write)?))
}

/// Has reads and writes by this descriptor, and by its duplicates, never sleep (`FIONBIO`).
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Has reads and writes by this descriptor, and by its duplicates, sleep again.
pub(crate) fn set_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, false)?)
}

/// Returns the number of bytes that can be read at once (`FIONREAD`).
pub(crate) fn bytes_to_read(fd: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(usize::try_from(rustix::io::ioctl_fionread(fd)?).unwrap_or(usize::MAX))
}

/// Reads once, behind what `onto` holds and into the room that it has. Returns 0 at the end.
///
/// # Errors
/// EAGAIN if there is nothing at the moment, for a descriptor that does not sleep.
pub(crate) fn read_onto(fd: BorrowedFd<'_>, onto: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match rustix::io::read(fd, rustix::buffer::spare_capacity(onto)) {
            Err(rustix::io::Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}

/// Opens a descriptor that is readable for ever: the read end of a pipe that nobody writes to.
pub(crate) fn always_readable() -> io::Result<OwnedFd> {
    Ok(pipe()?.0)
}

/// Takes over a descriptor that this process was started with, and makes it close-on-exec.
///
/// # Errors
/// Below 3; not open (EBADF).
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

/// Device and inode (`stat(2)`), which identify a file on this machine while somebody holds it
/// open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    /// Returns that of the file at `path`.
    pub(crate) fn at(path: impl AsRef<std::path::Path>) -> io::Result<FileId> {
        let stat = rustix::fs::stat(path.as_ref())?;
        Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// Opens a directory to hand to a child (`O_PATH`): nothing is read from it, and no right to read
/// it is needed.
pub(crate) fn directory(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    above_stdio(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Makes an open directory the working directory (`fchdir(2)`).
pub(crate) fn enter(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// Words the error of a path in `/proc/self`, which is not there only if `/proc` is not.
pub(crate) fn in_proc(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::NotFound, "/proc is not mounted here")
        }
        _ => error,
    }
}

/// Reads a whole file; for the small ones of `/proc`.
pub(crate) fn read_small(path: &str) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut File::open(path)?, &mut text)?;
    Ok(text)
}

/// Says what a descriptor is of, as a person would name it.
pub(crate) fn name(fd: BorrowedFd<'_>) -> String {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = std::fs::read_link(path).map(|path| path.to_string_lossy().into_owned());
    let target = target.unwrap_or_default();
    let kind = target.split_once(":[").map(|(kind, _)| kind);
    match kind {
        Some("pipe") => "a pipe".to_owned(),
        Some("socket") => "a socket or a connection".to_owned(),
        _ if target.starts_with("/memfd:") => "shared memory that can change".to_owned(),
        _ if target.starts_with("anon_inode:") => format!("a descriptor ({target})"),
        _ if target.is_empty() => "a descriptor".to_owned(),
        _ => format!("the file {target}"),
    }
}
