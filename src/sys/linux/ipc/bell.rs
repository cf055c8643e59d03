//! Wake-ups over a pair of sockets that keeps message boundaries: one byte each, beside packets
//! that bring descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::socket::{self, Mode};
use crate::sys::fd;
use crate::sys::wait::poll::Deadline;

/// The bytes of a wake-up.
const WAKE: [u8; 1] = [0];
/// The first byte of a packet with descriptors; the second is how many it brings.
const PACKET: u8 = 1;

/// The next thing in a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing, yet.
    Nothing,
    /// A wake-up, or something else that means nothing.
    Wake,
    /// A packet with so many descriptors.
    Packet(u8),
    /// The other side is gone.
    End,
}

/// The presence of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    There,
    Gone,
}

/// Wakes the other side. Never blocks: a socket that is full (EAGAIN) is one at which nobody
/// sleeps. EPIPE, ECONNRESET and ENOTCONN say that the other side is gone.
pub(crate) fn wake(socket: BorrowedFd<'_>) -> Peer {
    // Only a kernel without memory refuses for another reason, and not for long.
    for _ in 0..100 {
        match rustix::net::send(socket, &WAKE, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Peer::Gone,
            Err(Errno::NOBUFS | Errno::NOMEM) => std::thread::sleep(Duration::from_millis(1)),
            _ => break,
        }
    }
    Peer::There
}

/// Returns what comes next, and leaves it there (`MSG_PEEK`). Never sleeps.
pub(crate) fn peek(socket: BorrowedFd<'_>) -> io::Result<Heard> {
    one(socket, RecvFlags::PEEK | RecvFlags::DONTWAIT)
}

/// Takes the next wake-up; with `Mode::Wait`, it sleeps until there is one. The descriptors of a
/// packet would be closed.
pub(crate) fn hear(socket: BorrowedFd<'_>, mode: Mode) -> io::Result<Heard> {
    one(socket, mode.flags())
}

/// One `recv(2)` of up to two bytes.
fn one(socket: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<Heard> {
    let mut bytes = [0_u8; 2];
    loop {
        return match rustix::net::recv(socket, &mut bytes, flags) {
            // A peer that ends with something unread is reported once, ahead of what it sent
            // before.
            Err(Errno::INTR | Errno::CONNRESET) => continue,
            Err(Errno::AGAIN) => Ok(Heard::Nothing),
            Err(error) => Err(error.into()),
            Ok((0, _)) => Ok(Heard::End),
            Ok((2, _)) if bytes[0] == PACKET => Ok(Heard::Packet(bytes[1])),
            Ok(_) => Ok(Heard::Wake),
        };
    }
}

/// The outcome of sending a packet.
#[derive(Debug)]
pub(crate) enum Sent {
    Done,
    NoRoom,
    PeerGone,
}

/// Sends descriptors, 1 to 240 of them; waits for room until the deadline. `is_behind` tells
/// whether the receiver has not received all messages before: wake-ups, which nobody takes who is
/// awake, do not count.
pub(crate) fn send_packet(
    socket: BorrowedFd<'_>,
    fds: &[Arc<OwnedFd>],
    deadline: Deadline,
    is_behind: impl FnMut() -> bool,
) -> io::Result<Sent> {
    let count =
        u8::try_from(fds.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    match socket::send_by(socket, &[&[PACKET, count]], &fds, deadline, is_behind) {
        Ok(true) => Ok(Sent::Done),
        Ok(false) => Ok(Sent::NoRoom),
        Err(error) => match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => Ok(Sent::PeerGone),
            _ => Err(error),
        },
    }
}

/// Takes the packet of `count` descriptors that `peek` told of; `None` if it does not have as many.
///
/// # Errors
/// EMFILE without room for them: the packet stays.
pub(crate) fn take_packet(socket: BorrowedFd<'_>, count: u8) -> io::Result<Option<Vec<OwnedFd>>> {
    // What does not fit would be lost: the kernel gives what it can, and drops the rest.
    fd::check_room(socket, count.into())?;
    let received = socket::recv(socket, Mode::Now)?;
    if received.as_ref().is_some_and(|received| received.fds_lost) {
        return Err(Errno::MFILE.into());
    }
    let fds = received.map_or_else(Vec::new, |received| received.fds);
    Ok((fds.len() == usize::from(count)).then_some(fds))
}

/// Ends both directions (`shutdown(2)`), so that the other side sees the end also while copies of
/// this socket are open elsewhere.
pub(crate) fn shut(socket: BorrowedFd<'_>) {
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_and_packets_are_told_apart() {
        let (a, b) = socket::pair().expect("pair");
        let (a, b) = (a.as_fd(), b.as_fd());
        assert_eq!(peek(b).expect("peek"), Heard::Nothing);
        assert_eq!(wake(a), Peer::There);
        assert_eq!(peek(b).expect("peek"), Heard::Wake);
        assert_eq!(hear(b, Mode::Wait).expect("hear"), Heard::Wake);
        let null = Arc::new(fd::null().expect("open"));
        assert!(matches!(
            send_packet(a, &[null.clone(), null], Deadline::Now, || false).expect("send"),
            Sent::Done
        ));
        assert_eq!(peek(b).expect("peek"), Heard::Packet(2));
        assert_eq!(take_packet(b, 2).expect("take").expect("all of them").len(), 2);
        assert_eq!(hear(b, Mode::Now).expect("hear"), Heard::Nothing);
    }

    #[test]
    fn ends_and_full_sockets_are_told() {
        let (a, b) = socket::pair().expect("pair");
        let null = Arc::new(fd::null().expect("open"));
        let full = (0..10_000).any(|_| {
            matches!(
                send_packet(a.as_fd(), &[Arc::clone(&null)], Deadline::Now, || false)
                    .expect("send"),
                Sent::NoRoom
            )
        });
        assert!(full);
        assert_eq!(wake(a.as_fd()), Peer::There);
        drop(b);
        assert_eq!(wake(a.as_fd()), Peer::Gone);
        assert!(matches!(
            send_packet(a.as_fd(), &[null], Deadline::Now, || false).expect("send"),
            Sent::PeerGone
        ));
        assert_eq!(hear(a.as_fd(), Mode::Wait).expect("hear"), Heard::End);
    }
}
