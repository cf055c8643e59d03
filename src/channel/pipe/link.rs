//! Two rings and one socket: what carries the messages of both directions between two processes of
//! one machine.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::doorbell::{Bell, Packets};
use super::glance::Glance;
use super::inbound::{Inbound, MovedInbound};
use super::outbound::Outbound;
use super::segment::Segment;
use crate::channel::transport::{Parts, RecvTransportError, SendTransportError};
use crate::codec::Carried;
use crate::sys::ipc::socket;
use crate::sys::wait::poll::Deadline;

/// One end: sends into one ring, receives from the other.
pub(crate) struct RingLink {
    bell: Bell,
    segment: Arc<Segment>,
    /// The ring of `segment` that it receives from; it sends into the other.
    receives_from: usize,
    inbound: Inbound,
    outbound: Outbound,
}

impl RingLink {
    /// Makes both ends. Each direction holds at least `capacity` bytes, headers included; both
    /// rings lie in one memory file, which is one descriptor.
    pub(crate) fn pair(capacity: usize) -> io::Result<(RingLink, RingLink)> {
        let segment = Arc::new(Segment::create(2, capacity)?);
        let (near, far) = socket::pair()?;
        let end = |socket: OwnedFd, receives_from: usize| RingLink {
            bell: Bell::new(Arc::new(socket), Packets::default()),
            segment: Arc::clone(&segment),
            receives_from,
            inbound: Inbound::new(Arc::clone(&segment), receives_from),
            // Each end sends into the ring that the other receives from.
            outbound: Outbound::new(Arc::clone(&segment), 1 - receives_from),
        };
        Ok((end(near, 0), end(far, 1)))
    }

    /// See `Outbound::send`.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        self.outbound.send(&mut self.bell, bytes, fds, deadline)
    }

    /// See `Outbound::send_parts`.
    #[inline(always)]
    pub(crate) fn send_parts(
        &mut self,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        deadline: Deadline,
    ) -> Result<(), SendTransportError> {
        self.outbound.send_parts(&mut self.bell, parts, fds, deadline)
    }

    /// See `Inbound::recv`.
    pub(crate) fn recv(
        &mut self,
        onto: &mut Vec<u8>,
        limit: u64,
        deadline: Deadline,
    ) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        self.inbound.recv(&mut self.bell, onto, limit, deadline)
    }

    /// See `Inbound::drain`.
    pub(crate) fn drain(
        &mut self,
        onto: &mut Vec<u8>,
        limit: u64,
        each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>),
    ) -> Result<bool, RecvTransportError> {
        self.inbound.drain(&mut self.bell, onto, limit, each)
    }

    /// See `Inbound::drain_awake`.
    pub(crate) fn drain_awake(
        &mut self,
        onto: &mut Vec<u8>,
        limit: u64,
        each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>),
    ) -> bool {
        self.inbound.drain_awake(&mut self.bell, onto, limit, each)
    }

    /// See `Inbound::glance`. `left` bytes of a message are still to be sent: it looks for room for
    /// them as well.
    pub(crate) fn glance(&self, own: u64, left: usize) -> Glance {
        let mut glance = self.inbound.glance(own);
        glance.room = (left > 0).then(|| self.outbound.prospect(left));
        glance
    }

    /// See `Inbound::look_no_more`.
    pub(crate) fn look_no_more(&self) -> bool {
        self.inbound.look_no_more()
    }

    /// See `Inbound::salvage`.
    pub(crate) fn salvage(&self, mark: u32, length: usize, onto: &mut Vec<u8>) -> bool {
        self.inbound.salvage(mark, length, onto)
    }

    /// Returns the half that sends, for who writes ahead.
    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    /// Returns true if there is nothing in the ring that it receives from.
    pub(crate) fn is_empty(&self) -> bool {
        self.inbound.is_empty()
    }

    /// See `Outbound::push_quietly`.
    pub(crate) fn push_quietly(&mut self, bytes: &[u8]) -> Result<bool, SendTransportError> {
        self.outbound.push_quietly(bytes)
    }

    /// See `Outbound::nudge`.
    pub(crate) fn wake_peer(&mut self) -> Result<(), SendTransportError> {
        self.outbound.wake_receiver(&mut self.bell)
    }

    /// See `Outbound::send_some`.
    pub(crate) fn send_some(
        &mut self,
        parts: Parts<'_>,
        fds: &[Arc<OwnedFd>],
        sent: &mut usize,
    ) -> Result<bool, SendTransportError> {
        self.outbound.send_some(&mut self.bell, parts, fds, sent)
    }

    /// See `Outbound::send_some_awake`.
    pub(crate) fn send_some_awake(
        &mut self,
        parts: Parts<'_>,
        sent: &mut usize,
    ) -> Result<bool, SendTransportError> {
        self.outbound.send_some_awake(&mut self.bell, parts, sent)
    }

    /// See `Inbound::poll`.
    pub(crate) fn poll(&mut self, limit: u64, deadline: Deadline) -> io::Result<bool> {
        self.inbound.poll(&mut self.bell, limit, deadline)
    }

    /// See `Outbound::poll_room`.
    pub(crate) fn poll_room(&self) -> io::Result<bool> {
        self.outbound.poll_room(&self.bell)
    }

    /// Returns true if there is room or something to receive. If not, the descriptor will tell.
    ///
    /// In this order: `is_ready` takes wake-ups, and a wake-up for a wish that stands would be
    /// missed; those for values it takes before it looks a last time.
    pub(crate) fn is_ready_or_has_room(&self) -> io::Result<bool> {
        Ok(self.is_ready()? || self.outbound.wish_for_room())
    }

    /// See `Outbound::wish_for_room`.
    #[cfg(feature = "async")]
    pub(crate) fn wish_for_room(&self) -> bool {
        self.outbound.wish_for_room()
    }

    /// The half that receives.
    #[cfg(feature = "async")]
    pub(crate) fn inbound(&mut self) -> &mut Inbound {
        &mut self.inbound
    }

    /// See `Inbound::is_ready`.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        self.inbound.is_ready(&self.bell)
    }

    /// Ends the link for both sides, also while copies of it are open in other processes.
    pub(crate) fn shut(&mut self) {
        self.bell.shut();
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for RingLink {
    fn drop(&mut self) {
        self.inbound.leave();
    }
}

impl fmt::Debug for RingLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RingLink { bell, inbound, outbound, .. } = self;
        let mut shown = f.debug_struct("RingLink");
        shown.field("bell", bell).field("inbound", inbound).field("outbound", outbound).finish()
    }
}

/// The socket of an end on its way to another process, and what came over it.
#[derive(Serialize, Deserialize)]
pub(crate) struct MovedBell {
    socket: Carried,
    came: u64,
    early: Option<Vec<Carried>>,
    is_over: bool,
}

impl Bell {
    /// Returns what `resume` needs.
    pub(crate) fn state(&self) -> MovedBell {
        let carried =
            |fds: &Vec<Arc<OwnedFd>>| fds.iter().map(|fd| Carried(Arc::clone(fd))).collect();
        self.with_packets(|packets| MovedBell {
            socket: Carried(Arc::clone(self.socket())),
            came: packets.came,
            early: packets.early.as_ref().map(carried),
            is_over: self.is_over,
        })
    }

    /// The end that was in another process.
    pub(crate) fn resume(moved: MovedBell) -> Bell {
        let early = moved.early.map(|fds| fds.into_iter().map(|fd| fd.0).collect());
        let mut bell = Bell::new(moved.socket.0, Packets { came: moved.came, early });
        bell.is_over = moved.is_over;
        bell
    }
}

/// An end on its way to another process.
#[derive(Serialize, Deserialize)]
struct Moved {
    bell: MovedBell,
    memory: Carried,
    receives_from: u8,
    inbound: MovedInbound,
    outbound: [u64; 2],
}

impl Serialize for RingLink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let moved = Moved {
            bell: self.bell.state(),
            memory: Carried(Arc::clone(self.segment.fd())),
            receives_from: u8::from(self.receives_from == 1),
            inbound: self.inbound.state(),
            outbound: self.outbound.state(),
        };
        moved.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RingLink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RingLink, D::Error> {
        let moved = Moved::deserialize(deserializer)?;
        let segment = Arc::new(Segment::open(moved.memory.0, 2).map_err(D::Error::custom)?);
        // Any number from outside is one of two: there is no third ring to be led to.
        let receives_from = usize::from(moved.receives_from != 0);
        let inbound = Inbound::resume(Arc::clone(&segment), receives_from, moved.inbound);
        let outbound = Outbound::resume(Arc::clone(&segment), 1 - receives_from, moved.outbound);
        Ok(RingLink {
            bell: Bell::resume(moved.bell),
            segment,
            receives_from,
            inbound: inbound.map_err(|corrupt| D::Error::custom(corrupt.0))?,
            outbound: outbound.map_err(|corrupt| D::Error::custom(corrupt.0))?,
        })
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
