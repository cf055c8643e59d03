//! Bytes that may be many: the arguments of a job on their way to a worker, or an answer.
//!
//! New memory of the system costs several times as much as to copy a message into it: each page of
//! it is a fault. So the room of long messages is kept for the next ones, by all pools of this
//! process together:
//!
//! - room of [`LONG`] to [`MAX_ROOM`] bytes is kept, up to [`MAX_KEPT`] bytes in all;
//! - it is given back once [`SMALL_IN_A_ROW`] messages in a row have not needed it, or a pool ends.
//!
//! As long as all messages are short, nothing is kept, and nothing is locked. Nobody waits for the
//! lock either: who finds it taken (or its holder left behind, in a forked copy of the process)
//! takes new memory.

use std::mem;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// Bytes from which on a message is long: its bytes are shared instead of copied, and its room is
/// kept.
pub(crate) const LONG: usize = 64 << 10;

/// Bytes of the largest room that is kept.
const MAX_ROOM: usize = 4 << 20;

/// Bytes of all room that is kept.
const MAX_KEPT: usize = 8 << 20;

/// Messages in a row that had no use for the room that was kept, until it is given back.
const SMALL_IN_A_ROW: u8 = 64;

/// Bytes of unused room that are not worth a copy: the least that an allocator gives.
const LITTLE: usize = 32;

/// The bytes of a message. To copy long ones is to count one owner more.
#[derive(Clone)]
pub(crate) enum Bulk {
    /// A short message.
    Few(Vec<u8>),
    /// A part of a long one.
    Many { all: Arc<Kept>, part: Range<usize> },
}

/// The bytes of a long message, whose room is kept when its last owner is gone.
pub(crate) struct Kept(Vec<u8>);

impl Bulk {
    /// A message of its own. Room that it does not need is given back or kept for others, as a job
    /// may wait for long, and there are many of them.
    pub(crate) fn new(mut bytes: Vec<u8>) -> Bulk {
        let unused = bytes.capacity().saturating_sub(bytes.len());
        if unused > bytes.len().max(LITTLE) {
            let exact = bytes.as_slice().to_vec();
            settle(&mut bytes);
            keep(bytes);
            bytes = exact;
        }
        if bytes.len() < LONG {
            return Bulk::Few(bytes);
        }
        let part = 0..bytes.len();
        Bulk::Many { all: Arc::new(Kept(bytes)), part }
    }

    /// Returns whether it is long, so that a copy of it is cheap.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self, Bulk::Many { .. })
    }

    /// Cuts it: keeps the first `at` bytes, and returns the others.
    pub(crate) fn split_off(&mut self, at: usize) -> Bulk {
        match self {
            Bulk::Few(bytes) => Bulk::Few(bytes.split_off(at)),
            Bulk::Many { all, part } => {
                let middle = part.start.saturating_add(at).min(part.end);
                let rest = Bulk::Many { all: Arc::clone(all), part: middle..part.end };
                part.end = middle;
                rest
            }
        }
    }
}

impl Deref for Bulk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bulk::Few(bytes) => bytes,
            Bulk::Many { all, part } => all.0.get(part.clone()).unwrap_or_default(),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        keep(mem::take(&mut self.0));
    }
}

/// The room that is kept.
struct Spares {
    rooms: Vec<Vec<u8>>,
    /// Messages in a row that had no use for it.
    small: u8,
}

static SPARES: Mutex<Spares> = Mutex::new(Spares { rooms: Vec::new(), small: 0 });

/// True if there is any; looked at without the lock.
static IS_ANY: AtomicBool = AtomicBool::new(false);

fn spares() -> Option<MutexGuard<'static, Spares>> {
    match SPARES.try_lock() {
        Ok(spares) => Some(spares),
        // A list of buffers is whole at any moment.
        Err(TryLockError::Poisoned(spares)) => Some(spares.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Returns an empty buffer, with room if some is kept.
pub(crate) fn spare() -> Vec<u8> {
    // Relaxed: who does not see it takes new memory.
    if !IS_ANY.load(Ordering::Relaxed) {
        return Vec::with_capacity(LITTLE);
    }
    let Some(mut spares) = spares() else { return Vec::with_capacity(LITTLE) };
    let room = spares.rooms.pop();
    IS_ANY.store(!spares.rooms.is_empty(), Ordering::Relaxed);
    room.unwrap_or_else(|| Vec::with_capacity(LITTLE))
}

/// Keeps room, if it is worth it and there is not too much already.
fn keep(mut room: Vec<u8>) {
    if !(LONG..=MAX_ROOM).contains(&room.capacity()) {
        return;
    }
    room.clear();
    let Some(mut spares) = spares() else { return };
    let kept: usize = spares.rooms.iter().map(Vec::capacity).sum();
    if kept.saturating_add(room.capacity()) <= MAX_KEPT {
        spares.rooms.push(room);
        IS_ANY.store(true, Ordering::Relaxed);
    }
}

/// Looks at a buffer after a message was in it: gives its room back, with all that is kept, if it
/// was too much for many messages in a row.
pub(crate) fn settle(buffer: &mut Vec<u8>) {
    if buffer.capacity() < LONG {
        return;
    }
    let Some(mut spares) = spares() else { return };
    let is_used = buffer.len() >= buffer.capacity() / 4;
    spares.small = if is_used { 0 } else { spares.small.saturating_add(1) };
    if spares.small < SMALL_IN_A_ROW {
        return;
    }
    spares.small = 0;
    let rooms = mem::take(&mut spares.rooms);
    IS_ANY.store(false, Ordering::Relaxed);
    // To give memory back may take long.
    drop(spares);
    drop(rooms);
    *buffer = Vec::new();
}

/// Gives all room back that is kept.
pub(crate) fn give_back() {
    if let Some(mut spares) = spares() {
        IS_ANY.store(false, Ordering::Relaxed);
        let rooms = mem::take(&mut spares.rooms);
        drop(spares);
        drop(rooms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_where_it_is() {
        for length in [10, LONG, 3 * LONG] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut first = Bulk::new(bytes.clone());
            let whole = first.clone();
            assert_eq!(first.is_long(), length >= LONG);
            let mut rest = first.split_off(7);
            let last = rest.split_off(2);
            assert!(first[..] == bytes[..7] && rest[..] == bytes[7..9] && last[..] == bytes[9..]);
            assert!(whole[..] == bytes[..]);
        }
    }

    // One test, as there is one place for all that is kept.
    #[test]
    fn room_is_kept_for_a_while() {
        give_back();
        drop(Bulk::new(vec![1; 2 * LONG]));
        let mut room = spare();
        // Another test may have been faster; then there is nothing to see.
        if room.capacity() < LONG {
            return;
        }
        assert!(room.is_empty());
        // A short message leaves the room to others, and long waiting gives it back.
        for _ in 0..=SMALL_IN_A_ROW {
            room.clear();
            room.push(1);
            let short = Bulk::new(room);
            assert!(!short.is_long() && short[..] == [1]);
            room = spare();
        }
        assert!(room.capacity() < LONG, "it was not given back");
        let huge = vec![0; MAX_ROOM + 1];
        drop(Bulk::new(huge));
        assert!(spare().capacity() <= MAX_ROOM, "too much was kept");
    }
}
