//! Stream sockets: bytes in order, and over Unix sockets descriptors that arrive with the first
//! byte they were sent with.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, ReturnFlags, Shutdown, SocketType, sockopt};

use super::socket::{self, Mode};
use crate::sys::fd;

/// The kind of a stream socket, by the things that it can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Unix socket: bytes and descriptors.
    Local,
    /// TCP: bytes only.
    Network,
}

/// Returns what kind of stream socket this is (`SO_TYPE`, `SO_DOMAIN`); anything else is refused,
/// as nobody may be made to read from a file or a terminal that came in place of a socket.
pub(crate) fn kind(socket: BorrowedFd<'_>) -> io::Result<Kind> {
    let refused = || {
        io::Error::new(io::ErrorKind::InvalidData, "what came in place of a stream socket is none")
    };
    if sockopt::socket_type(socket).map_err(|_| refused())? != SocketType::STREAM {
        return Err(refused());
    }
    match sockopt::socket_domain(socket)? {
        AddressFamily::UNIX => Ok(Kind::Local),
        AddressFamily::INET | AddressFamily::INET6 => Ok(Kind::Network),
        _ => Err(refused()),
    }
}

/// A connected pair of Unix stream sockets.
#[cfg(any(test, multiproc_fuzz))]
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((fd::above_stdio(a)?, fd::above_stdio(b)?))
}

/// Sends as much of `parts`, one behind the other, as there is room for, and says how much; `fds`
/// go with the first byte. Never blocks (`WouldBlock`), never raises SIGPIPE.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: [&[u8]; 2],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    socket::send_slices(socket, &parts.map(IoSlice::new), fds)
}

/// The outcome of a first read.
#[derive(Debug)]
pub(crate) struct Start {
    /// Number of bytes; 0 at end-of-file.
    pub(crate) length: usize,
    /// The descriptors that came with them.
    pub(crate) fds: Vec<OwnedFd>,
    /// Descriptors came that this process had no room for.
    pub(crate) fds_lost: bool,
}

/// Receives bytes, at least one, and the descriptors that were sent with them.
pub(crate) fn recv_start(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    mode: Mode,
) -> io::Result<Start> {
    let (received, came) = loop {
        match socket::recv_slice(socket, bytes, mode.flags()) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => {
                return Ok(Start { length: 0, fds: Vec::new(), fds_lost: false });
            }
            done => break done?,
        }
    };
    let mut fds_lost = received.flags.contains(ReturnFlags::CTRUNC);
    let fds = came.into_iter().map(fd::above_stdio).collect::<io::Result<Vec<_>>>().unwrap_or_else(
        |_| {
            fds_lost = true;
            Vec::new()
        },
    );
    Ok(Start { length: received.bytes, fds, fds_lost })
}

/// Receives at most `most` bytes behind what `bytes` holds, and says how many; 0 at end-of-file.
/// Descriptors are closed.
pub(crate) fn recv_onto(
    socket: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
    mode: Mode,
) -> io::Result<usize> {
    bytes.try_reserve(most).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let before = bytes.len();
    let flags = mode.flags();
    let length = loop {
        match rustix::net::recv(socket, &mut bytes.spare_capacity_mut()[..most], flags) {
            Err(Errno::INTR) => {}
            // The other side went and left something unread: its end all the same.
            Err(Errno::CONNRESET) => return Ok(0),
            Err(error) => return Err(error.into()),
            Ok(((filled, _), _)) => break filled.len(),
        }
    };
    // SAFETY: the kernel has filled this many bytes of the spare room, as the slice of them shows.
    unsafe { bytes.set_len(before + length) };
    Ok(length)
}

/// Says to both sides that nothing more is received here.
pub(crate) fn stop_receiving(socket: impl AsFd) {
    let _ = rustix::net::shutdown(socket, Shutdown::Read);
}

/// The error of a message whose descriptors this process had no room for.
pub(crate) fn no_descriptors() -> io::Error {
    Errno::MFILE.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_with_their_first_byte() {
        let (a, b) = pair().expect("pair");
        let null = fd::null().expect("open");
        assert_eq!(
            send(a.as_fd(), [b"one", b"two"], &[null.as_fd(), null.as_fd()]).expect("send"),
            6
        );
        let mut bytes = [0; 4];
        let start = recv_start(b.as_fd(), &mut bytes, Mode::Wait).expect("recv");
        assert_eq!((start.length, start.fds.len(), start.fds_lost, &bytes), (4, 2, false, b"onet"));
        let mut rest = b"x".to_vec();
        assert_eq!(recv_onto(b.as_fd(), &mut rest, 1, Mode::Now).expect("recv"), 1);
        assert_eq!(recv_onto(b.as_fd(), &mut rest, 100, Mode::Now).expect("recv"), 1);
        assert_eq!(rest, b"xwo");
        assert_eq!(
            recv_onto(b.as_fd(), &mut rest, 1, Mode::Now).expect_err("empty").kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn only_stream_sockets_are_taken() {
        assert_eq!(kind(pair().expect("pair").0.as_fd()).expect("kind"), Kind::Local);
        assert!(kind(fd::null().expect("open").as_fd()).is_err());
        assert!(kind(socket::pair().expect("pair").0.as_fd()).is_err());
    }
}
