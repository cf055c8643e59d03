//! Unix socket pairs that keep message boundaries and carry descriptors (`SOCK_SEQPACKET`,
//! `unix(7)`).
//!
//! Sending never blocks and never raises SIGPIPE (`MSG_DONTWAIT`, `MSG_NOSIGNAL`). Descriptors come
//! close-on-exec (`MSG_CMSG_CLOEXEC`), and are moved above 2. A peer that ended with something
//! unread is reported once as ECONNRESET, in front of what it sent before: receiving goes on after
//! that.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::sys::fd;
use crate::sys::resource::{self, Resource};
use crate::sys::wait::poll::{self, Deadline};

/// The largest message that is sent in one piece. A socket buffer holds several (its default is 208
/// KiB), so a message of this size into an empty socket never blocks.
pub(crate) const LARGEST: usize = 32 * 1024;

/// The most descriptors that one message can carry: the kernel's `SCM_MAX_FD`.
pub(crate) const MAX_FDS: usize = 253;

/// Room for the control message of `MAX_FDS` descriptors.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// Opens a connected pair that keeps message boundaries and reports end-of-file.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((fd::above_stdio(a)?, fd::above_stdio(b)?))
}

/// Sends one message with descriptors.
///
/// # Errors
/// EAGAIN if there is no room; EPIPE or ECONNRESET if the other side is gone; EMSGSIZE if the
/// system's socket buffers are too small; ETOOMANYREFS if this user has too many descriptors in
/// flight.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[&[u8]],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    send_slices(socket, &parts, fds).map(drop)
}

/// Sends what a socket takes of `parts` at once, and says how much; `fds` go with the first byte.
/// Never blocks, never raises SIGPIPE.
pub(crate) fn send_slices(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut room = [MaybeUninit::<u8>::uninit(); ANCILLARY];
    let mut control = SendAncillaryBuffer::default();
    if !fds.is_empty() {
        control = SendAncillaryBuffer::new(&mut room);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "more descriptors than fit into one message",
            ));
        }
    }
    loop {
        match rustix::net::sendmsg(
            socket,
            parts,
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        ) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Sends one message with descriptors, and waits for room until the deadline; false if there was
/// none. Never raises SIGPIPE.
///
/// `is_behind` tells whether the receiver has not received all that was sent before: see
/// `Congestion`.
pub(crate) fn send_by(
    socket: BorrowedFd<'_>,
    parts: &[&[u8]],
    fds: &[BorrowedFd<'_>],
    deadline: Deadline,
    mut is_behind: impl FnMut() -> bool,
) -> io::Result<bool> {
    /// The kernel tells of room only when there is much of it.
    const ROUND: Duration = Duration::from_millis(20);
    let mut congestion = Congestion::default();
    loop {
        match send(socket, parts, fds) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if deadline.is_over() {
                    return Ok(false);
                }
                poll::one_writable(socket, deadline.within_next(ROUND))?;
            }
            Err(error) => {
                if !congestion.wait(error, deadline, &mut is_behind)? {
                    return Ok(false);
                }
            }
        }
    }
}

/// Waits for receivers while this user has as many descriptors in flight (sent, and not received)
/// as the kernel allows (ETOOMANYREFS, `unix(7)`).
///
/// The kernel tells nobody when that changes, so it is asked again and again, with pauses.
#[derive(Debug, Default)]
pub(crate) struct Congestion {
    pause: Duration,
    /// The receiver was not behind, the last time.
    was_free: bool,
}

impl Congestion {
    /// After `error` of a message with descriptors: true when it may be sent again, false at the
    /// deadline. It is an error if it is another one, or if the receiver of this message is not
    /// behind, as it makes no room then.
    pub(crate) fn wait(
        &mut self,
        error: io::Error,
        deadline: Deadline,
        is_behind: impl FnOnce() -> bool,
    ) -> io::Result<bool> {
        const SHORTEST: Duration = Duration::from_millis(1);
        const LONGEST: Duration = Duration::from_millis(20);
        if error.raw_os_error() != Some(libc::ETOOMANYREFS) {
            return Err(error);
        }
        if is_behind() {
            self.was_free = false;
            if deadline.is_over() {
                return Ok(false);
            }
            self.pause = (self.pause * 2).clamp(SHORTEST, LONGEST);
            std::thread::sleep(deadline.left().map_or(self.pause, |left| left.min(self.pause)));
        } else {
            // It may have received the last of it since the message was refused.
            if mem::replace(&mut self.was_free, true) {
                return Err(explained(error));
            }
            // Who may not wait asks again at once.
            if !deadline.is_over() {
                std::thread::sleep(SHORTEST);
            }
        }
        Ok(true)
    }
}

/// Returns `true` if something that was sent over a Unix socket is not received yet (`TIOCOUTQ`).
pub(crate) fn has_unreceived(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int: the memory that what was sent takes.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) == 0 && bytes > 0 }
}

/// This user has more descriptors in flight than the kernel allows.
#[derive(Debug)]
struct TooManyInFlight(io::Error);

impl fmt::Display for TooManyInFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this user has too many descriptors in flight, sent to processes that have \
             not received them; ",
        )?;
        match resource::soft(Resource::OpenFiles) {
            Some(limit) => write!(f, "the limit is that of open files, RLIMIT_NOFILE, {limit}"),
            None => f.write_str("the limit is that of open files, RLIMIT_NOFILE"),
        }
    }
}

impl std::error::Error for TooManyInFlight {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The error, with the name of the limit if it is that of descriptors in flight (of the kind
/// `QuotaExceeded` then).
pub(crate) fn explained(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ETOOMANYREFS) => {
            io::Error::new(io::ErrorKind::QuotaExceeded, TooManyInFlight(error))
        }
        _ => error,
    }
}

/// Returns `true` if the error is that of descriptors in flight.
pub(crate) fn is_congestion(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<TooManyInFlight>())
}

/// Returns `true` if an error says that the other side is gone.
pub(crate) fn is_dead_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// One message as it came in.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Descriptors came that this process had no room for (its limit of open files).
    pub(crate) fds_lost: bool,
}

/// Ends the sending side (`SHUT_WR`): the other one sees the end of file, while what it sent can
/// still be received here.
pub(crate) fn hang_up(socket: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// Permission for `recv` to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Wait,
    Now,
}

impl Mode {
    /// As the kernel takes it.
    pub(crate) fn flags(self) -> RecvFlags {
        match self {
            Mode::Wait => RecvFlags::empty(),
            Mode::Now => RecvFlags::DONTWAIT,
        }
    }
}

/// Receives one message, or `None` at end-of-file.
///
/// # Errors
/// EAGAIN (`WouldBlock`) with `Mode::Now` if nothing is there; invalid data if a message is longer
/// than `LARGEST`. Descriptors that this process had no room for are told in the message.
pub(crate) fn recv(socket: BorrowedFd<'_>, mode: Mode) -> io::Result<Option<Received>> {
    receive(socket, mode, RecvFlags::empty())
}

/// `recv` with `Mode::Now`, but the message stays. Its descriptors come as duplicates; having no
/// room for all is an error (`EMFILE`).
pub(crate) fn recv_kept(socket: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    match receive(socket, Mode::Now, RecvFlags::PEEK)? {
        Some(received) if received.fds_lost => Err(Errno::MFILE.into()),
        received => Ok(received),
    }
}

/// 1. See how long the next message is.
/// 2. Receive into as much memory.
/// 3. Move its descriptors above
/// 2. Another thread may take the message between 1 and 2: the next one may be longer, and is
///    refused.
fn receive(socket: BorrowedFd<'_>, mode: Mode, flags: RecvFlags) -> io::Result<Option<Received>> {
    // No more room than the message needs: what the allocator writes around a big block costs a new
    // process a copy of a page or two.
    let mut bytes = vec![0; length_of_next(socket, mode)?.clamp(SMALL, LARGEST)];
    let (received, fds) = loop {
        match recv_slice(socket, &mut bytes, flags | mode.flags()) {
            // A peer that ends with something unread is reported once, ahead of what it sent
            // before.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            done => break done?,
        }
    };
    bytes.truncate(received.bytes);
    let fds = fds.into_iter().map(fd::above_stdio).collect::<io::Result<Vec<_>>>()?;
    let fds_lost = received.flags.contains(ReturnFlags::CTRUNC);
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is longer than the protocol allows",
        ));
    }
    // We never send an empty message, so nothing at all is end-of-file.
    if bytes.is_empty() && fds.is_empty() && !fds_lost {
        return Ok(None);
    }
    Ok(Some(Received { bytes, fds, fds_lost }))
}

/// One recvmsg(2), with whatever descriptors came.
pub(crate) fn recv_slice(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> Result<(RecvMsg, Vec<OwnedFd>), Errno> {
    let mut room = [MaybeUninit::<u8>::uninit(); ANCILLARY];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok((received, fds.flatten().collect()))
}

/// Room that is there for any message: more than one thread may be receiving, and get each other's.
const SMALL: usize = 256;

/// Returns how long the next message is, and leaves it; 0 at end-of-file.
fn length_of_next(socket: BorrowedFd<'_>, mode: Mode) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC | mode.flags();
    loop {
        // Without room, but with the flag, the kernel gives the length of the message all the same.
        match rustix::net::recv(socket, &mut [0_u8; 0], flags) {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            done => return Ok(done?.1),
        }
    }
}

/// Returns the first bytes of the next message, if there is one, and leaves it. A shorter one is
/// filled up with zeroes.
pub(crate) fn peek<const N: usize>(socket: BorrowedFd<'_>) -> io::Result<Option<[u8; N]>> {
    let mut first = [0_u8; N];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    loop {
        match rustix::net::recv(socket, &mut first, flags) {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Ok((0, _)) | Err(Errno::AGAIN) => return Ok(None),
            Ok(_) => return Ok(Some(first)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Throws the next message away, if there is one, with its descriptors.
pub(crate) fn discard(socket: BorrowedFd<'_>) {
    let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    while matches!(
        rustix::net::recv(socket, &mut [0_u8; 1], flags),
        Err(Errno::INTR | Errno::CONNRESET)
    ) {}
}

/// Returns the process that made the pair (`SO_PEERCRED`), in this process's numbers.
pub(crate) fn peer_pid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: all zeroes is a valid ucred.
    let mut cred: libc::ucred = unsafe { mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "12 bytes")]
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `cred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(cred.pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Returns `true` if `peer_pidfd` failed because the process has ended, and its status was taken.
pub(crate) fn says_peer_is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL | libc::ENODATA))
}

/// Opens a pidfd of the process that made the pair (`SO_PEERPIDFD`, Linux 6.5 and newer).
///
/// It is bound to that very process, not to its number, so it cannot name a stranger.
///
/// # Errors
/// ENOPROTOOPT before Linux 6.5; ESRCH, EINVAL or ENODATA if the process was reaped
/// (`says_peer_is_gone`); EMFILE.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `asm-generic/socket.h`; the C library's headers are older.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut number: libc::c_int = -1;
    #[expect(clippy::cast_possible_truncation, reason = "4 bytes")]
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut number).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor (close-on-exec) of ours.
    fd::above_stdio(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn bytes_and_descriptors_cross_whole() {
        let (a, b) = pair().expect("pair");
        send(a.as_fd(), &[b"ab", b"", b"c"], &[a.as_fd(), b.as_fd()]).expect("send");
        let message = recv(b.as_fd(), Mode::Wait).expect("recv").expect("a message");
        assert_eq!(message.bytes, b"abc");
        assert_eq!(message.fds.len(), 2);
        assert!(!message.fds_lost);
    }

    #[test]
    fn a_message_stays_until_it_is_thrown_away() {
        let (a, b) = pair().expect("pair");
        send(a.as_fd(), &[b"one"], &[a.as_fd()]).expect("send");
        send(a.as_fd(), &[b"two"], &[]).expect("send");
        for _ in 0..3 {
            assert_eq!(peek::<5>(b.as_fd()).expect("peek"), Some(*b"one\0\0"));
            let kept = recv_kept(b.as_fd()).expect("recv").expect("a message");
            assert_eq!(
                (kept.bytes.as_slice(), kept.fds.len(), kept.fds_lost),
                (&b"one"[..], 1, false)
            );
        }
        discard(b.as_fd());
        assert_eq!(recv(b.as_fd(), Mode::Now).expect("recv").expect("a message").bytes, b"two");
        discard(b.as_fd());
        assert_eq!(recv_kept(b.as_fd()).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn end_of_file_is_not_an_empty_socket() {
        let (a, b) = pair().expect("pair");
        assert_eq!(
            recv(b.as_fd(), Mode::Now).expect_err("empty").kind(),
            io::ErrorKind::WouldBlock
        );
        drop(a);
        assert!(recv(b.as_fd(), Mode::Now).expect("end of file").is_none());
    }

    #[test]
    fn the_largest_message_fits_into_an_empty_socket() {
        let (a, b) = pair().expect("pair");
        let bytes = vec![7_u8; LARGEST];
        send(a.as_fd(), &[&bytes], &[]).expect("send without blocking");
        assert_eq!(recv(b.as_fd(), Mode::Now).expect("recv").expect("a message").bytes, bytes);
    }

    #[test]
    fn the_maker_of_a_pair_is_known() {
        let (a, _b) = pair().expect("pair");
        assert_eq!(peer_pid(a.as_fd()).expect("pid"), std::process::id());
    }
}
