//! Looks at the rings of a link from beside its ends, for who looks instead of sleeping.

use std::sync::Arc;

use super::ring::{Consumer, Producer};
use super::segment::Segment;

/// A look at a ring from beside its receiving end, which another thread may use meanwhile.
pub(crate) struct Glance {
    pub(super) segment: Arc<Segment>,
    pub(super) place: usize,
    /// The receiving end as it was.
    pub(super) consumer: Consumer,
    /// The room that the sending end of the same link waits for, if it does.
    pub(super) room: Option<Prospect>,
}

impl Glance {
    /// Returns true if something was published that the receiving end had not taken when this was
    /// made, or if there is the room that the sending end lacked.
    pub(crate) fn is_any(&self) -> bool {
        !self.consumer.is_empty(self.segment.ring(self.place))
            || self.room.as_ref().is_some_and(Prospect::is_there)
    }
}

/// A look at the room in a ring from beside its sending end.
pub(crate) struct Prospect {
    pub(super) segment: Arc<Segment>,
    pub(super) place: usize,
    /// The sending end as it was.
    pub(super) producer: Producer,
    pub(super) bytes: u64,
}

impl Prospect {
    /// A look at the room for the `left` bytes that are left of a message.
    pub(super) fn new(
        segment: Arc<Segment>,
        place: usize,
        producer: Producer,
        left: usize,
    ) -> Self {
        let ring = segment.ring(place);
        // As much as is worth going on for.
        let bytes = ring.room_for(left).min(ring.capacity() / 4);
        Prospect { segment, place, producer, bytes }
    }

    /// Returns true if there is as much room as was to be looked for.
    pub(crate) fn is_there(&self) -> bool {
        // What is corrupt is found by who sends.
        self.producer.sees_room(self.segment.ring(self.place), self.bytes).unwrap_or(true)
    }
}
