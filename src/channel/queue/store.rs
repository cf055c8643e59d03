//! The shared memory of a queue: its locks and cells, and the segments of its growable, mapped as
//! they are needed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::flags::Flags;
use super::growable::{Control, GrowableRing, RingSegment, Store};
use crate::sys::memory::shared::{Shared, SharedFile};
use crate::sys::wait::robust::{self, RobustCell};

/// The words of the lowest segment: 256 KiB, which stay in a core's cache.
const BASE: u64 = 32 * 1024;

/// The most segments: the highest holds 128 GiB.
const RUNGS: usize = 20;

/// The places of things, in bytes. What different sides write is 128 bytes apart, as processors
/// fetch lines of 64 in pairs.
const PUT_LOCK: usize = 0;
const PUT_ALARM: usize = 64;
const GET_LOCK: usize = 128;
const GET_ALARM: usize = 192;
const CONTROL: usize = 256;
/// In the lines of what that side writes anyway.
const PUT_CPU: usize = CONTROL + 8;
const GET_CPU: usize = CONTROL + 128 + 8;
const FLAGS: usize = 512;
const LADDER: usize = 1024;
const DATA: usize = 8192;

const _: () = assert!(
    LADDER + RUNGS * size_of::<RingSegment>() <= DATA && CONTROL + size_of::<Control>() <= FLAGS
);

/// The memory of a queue in this process.
#[derive(Debug)]
pub(crate) struct QueueMemory {
    file: SharedFile,
    head: Shared,
    segments: Box<[OnceLock<Shared>]>,
}

/// The cells that those who put share, or those who get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    /// Only one of them at a time works or sleeps.
    pub(crate) lock: &'a RobustCell,
    /// Armed from before that one changes something until it has woken who waits for that.
    pub(crate) alarm: &'a RobustCell,
    /// The processor that the last of them ran on.
    pub(crate) cpu: &'a AtomicU64,
}

fn length_of(segments: usize) -> usize {
    DATA + (BASE as usize) * 8 * ((1 << segments) - 1)
}

impl QueueMemory {
    /// New memory, with as many segments as this process may make a file for.
    pub(crate) fn create() -> io::Result<QueueMemory> {
        robust::check()?;
        // A limit of the file's size (RLIMIT_FSIZE) counts for memory files, too. A smaller queue
        // is better than none.
        let mut segments = RUNGS;
        let file = loop {
            match SharedFile::create("multiproc-queue", length_of(segments)) {
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge && segments > 1 => {
                    segments -= 1
                }
                created => break created?,
            }
        };
        QueueMemory::of(file, segments)
    }

    /// Memory that came from somewhere.
    pub(crate) fn open(fd: Arc<OwnedFd>) -> io::Result<QueueMemory> {
        robust::check()?;
        let file = SharedFile::open(fd)?;
        // The length says how many there are; a file of another length is none of ours.
        let segments = (1..=RUNGS).find(|segments| length_of(*segments) == file.length());
        let segments = segments
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no memory of a queue"))?;
        QueueMemory::of(file, segments)
    }

    fn of(file: SharedFile, segments: usize) -> io::Result<QueueMemory> {
        let head = file.map(0, DATA)?;
        Ok(QueueMemory { file, head, segments: (0..segments).map(|_| OnceLock::new()).collect() })
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        self.file.fd()
    }

    pub(crate) fn put_end(&self) -> End<'_> {
        End {
            lock: self.head.at(PUT_LOCK),
            alarm: self.head.at(PUT_ALARM),
            cpu: self.head.at(PUT_CPU),
        }
    }

    pub(crate) fn get_end(&self) -> End<'_> {
        End {
            lock: self.head.at(GET_LOCK),
            alarm: self.head.at(GET_ALARM),
            cpu: self.head.at(GET_CPU),
        }
    }

    pub(crate) fn flags(&self) -> Flags<'_> {
        let flag = |line: usize| self.head.at(FLAGS + line * 128);
        // In the line of `wants_room`, as whoever looks at one looks at both.
        let room_polled = self.head.at(FLAGS + 128 + 8);
        // This is written by those who look at `wants_room`, and seldom.
        let put_waits = self.head.at(FLAGS + 128 + 64);
        Flags {
            wants_record: flag(0),
            wants_room: flag(1),
            polled: flag(2),
            room_polled,
            // In the line of `shut_down`, which whoever gets looks at anyway.
            offer: self.head.at(FLAGS + 3 * 128 + 8),
            shut_down: flag(3),
            put_waits,
        }
    }

    pub(crate) fn growable(&self) -> GrowableRing<'_, QueueMemory> {
        GrowableRing {
            control: self.head.at(CONTROL),
            segments: self.head.many(LADDER, self.segments.len()),
            store: self,
            base: BASE,
        }
    }

    /// Returns the place of a segment in the file, and its length, both in bytes.
    fn place(segment: usize) -> (usize, usize) {
        (length_of(segment), (BASE as usize * 8) << segment)
    }
}

impl Store for QueueMemory {
    type Error = io::Error;

    fn words(&self, segment: usize) -> io::Result<&[AtomicU64]> {
        let (start, length) = QueueMemory::place(segment);
        // Mapped when it is first used: most queues never leave the lowest. Two threads may map it
        // at once; the second mapping is dropped.
        let mapped = match self.segments[segment].get() {
            Some(mapped) => mapped,
            None => {
                let mapped = self.file.map(start, length)?;
                self.segments[segment].get_or_init(|| mapped)
            }
        };
        Ok(mapped.many(0, length / 8))
    }

    fn reserve(&self, segment: usize, from: u64, to: u64) -> io::Result<()> {
        let (start, length) = QueueMemory::place(segment);
        let (from, to) = (from as usize * 8, to as usize * 8);
        // What the shared cell said is checked here, as somebody else may have written it.
        if from >= to || to > length {
            return Ok(());
        }
        self.file.reserve(start + from, to - from)
    }

    fn release(&self, segment: usize) {
        let (start, length) = QueueMemory::place(segment);
        // What is not given back is used again.
        let _ = self.file.release(start, length);
    }
}
