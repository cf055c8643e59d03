//! A line: messages between two sides, each delivered once and in order, over a way that may lose,
//! repeat and reorder packets.
//!
//! The broker promises little, and this crate relies on less: a server that is killed takes with it
//! whatever it had in memory, and a client that reconnects has missed what was sent meanwhile. So
//! each side numbers what it sends, keeps it until the other side has acknowledged it, and sends it
//! again if that takes too long. No state of the broker's takes part, so none can be lost.
//!
//! A line is pure: packets go in with the time, packets come out, and nothing here waits. The tests
//! at the end are its model: both sides, over every order of a few losses and repetitions, and over
//! random ones.
//!
//! ```text
//! packet:  number of the first unit (u64) | units had so far (u64) | unit | unit | ..
//! unit:    length (u32, top bit: the message goes on in the next unit) | bytes
//! ```
//!
//! # Order of operations
//!
//! 1. A message is cut into units, which are numbered, and kept.
//! 2. Units go out in packets, as far as [`WINDOW`] allows.
//! 3. The other side takes the unit that it expects, and drops all others: earlier ones are
//!    repetitions, later ones come again.
//! 4. Its packets say how many it had; those are forgotten here, for good.
//! 5. If nothing more is acknowledged for [`AGAIN`], or for a longer time where answers take long,
//!    everything from the first that is not is sent again.
//!
//! # How much is on its way
//!
//! Many sides may send to one, all of them through a broker that disconnects whoever has more than
//! 64 MB waiting for him. So a side has few bytes on their way at first, more as long as what it
//! sends is acknowledged about as quickly as it ever was, and fewer once that takes longer: what
//! waits somewhere waits because too much is on its way. What had to be sent again is sent a unit
//! at a time, and ever more seldom: repetitions would only wait behind what they repeat.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of a unit, at the most. A packet has at least one whole unit, so this has to be less than
/// what a broker accepts.
const UNIT: usize = 128 << 10;

/// Bytes of units in a packet, unless the first is longer.
const PACKET: usize = 256 << 10;

/// Bytes that are on their way at a time, at the most. At first, and where something had to be sent
/// again, it is one unit.
const WINDOW: usize = 8 << 20;

/// Bytes that may be on their way however long they take: a machine may be busy with other things.
const WINDOW_IF_CROWDED: usize = 512 << 10;

/// Time that units wait on their way, beyond the least that was seen: up to which more may be on
/// their way, and from which on fewer have to be.
const CALM: Duration = Duration::from_millis(40);
const CROWDED: Duration = Duration::from_millis(120);

/// Time without an acknowledgement after which units are sent again: at first, and at the most. The
/// latter is less than the time after which either side takes the other for lost.
pub(crate) const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_LONGEST: Duration = Duration::from_secs(2);

/// Time that an acknowledgement waits for a message that takes it along.
const ACK: Duration = Duration::from_millis(20);

/// Units, and bytes of them, that are acknowledged at once if they came since the last
/// acknowledgement.
const ACK_NOW: u64 = 64;
const ACK_NOW_BYTES: usize = UNIT;

/// Time after which a side that has nothing to say says so.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// A message is no longer than this, as in the core.
const LONGEST: usize = 1 << 30;

/// Set in the length of a unit whose message goes on.
const MORE: u32 = 1 << 31;

/// Why a packet makes no sense. It is of somebody who has the key, so the other side is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbage;

/// One side of a line.
#[derive(Debug)]
pub(crate) struct Line {
    /// Units that were not acknowledged, with whether their message goes on.
    kept: VecDeque<(Vec<u8>, bool)>,
    /// Bytes of all of them.
    backlog: usize,
    /// Number of the first of them.
    first: u64,
    /// Number of the next unit to go out.
    next: u64,
    /// Bytes of the units between these two.
    out: usize,
    /// Bytes that may be.
    window: usize,
    /// Time after which units are sent again.
    again: Duration,
    /// A unit whose acknowledgement is awaited, and the time at which it was sent.
    probe: Option<(u64, Instant)>,
    /// The least time that an acknowledgement has taken.
    least: Option<Duration>,
    /// Time of the last acknowledgement of something new, or of the sending of the first unit.
    progress: Instant,
    /// Number of the unit that is expected.
    expected: u64,
    /// What came of the message that is under way.
    partial: Vec<u8>,
    /// Units that came since the last packet went out.
    unacknowledged: u64,
    unacknowledged_bytes: usize,
    /// Time by which the next acknowledgement is to go out.
    ack_by: Option<Instant>,
    /// Time of the last packet that went out.
    sent: Instant,
}

impl Line {
    /// A line on which nothing was said.
    pub(crate) fn new(now: Instant) -> Line {
        Line {
            kept: VecDeque::new(),
            backlog: 0,
            first: 0,
            next: 0,
            out: 0,
            window: UNIT,
            again: AGAIN,
            probe: None,
            least: None,
            progress: now,
            expected: 0,
            partial: Vec::new(),
            unacknowledged: 0,
            unacknowledged_bytes: 0,
            ack_by: None,
            sent: now,
        }
    }

    /// Says a message.
    pub(crate) fn say(&mut self, message: &[u8]) {
        let count = message.len().div_ceil(UNIT).max(1);
        self.backlog += message.len();
        for number in 0..count {
            let start = number * UNIT;
            let end = message.len().min(start + UNIT);
            self.kept.push_back((message[start..end].to_vec(), number + 1 < count));
        }
    }

    /// Has a packet go out at once, whether or not there is anything to say.
    pub(crate) fn greet(&mut self) {
        self.ack_by = Some(self.sent);
    }

    /// Returns the bytes of what was said and is not known to have arrived.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog
    }

    /// Returns whether everything that was said has arrived.
    pub(crate) fn is_settled(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the next packet to go out now, if there is one. To be called until there is none.
    pub(crate) fn packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next > self.first && now >= self.progress + self.again {
            (self.next, self.out, self.progress) = (self.first, 0, now);
            // What is acknowledged from now on may be either copy.
            (self.window, self.probe) = (UNIT, None);
            self.again = (self.again * 2).min(AGAIN_LONGEST);
        }
        let mut packet = Vec::new();
        packet.extend_from_slice(&self.next.to_le_bytes());
        packet.extend_from_slice(&self.expected.to_le_bytes());
        let head = packet.len();
        while self.out < self.window && packet.len() < PACKET {
            let Ok(at) = usize::try_from(self.next - self.first) else { break };
            let Some((unit, goes_on)) = self.kept.get(at) else { break };
            if packet.len() > head && packet.len() + unit.len() > PACKET {
                break;
            }
            if at == 0 {
                self.progress = now;
            }
            let length = unit.len() as u32 | if *goes_on { MORE } else { 0 };
            packet.extend_from_slice(&length.to_le_bytes());
            packet.extend_from_slice(unit);
            self.out += unit.len();
            self.next += 1;
        }
        let is_due = self.ack_by.is_some_and(|by| by <= now)
            || self.unacknowledged >= ACK_NOW
            || self.unacknowledged_bytes >= ACK_NOW_BYTES
            || now >= self.sent + BEAT;
        if packet.len() == head && !is_due {
            return None;
        }
        if packet.len() > head {
            self.probe.get_or_insert((self.next - 1, now));
        }
        (self.ack_by, self.sent) = (None, now);
        (self.unacknowledged, self.unacknowledged_bytes) = (0, 0);
        Some(packet)
    }

    /// Returns when [`packet`](Line::packet) is to be called again, if nothing happens before.
    pub(crate) fn due(&self) -> Instant {
        let again = (self.next > self.first).then(|| self.progress + self.again);
        [again, self.ack_by].into_iter().flatten().fold(self.sent + BEAT, Instant::min)
    }

    /// Takes a packet, and appends the messages that are whole with it.
    ///
    /// # Errors
    /// It makes no sense; nothing of the line is to be believed any more.
    pub(crate) fn hear(
        &mut self,
        packet: &[u8],
        now: Instant,
        messages: &mut Vec<Vec<u8>>,
    ) -> Result<(), Garbage> {
        let (number, rest) = packet.split_first_chunk().ok_or(Garbage)?;
        let (had, mut rest) = rest.split_first_chunk().ok_or(Garbage)?;
        self.acknowledge(u64::from_le_bytes(*had), now)?;
        let mut number = u64::from_le_bytes(*number);
        while !rest.is_empty() {
            let (length, behind) = rest.split_first_chunk().ok_or(Garbage)?;
            let length = u32::from_le_bytes(*length);
            let (goes_on, length) = (length & MORE != 0, (length & !MORE) as usize);
            let unit = behind.get(..length).ok_or(Garbage)?;
            rest = &behind[length..];
            // Also for a repetition: its acknowledgement was lost.
            self.ack_by.get_or_insert(now + ACK);
            if number == self.expected {
                self.take(unit, goes_on, messages)?;
            }
            number = number.checked_add(1).ok_or(Garbage)?;
        }
        Ok(())
    }

    /// Forgets what the other side has had.
    fn acknowledge(&mut self, had: u64, now: Instant) -> Result<(), Garbage> {
        // It cannot have had what was never sent.
        let sent = self.first + self.kept.len() as u64;
        if had > sent {
            return Err(Garbage);
        }
        while self.first < had {
            let Some((unit, _)) = self.kept.pop_front() else { return Err(Garbage) };
            self.backlog -= unit.len();
            // What is to be sent again may have arrived all the same.
            if self.next > self.first {
                self.out -= unit.len();
            }
            self.first += 1;
            self.next = self.next.max(self.first);
            self.progress = now;
        }
        if let Some((number, sent)) = self.probe
            && had > number
        {
            self.probe = None;
            self.adapt(now.saturating_duration_since(sent));
        }
        Ok(())
    }

    /// Has more or fewer bytes on their way, as an acknowledgement has taken so long.
    fn adapt(&mut self, took: Duration) {
        // The first may have waited already.
        let least = took.min(self.least.unwrap_or(CROWDED - CALM));
        let waited = took - least;
        if waited < CALM {
            self.window = (self.window * 2).min(WINDOW);
        } else if self.window < WINDOW_IF_CROWDED {
            self.window += UNIT;
        } else if waited > CROWDED {
            self.window = (self.window / 2).max(WINDOW_IF_CROWDED);
        }
        self.again = (took * 2).clamp(AGAIN, AGAIN_LONGEST);
        // Forgotten bit by bit: the way may have become longer for good.
        self.least = Some(least + waited / 64);
    }

    /// Takes the unit that was expected.
    fn take(
        &mut self,
        unit: &[u8],
        goes_on: bool,
        messages: &mut Vec<Vec<u8>>,
    ) -> Result<(), Garbage> {
        if self.partial.len() + unit.len() > LONGEST {
            return Err(Garbage);
        }
        self.expected += 1;
        self.unacknowledged += 1;
        self.unacknowledged_bytes += unit.len();
        self.partial.extend_from_slice(unit);
        if !goes_on {
            messages.push(std::mem::take(&mut self.partial));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
