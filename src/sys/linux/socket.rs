//! Unix socket pairs that keep message boundaries and carry descriptors.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::fd;

/// The largest message that is sent in one piece. A socket buffer holds several (its default is 208 KiB), so a
/// message of this size into an empty socket never blocks.
pub(crate) const LARGEST: usize = 32 * 1024;

/// The most descriptors that one message can carry: the kernel's `SCM_MAX_FD`.
pub(crate) const MOST_FDS: usize = 253;

/// Room for the control message of `MOST_FDS` descriptors, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Ancillary([MaybeUninit<u8>; ANCILLARY]);

#[expect(clippy::cast_possible_truncation, reason = "about 1 KiB")]
// SAFETY: CMSG_SPACE only computes.
const ANCILLARY: usize = unsafe { libc::CMSG_SPACE((MOST_FDS * size_of::<libc::c_int>()) as u32) } as usize;

/// A connected pair that keeps message boundaries and reports end-of-file.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((fd::above_stdio(a)?, fd::above_stdio(b)?))
}

/// Sends one message; never blocks, never raises SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(fds.len() <= MOST_FDS, "more descriptors than fit into one message");
    let mut iov: Vec<libc::iovec> = parts
        .iter()
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
        .collect();
    let mut ancillary = Ancillary([MaybeUninit::zeroed(); ANCILLARY]);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = iov.as_mut_ptr();
    header.msg_iovlen = iov.len() as _;
    if !fds.is_empty() {
        #[expect(clippy::cast_possible_truncation, reason = "at most 1 KiB")]
        let bytes = size_of_val(fds) as u32;
        header.msg_control = (&raw mut ancillary).cast();
        // SAFETY: CMSG_SPACE only computes; the space for MOST_FDS is there and `fds` has no more.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(bytes) } as _;
        // SAFETY: the header names a control buffer of at least one cmsghdr with room for `fds`, so the first
        // cmsghdr and its data lie inside `ancillary`, which is aligned for them.
        unsafe {
            let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
            (*cmsg).cmsg_level = libc::SOL_SOCKET;
            (*cmsg).cmsg_type = libc::SCM_RIGHTS;
            (*cmsg).cmsg_len = libc::CMSG_LEN(bytes) as _;
            let data = libc::CMSG_DATA(cmsg).cast::<libc::c_int>();
            for (i, fd) in fds.iter().enumerate() {
                data.add(i).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: header, iov, the parts and the control buffer are alive; the kernel only reads them.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Bytes, and the descriptors that go with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parcel {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Arc<OwnedFd>>,
}

impl Parcel {
    pub(crate) fn as_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(|fd| fd.as_fd()).collect()
    }
}

/// One message as it came in.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Descriptors came that this process had no room for (its limit of open files).
    pub(crate) fds_lost: bool,
}

/// Lets the other side see the end of file, while what it sent can still be received.
pub(crate) fn hang_up(socket: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// Whether `recv` may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Wait,
    Now,
}

/// Receives one message, or `None` at end-of-file. With `Mode::Now` and nothing there: `WouldBlock`.
pub(crate) fn recv(socket: BorrowedFd<'_>, mode: Mode) -> io::Result<Option<Received>> {
    receive(socket, mode, 0)
}

/// `recv` with `Mode::Now`, but the message stays. Its descriptors come as duplicates; having no room for all is an error
/// (`EMFILE`).
pub(crate) fn recv_kept(socket: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    match receive(socket, Mode::Now, libc::MSG_PEEK)? {
        Some(received) if received.fds_lost => Err(Errno::MFILE.into()),
        received => Ok(received),
    }
}

fn receive(socket: BorrowedFd<'_>, mode: Mode, flags: libc::c_int) -> io::Result<Option<Received>> {
    // No more room than the message needs: what the allocator writes around a big block costs a new process a copy of
    // a page or two.
    let mut bytes: Vec<u8> = Vec::with_capacity(length_of_next(socket, mode)?.clamp(SMALL, LARGEST));
    let mut ancillary = Ancillary([MaybeUninit::zeroed(); ANCILLARY]);
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.capacity() };
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut ancillary).cast();
    header.msg_controllen = ANCILLARY as _;
    let wait = if mode == Mode::Now { libc::MSG_DONTWAIT } else { 0 };
    let flags = flags | wait | libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        // SAFETY: the buffers that the header names are alive, writable and of the sizes that it says.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        if let Ok(length) = usize::try_from(length) {
            break length;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            // A peer that ends with something unread is reported once, ahead of what it sent before.
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset => {}
            _ => return Err(error),
        }
    };
    // SAFETY: the kernel has written `length` bytes, at most the capacity it was told.
    unsafe { bytes.set_len(length) };
    let fds = take_fds(&header)?;
    let fds_lost = header.msg_flags & libc::MSG_CTRUNC != 0;
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is longer than the protocol allows"));
    }
    // We never send an empty message, so nothing at all is end-of-file.
    if length == 0 && fds.is_empty() && !fds_lost {
        return Ok(None);
    }
    Ok(Some(Received { bytes, fds, fds_lost }))
}

/// Room that is there for any message: more than one thread may be receiving, and get each other's.
const SMALL: usize = 256;

/// How long the next message is, which stays; 0 at end-of-file.
fn length_of_next(socket: BorrowedFd<'_>, mode: Mode) -> io::Result<usize> {
    let wait = if mode == Mode::Now { libc::MSG_DONTWAIT } else { 0 };
    loop {
        // SAFETY: no buffer, of length zero; with MSG_TRUNC, the kernel gives the length of the message all the same.
        let length =
            unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_PEEK | libc::MSG_TRUNC | wait) };
        if let Ok(length) = usize::try_from(length) {
            return Ok(length);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset => {}
            _ => return Err(error),
        }
    }
}

/// The first bytes of the next message, if there is one, which stays. A shorter one is filled up with zeroes.
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
    while matches!(rustix::net::recv(socket, &mut [0_u8; 1], flags), Err(Errno::INTR | Errno::CONNRESET)) {}
}

/// Owns whatever descriptors the kernel put into the control buffer.
fn take_fds(header: &libc::msghdr) -> io::Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled the control buffer and set msg_controllen to what it wrote, so the CMSG walk stays
    // inside; every SCM_RIGHTS number in it is a new descriptor of this process that nobody else owns.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while !cmsg.is_null() {
            if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*cmsg).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(cmsg).cast::<libc::c_int>();
                for i in 0..bytes / size_of::<libc::c_int>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    fds.into_iter().map(fd::above_stdio).collect()
}

/// The process that made the pair (in this process's numbers).
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

/// A pidfd of the process that made the pair (Linux 6.5 and newer).
///
/// It is bound to that very process, not to its number, so it cannot name a stranger.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `asm-generic/socket.h`; the C library's headers are older.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut number: libc::c_int = -1;
    #[expect(clippy::cast_possible_truncation, reason = "4 bytes")]
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut number).cast(), &raw mut length)
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
            assert_eq!((kept.bytes.as_slice(), kept.fds.len(), kept.fds_lost), (&b"one"[..], 1, false));
        }
        discard(b.as_fd());
        assert_eq!(recv(b.as_fd(), Mode::Now).expect("recv").expect("a message").bytes, b"two");
        discard(b.as_fd());
        assert_eq!(recv_kept(b.as_fd()).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn end_of_file_is_not_an_empty_socket() {
        let (a, b) = pair().expect("pair");
        assert_eq!(recv(b.as_fd(), Mode::Now).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
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
