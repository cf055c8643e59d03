//! The handshakes that a listener with a key is in: many at a time, each with an end, none in the
//! way of another.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::address::Address;
use super::auth::{AuthenticationError, Handshake, Key, LONGEST, Side};
use super::stream::Stream;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::sys::ipc::net::{self, Accepted, Watch};
use crate::sys::wait::poll::Deadline;

/// The least time that a handshake has before it is ended for others who want its place.
const GRACE: Duration = Duration::from_secs(1);

/// The number of the listening socket in the watch.
const LISTENER: u64 = 0;

/// The handshakes that have begun, and the listening socket as long as there is room for more.
///
/// Each turn of `next`, in this order:
///
/// 1. End the oldest handshake if its time is over.
/// 2. Watch the listening socket again if there is room, or somebody who may be ended for others.
/// 3. Set the alarm for the oldest, so that 1 and 2 come in time without anybody's help.
/// 4. Wait for the listening socket, a handshake that has something to say, or the alarm.
///
/// Nobody is waited for alone: whoever is silent keeps a descriptor for its time, and nobody from
/// the door.
#[derive(Debug)]
pub(crate) struct PendingHandshakes {
    key: Key,
    timeout: Duration,
    /// The most handshakes at a time.
    most: usize,
    watch: Watch,
    /// By number, which is the order of their coming: the first is the oldest.
    pending: BTreeMap<u64, Pending>,
    next: u64,
    /// There is no room for more than these many: the listening socket is not watched.
    full_at: Option<usize>,
    /// The time that the alarm is set to.
    alarm: Option<Instant>,
}

/// One handshake.
#[derive(Debug)]
struct Pending {
    stream: Stream,
    handshake: Handshake,
    peer: Option<Address>,
    since: Instant,
}

/// One that came to its end.
#[derive(Debug)]
pub(crate) enum Outcome {
    Admitted { stream: Stream, peer: Option<Address> },
    Refused { peer: Option<Address>, error: AuthenticationError },
}

impl PendingHandshakes {
    pub(crate) fn new(
        key: Key,
        timeout: Duration,
        most: usize,
        listener: BorrowedFd<'_>,
    ) -> io::Result<PendingHandshakes> {
        let watch = Watch::new()?;
        watch.add(listener, LISTENER)?;
        let (pending, next) = (BTreeMap::new(), LISTENER + 1);
        Ok(PendingHandshakes {
            key,
            timeout,
            most: most.max(1),
            watch,
            pending,
            next,
            full_at: None,
            alarm: None,
        })
    }

    /// Returns what becomes readable whenever `next` has something to do.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Returns the next handshake that comes to its end; none at the deadline.
    ///
    /// # Errors
    /// No connection can be accepted, and none is pending whose end would help.
    pub(crate) fn next(
        &mut self,
        listener: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> io::Result<Option<Outcome>> {
        loop {
            // 1. of the turn. One at a time: the caller comes back for the others.
            if let Some(refused) = self.expire() {
                return Ok(Some(refused));
            }
            // 2. and 3.
            self.reopen(listener)?;
            self.set_alarm()?;
            // 4. Level-triggered: what is not handled in this turn is ready in the next.
            let Some(ready) = self.watch.ready(deadline)? else {
                return Ok(None);
            };
            for number in ready {
                let outcome = match number {
                    LISTENER => self.admit(listener)?,
                    number => self.advance(number),
                };
                // The others stay ready.
                if outcome.is_some() {
                    return Ok(outcome);
                }
            }
            // A stream of newcomers does not keep the caller beyond its time. (One who only looks
            // sees all that is ready.)
            if matches!(deadline, Deadline::At(_)) && deadline.is_over() {
                return Ok(None);
            }
        }
    }

    /// Takes one connection and challenges it.
    fn admit(&mut self, listener: BorrowedFd<'_>) -> io::Result<Option<Outcome>> {
        // The newcomer stays in the kernel's backlog until somebody has made room.
        if self.pending.len() >= self.most {
            return Ok(self.make_room(listener));
        }
        let (socket, place) = match net::accept(listener) {
            Ok(Accepted::Socket(socket, place)) => (socket, place),
            Ok(Accepted::Nothing | Accepted::Gone) => return Ok(None),
            // No descriptors or no memory: those that are pending have some.
            // With some pending, the lack is a reason to end the oldest of them. With none, it is
            // the caller's to know.
            Err(error) if self.pending.is_empty() => return Err(error),
            Err(_) => return Ok(self.make_room(listener)),
        };
        let peer = place.map(Address::from);
        // The challenge goes out at once, so that a quick client needs one round trip.
        match self.challenge(socket, peer.clone()) {
            Ok(pending) => {
                // Without a place in the watch, nobody would hear of it.
                if let Err(error) = self.watch.add(pending.stream.as_fd(), self.next) {
                    return Ok(Some(Outcome::Refused {
                        peer,
                        error: AuthenticationError::Os(error),
                    }));
                }
                self.pending.insert(self.next, pending);
                self.next += 1;
                Ok(None)
            }
            Err(error) => Ok(Some(Outcome::Refused { peer, error })),
        }
    }

    fn challenge(
        &self,
        socket: OwnedFd,
        peer: Option<Address>,
    ) -> Result<Pending, AuthenticationError> {
        let mut stream = Stream::new(socket).map_err(AuthenticationError::Os)?;
        let handshake = Handshake::new(Side::Listener, self.key.clone())?;
        if let Some(opening) = handshake.opening() {
            say(&mut stream, &opening)?;
        }
        Ok(Pending { stream, handshake, peer, since: Instant::now() })
    }

    /// Goes on with one that has said something.
    fn advance(&mut self, number: u64) -> Option<Outcome> {
        let Pending { stream, handshake, .. } = self.pending.get_mut(&number)?;
        match converse(stream, handshake, Deadline::Now) {
            Ok(()) => {
                let Pending { stream, peer, .. } = self.take(number)?;
                Some(Outcome::Admitted { stream, peer })
            }
            // It has said a part of a message, and is waited for with the others.
            Err(AuthenticationError::TimedOut) => None,
            Err(error) => self.refuse(number, error),
        }
    }

    fn take(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(&number)?;
        // Before its socket is closed: a number that is used again must not be taken for it.
        self.watch.remove(pending.stream.as_fd());
        Some(pending)
    }

    fn refuse(&mut self, number: u64, error: AuthenticationError) -> Option<Outcome> {
        let peer = self.take(number)?.peer;
        Some(Outcome::Refused { peer, error })
    }

    fn oldest(&self) -> Option<(u64, Instant)> {
        self.pending.first_key_value().map(|(number, pending)| (*number, pending.since))
    }

    /// Ends the oldest if it had its time.
    fn expire(&mut self) -> Option<Outcome> {
        let (number, since) = self.oldest()?;
        if since.elapsed() < self.timeout {
            return None;
        }
        self.refuse(number, AuthenticationError::TimedOut)
    }

    /// Ends the oldest in favour of a newcomer if it had the least time; else newcomers wait
    /// outside.
    fn make_room(&mut self, listener: BorrowedFd<'_>) -> Option<Outcome> {
        let (number, since) = self.oldest()?;
        // The one that has had the most time has the least to expect of more. All are left alone
        // for the grace, or a flood would end honest ones before they can answer.
        if since.elapsed() >= self.grace() {
            return self.refuse(number, AuthenticationError::TimedOut);
        }
        // Else the watch would report a listening socket that nobody may take from, and turn in
        // circles.
        self.watch.remove(listener);
        self.full_at = Some(self.pending.len());
        None
    }

    fn grace(&self) -> Duration {
        GRACE.min(self.timeout)
    }

    /// Lets newcomers in again when there is room, or one that may be ended for them.
    fn reopen(&mut self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let Some(full_at) = self.full_at else { return Ok(()) };
        let may_end = self.oldest().is_none_or(|(_, since)| since.elapsed() >= self.grace());
        if may_end || self.pending.len() < full_at {
            self.watch.add(listener, LISTENER)?;
            self.full_at = None;
        }
        Ok(())
    }

    /// Makes the watch wake up when the oldest must or may be ended.
    fn set_alarm(&mut self) -> io::Result<()> {
        // While newcomers wait outside, the oldest may be ended for them after the grace; otherwise
        // it has its whole time.
        let patience = if self.full_at.is_some() { self.grace() } else { self.timeout };
        let when = self.oldest().and_then(|(_, since)| since.checked_add(patience));
        // Set only when it changes: a call of the kernel for each turn would be one too many.
        if when != self.alarm {
            self.watch
                .wake_after(when.map(|when| when.saturating_duration_since(Instant::now())))?;
            self.alarm = when;
        }
        Ok(())
    }
}

/// Talks until both sides are sure of each other.
pub(crate) fn converse(
    stream: &mut Stream,
    handshake: &mut Handshake,
    deadline: Deadline,
) -> Result<(), AuthenticationError> {
    let mut message = Vec::new();
    while !handshake.is_done() {
        // The other side is a stranger so far, so no more than a short message is read from it.
        message.clear();
        stream.recv(&mut message, LONGEST, deadline).map_err(|fault| match fault {
            RecvTransportError::Empty => AuthenticationError::TimedOut,
            RecvTransportError::Disconnected | RecvTransportError::Truncated => {
                AuthenticationError::Disconnected
            }
            RecvTransportError::TooLong { .. } => {
                AuthenticationError::Garbage("a message that is too long".to_owned())
            }
            RecvTransportError::Corrupt(why) => AuthenticationError::Garbage(why.to_owned()),
            RecvTransportError::Os(error) => AuthenticationError::Os(error),
        })?;
        match handshake.received(&message) {
            Ok(answers) => answers.iter().try_for_each(|answer| say(stream, answer))?,
            Err(error) => {
                // It waits for a verdict; it is told, and hears nothing else of us.
                if let Some(farewell) = handshake.farewell() {
                    let _ = say(stream, farewell);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Sends a message of the handshake. An empty socket has room for all of them; who has none reads
/// nothing.
fn say(stream: &mut Stream, message: &[u8]) -> Result<(), AuthenticationError> {
    stream.send(message, &[], Deadline::Now).map_err(|fault| match fault {
        SendTransportError::Full => AuthenticationError::TimedOut,
        SendTransportError::Os(error) => AuthenticationError::Os(error),
        SendTransportError::Disconnected
        | SendTransportError::NoDescriptors
        | SendTransportError::TooManyDescriptors
        | SendTransportError::TooLong
        | SendTransportError::Encode(_)
        | SendTransportError::Corrupt => AuthenticationError::Disconnected,
    })
}
