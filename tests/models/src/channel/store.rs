//! The memory of a queue: two small rungs.

use std::io;
use std::sync::Arc;

use super::cells::{AtomicU32, AtomicU64, Unchecked};
use super::ladder::{Control, Ladder, Rung, Store};
use crate::sys::wait::robust::RobustCell;
use crate::sys::ipc::socket::End as SocketEnd;

/// Two records of up to eight bytes fit into the lowest.
const BASE: u64 = 4;
const RUNGS: usize = 2;

#[derive(Debug)]
pub(crate) struct QueueMemory {
    locks: [RobustCell; 4],
    flags: [AtomicU32; 5],
    control: Control,
    ladder: Vec<Rung>,
    rungs: Vec<Vec<AtomicU64>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) lock: &'a RobustCell,
    pub(crate) alarm: &'a RobustCell,
    pub(crate) cpu: &'a Unchecked,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags<'a> {
    pub(crate) wants_record: &'a AtomicU32,
    pub(crate) wants_room: &'a AtomicU32,
    pub(crate) polled: &'a AtomicU32,
    pub(crate) shut_down: &'a AtomicU32,
    pub(crate) put_waits: &'a AtomicU32,
}

impl QueueMemory {
    pub(crate) fn create() -> io::Result<QueueMemory> {
        let memory = QueueMemory {
            locks: std::array::from_fn(|_| RobustCell::new()),
            flags: std::array::from_fn(|_| AtomicU32::new(0)),
            control: [const { AtomicU64::new(0) }; 32],
            ladder: (0..RUNGS).map(|_| [const { AtomicU64::new(0) }; 32]).collect(),
            rungs: (0..RUNGS).map(|rung| (0..BASE << rung).map(|_| AtomicU64::new(0)).collect()).collect(),
        };
        // All see the zeroes, whoever comes first.
        [0, 2, 16].iter().for_each(|cell| memory.control[*cell].touch());
        memory.ladder.iter().for_each(|rung| [0, 1, 2, 3, 16, 17].iter().for_each(|cell| rung[*cell].touch()));
        memory.rungs.iter().flatten().for_each(AtomicU64::touch);
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
        let [wants_record, wants_room, polled, shut_down, put_waits] = &self.flags;
        Flags { wants_record, wants_room, polled, shut_down, put_waits }
    }

    pub(crate) fn ladder(&self) -> Ladder<'_, QueueMemory> {
        Ladder { control: &self.control, rungs: &self.ladder, store: self, base: BASE }
    }
}

impl Store for QueueMemory {
    type Error = io::Error;

    fn words(&self, rung: usize) -> io::Result<&[AtomicU64]> {
        Ok(&self.rungs[rung])
    }

    fn reserve(&self, _: usize, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, _: usize) {}
}
