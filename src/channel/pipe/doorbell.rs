//! The socket beside a ring: it wakes who sleeps, tells of the end, and brings descriptors ahead of
//! the message they belong to.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec;
use crate::sys::ipc::bell::{self, Heard, Peer, Sent};
use crate::sys::ipc::socket::Mode;
use crate::sys::wait::poll::{self, Deadline};

/// Sets how many wake-ups in a row are taken for a message that is there: more of them is a peer's
/// malice.
const MAX_WAKE_UPS: usize = 4096;

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Bell {
    socket: Arc<OwnedFd>,
    packets: Mutex<Packets>,
    /// Nothing more comes over the socket.
    pub(crate) is_over: bool,
}

/// The descriptors that came.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// Counts how often.
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

    /// Wakes the other side.
    pub(crate) fn wake(&mut self) -> Peer {
        let peer = bell::wake(self.as_fd());
        self.is_over |= peer == Peer::Gone;
        peer
    }

    /// Returns whether nobody is at the other side any more.
    pub(crate) fn is_deserted(&self) -> io::Result<bool> {
        poll::hung_up(self.as_fd())
    }

    /// Takes the next wake-up, if the ring says that no packet is under way.
    pub(crate) fn hear(&mut self, mode: Mode) -> io::Result<Heard> {
        let heard = bell::hear(self.as_fd(), mode)?;
        self.is_over |= heard == Heard::End;
        Ok(heard)
    }

    /// Takes the next wake-up, or the packet that comes in its place. A second packet stays, and is
    /// told of.
    pub(crate) fn hear_or_take(&mut self) -> io::Result<Heard> {
        let packets = self.packets.get_mut().unwrap_or_else(PoisonError::into_inner);
        let heard = packets.hear_or_take(self.socket.as_fd())?;
        self.is_over |= heard == Heard::End;
        Ok(heard)
    }

    /// `hear_or_take`, for who only looks.
    pub(crate) fn look(&self) -> io::Result<Heard> {
        self.packets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hear_or_take(self.socket.as_fd())
    }

    /// Takes the next wake-up; a packet stays.
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

    /// Returns how many packets were taken.
    pub(crate) fn packets_came(&mut self) -> u64 {
        self.packets().came
    }

    fn packets(&mut self) -> &mut Packets {
        self.packets.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is early, for who passes this end on.
    pub(crate) fn with_packets<T>(&self, f: impl FnOnce(&Packets) -> T) -> T {
        f(&self.packets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The descriptors of a message that is in the ring and says that `count` come with it.
    pub(crate) fn packet(&mut self, count: u8) -> Result<Vec<Arc<OwnedFd>>, Missing> {
        for _ in 0..MAX_WAKE_UPS {
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

    /// Puts back what could not be delivered yet.
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

    /// Ends all: nothing that comes could be understood.
    pub(crate) fn shut(&mut self) {
        self.is_over = true;
        mem::take(self.packets());
        bell::shut(self.as_fd());
    }
}

impl Packets {
    fn hear_or_take(&mut self, socket: BorrowedFd<'_>) -> io::Result<Heard> {
        match bell::peek(socket)? {
            Heard::Wake => bell::hear(socket, Mode::Now),
            Heard::Packet(count) if self.early.is_none() => {
                // What is no such packet after all is as good as one without descriptors: no
                // message asks for none.
                let fds = bell::take_packet(socket, count)?.unwrap_or_default();
                self.early = Some(codec::table(fds));
                self.came = self.came.wrapping_add(1);
                Ok(Heard::Wake)
            }
            heard => Ok(heard),
        }
    }
}
