//! The words of a queue's shared memory that are no part of the ring or of a lock.

use crate::channel::cells::AtomicU32;

/// The words in which the two sides tell each other of more than records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags<'a> {
    /// 1 while who gets sleeps for a record.
    pub(crate) wants_record: &'a AtomicU32,
    /// 1 while who puts sleeps for room.
    pub(crate) wants_room: &'a AtomicU32,
    /// 1 while somebody polls the descriptor.
    pub(crate) polled: &'a AtomicU32,
    /// 1 while somebody polls the descriptor for room.
    pub(crate) room_polled: &'a AtomicU32,
    /// The word of `Offer`.
    pub(crate) offer: &'a AtomicU32,
    /// 1 if nothing may be put any more, 2 if nothing may be got either.
    pub(crate) shut_down: &'a AtomicU32,
    /// 1 while who puts waits, with its lock held, for descriptors to be received.
    pub(crate) put_waits: &'a AtomicU32,
}
