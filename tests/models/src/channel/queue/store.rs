//! The memory of a queue: two small segments.

use std::io;
use std::sync::Arc;

use super::flags::Flags;
use super::growable::{Control, GrowableRing, RingSegment, Store};
use crate::channel::cells::{AtomicU32, AtomicU64, Unchecked};
use crate::sys::ipc::socket::End as SocketEnd;
use crate::sys::wait::robust::RobustCell;

/// Two records of up to eight bytes fit into the lowest.
const BASE: u64 = 4;
const RUNGS: usize = 2;

#[derive(Debug)]
pub(crate) struct QueueMemory {
    locks: [RobustCell; 4],
    flags: [AtomicU32; 7],
    control: Control,
    growable: Vec<RingSegment>,
    segments: Vec<Vec<AtomicU64>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) lock: &'a RobustCell,
    pub(crate) alarm: &'a RobustCell,
    pub(crate) cpu: &'a Unchecked,
}

impl QueueMemory {
    pub(crate) fn create() -> io::Result<QueueMemory> {
        let memory = QueueMemory {
            locks: std::array::from_fn(|_| RobustCell::new()),
            flags: std::array::from_fn(|_| AtomicU32::new(0)),
            control: [const { AtomicU64::new(0) }; 32],
            growable: (0..RUNGS).map(|_| [const { AtomicU64::new(0) }; 32]).collect(),
            segments: (0..RUNGS)
                .map(|segment| (0..BASE << segment).map(|_| AtomicU64::new(0)).collect())
                .collect(),
        };
        // All see the zeroes, whoever comes first.
        [0, 2, 16].iter().for_each(|cell| memory.control[*cell].touch());
        memory.growable.iter().for_each(|segment| {
            [0, 1, 2, 3, 16, 17].iter().for_each(|cell| segment[*cell].touch())
        });
        memory.segments.iter().flatten().for_each(AtomicU64::touch);
        Ok(memory)
    }

    pub(crate) fn open(_: Arc<SocketEnd>) -> io::Result<QueueMemory> {
        unimplemented!("models do not receive")
    }

    pub(crate) fn fd(&self) -> &Arc<SocketEnd> {
        unimplemented!("models do not send")
    }

    pub(crate) fn put_end(&self) -> End<'_> {
        End { lock: &self.locks[0], alarm: &self.locks[1], cpu: &Unchecked }
    }

    pub(crate) fn get_end(&self) -> End<'_> {
        End { lock: &self.locks[2], alarm: &self.locks[3], cpu: &Unchecked }
    }

    pub(crate) fn flags(&self) -> Flags<'_> {
        let [wants_record, wants_room, polled, room_polled, offer, shut_down, put_waits] =
            &self.flags;
        Flags { wants_record, wants_room, polled, room_polled, offer, shut_down, put_waits }
    }

    pub(crate) fn growable(&self) -> GrowableRing<'_, QueueMemory> {
        GrowableRing { control: &self.control, segments: &self.growable, store: self, base: BASE }
    }
}

impl Store for QueueMemory {
    type Error = io::Error;

    fn words(&self, segment: usize) -> io::Result<&[AtomicU64]> {
        Ok(&self.segments[segment])
    }

    fn reserve(&self, _: usize, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, _: usize) {}
}
