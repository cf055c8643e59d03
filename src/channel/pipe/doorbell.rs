//! The socket beside a ring: it wakes who sleeps, tells of the end, and brings descriptors ahead of
//! the message they belong to.
//!
//! Three things come over it, in order: wake-ups (one byte, no meaning of their own: whoever takes
//! one looks at the ring), packets (descriptors, which the ring has announced), and at last the
//! end, which the kernel tells when the last copy of the other end is closed, also by a death.
//!
//! A receiver that expects no packet takes wake-ups by a plain read, which is cheaper, but would
//! lose descriptors. So a sender announces a packet and wakes the receiver before it sends it:
//!
//! ```text
//!   sender                              receiver, asleep in a plain read
//!   1. count of packets + 1, fence
//!   2. takes the flag down, wakes  -->  wakes, sees the count, reads with room for descriptors
//!   3. sends the packet            -->  takes it, keeps it as `early`
//!   4. publishes the record        -->  finds the record, takes `early`
//! ```
//!
//! The flag that was taken down in 2 tells it whether the receiver could be asleep at all: one that
//! raises its flag later sees the count of 1.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::ring::Other;
use crate::channel::transport::SendTransportError;
use crate::codec;
use crate::sys::ipc::bell::{self, Heard, Peer, Sent};
use crate::sys::ipc::socket::Mode;
use crate::sys::wait::poll::{self, Deadline};

/// The most wake-ups that are taken in search of a packet whose message is there: more of them is a
/// peer's malice.
const MAX_WAKE_UPS: usize = 4096;

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Bell {
    socket: Arc<OwnedFd>,
    packets: Mutex<Packets>,
    /// Nothing more comes over the socket.
    pub(crate) is_over: bool,
}

/// The packets of descriptors that came.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// The number of packets taken so far, to compare with the count in the ring.
    pub(crate) came: u64,
    /// Those whose message is not there yet. One packet at most: the message is written right
    /// behind it.
    pub(crate) early: Option<Vec<Arc<OwnedFd>>>,
}

/// Why the descriptors of a message are not there.
#[derive(Debug)]
pub(crate) enum Missing {
    Os(io::Error),
    /// The other side did not keep to the rules.
    Never,
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Missing {
        Missing::Os(error)
    }
}

impl Bell {
    pub(crate) fn new(socket: Arc<OwnedFd>, packets: Packets) -> Bell {
        Bell { socket, packets: Mutex::new(packets), is_over: false }
    }

    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Wakes the other side; tells if it is gone.
    pub(crate) fn wake(&mut self) -> Peer {
        let peer = bell::wake(self.as_fd());
        // Kept, so that a later call needs not ask the kernel again.
        self.is_over |= peer == Peer::Gone;
        peer
    }

    /// Returns true if nobody has the other end any more. A call of the kernel.
    pub(crate) fn is_deserted(&self) -> io::Result<bool> {
        poll::hung_up(self.as_fd())
    }

    /// Takes the next wake-up by a plain read. Only if the ring says that no packet is under way,
    /// as its descriptors would be lost.
    pub(crate) fn hear(&mut self, mode: Mode) -> io::Result<Heard> {
        let heard = bell::hear(self.as_fd(), mode)?;
        self.is_over |= heard == Heard::End;
        Ok(heard)
    }

    /// Takes the next wake-up, or the packet that comes in its place. A second packet stays, and is
    /// told of.
    pub(crate) fn hear_or_take(&mut self) -> io::Result<Heard> {
        let packets = self.packets.get_mut().unwrap_or_else(PoisonError::into_inner);
        // By peeking first: what is read without room for descriptors loses them.
        let heard = packets.hear_or_take(self.socket.as_fd())?;
        self.is_over |= heard == Heard::End;
        Ok(heard)
    }

    /// As `hear_or_take`, for who only looks and has this end shared.
    pub(crate) fn look(&self) -> io::Result<Heard> {
        self.packets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hear_or_take(self.socket.as_fd())
    }

    /// Takes the next wake-up; a packet stays, for who receives at this end.
    pub(crate) fn hear_no_packet(&mut self) -> io::Result<Heard> {
        let mut heard = bell::peek(self.as_fd())?;
        if heard == Heard::Wake {
            heard = bell::hear(self.as_fd(), Mode::Now)?;
        }
        self.is_over |= heard == Heard::End;
        Ok(heard)
    }

    /// Sleeps until something comes; false at the deadline.
    pub(crate) fn sleep(&self, deadline: Deadline) -> io::Result<bool> {
        poll::one_readable(self.as_fd(), deadline)
    }

    /// Returns the number of packets that were taken.
    pub(crate) fn packets_came(&mut self) -> u64 {
        self.packets().came
    }

    fn packets(&mut self) -> &mut Packets {
        self.packets.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with the packets, for who passes this end on.
    pub(crate) fn with_packets<T>(&self, f: impl FnOnce(&Packets) -> T) -> T {
        f(&self.packets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the descriptors of a message that is in the ring and says that `count` come with it.
    pub(crate) fn packet(&mut self, count: u8) -> Result<Vec<Arc<OwnedFd>>, Missing> {
        for _ in 0..MAX_WAKE_UPS {
            // The usual case: it came while we slept, or while somebody looked.
            if let Some(fds) = self.packets().early.take() {
                return if fds.len() == usize::from(count) { Ok(fds) } else { Err(Missing::Never) };
            }
            // It was sent before the message was published.
            if matches!(self.hear_or_take()?, Heard::Nothing | Heard::End) {
                break;
            }
        }
        Err(Missing::Never)
    }

    /// Puts back descriptors whose message could not be delivered yet.
    pub(crate) fn put_back(&mut self, fds: Vec<Arc<OwnedFd>>) {
        self.packets().early = Some(fds);
    }

    /// Sends descriptors, to a receiver that may be behind with earlier messages.
    pub(crate) fn send_packet(
        &self,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
        is_behind: impl FnMut() -> bool,
    ) -> io::Result<Sent> {
        bell::send_packet(self.as_fd(), fds, deadline, is_behind)
    }

    /// Shuts the socket down for both sides, and copies of it in other processes: nothing that
    /// comes could be understood.
    pub(crate) fn shut(&mut self) {
        self.is_over = true;
        // Descriptors that nobody will get any more are closed now, not when this end is dropped.
        mem::take(self.packets());
        bell::shut(self.as_fd());
    }
}

impl Packets {
    fn hear_or_take(&mut self, socket: BorrowedFd<'_>) -> io::Result<Heard> {
        match bell::peek(socket)? {
            // It was a wake-up when we peeked, and we are the only reader, so it is one still.
            Heard::Wake => bell::hear(socket, Mode::Now),
            Heard::Packet(count) if self.early.is_none() => {
                // What is no such packet after all is as good as one without descriptors: no
                // message asks for none.
                let fds = bell::take_packet(socket, count)?.unwrap_or_default();
                self.early = Some(codec::table(fds));
                // Counted even if it was none: the ring's count has it, and both have to agree.
                self.came = self.came.wrapping_add(1);
                Ok(Heard::Wake)
            }
            heard => Ok(heard),
        }
    }
}
/// Wakes the other side if it sleeps. A socket that is full of wake-ups needs no more of them.
pub(super) fn wake(bell: &mut Bell, other: Other) -> Result<(), SendTransportError> {
    if other == Other::Sleeps && bell.wake() == Peer::Gone {
        return Err(SendTransportError::Disconnected);
    }
    Ok(())
}
