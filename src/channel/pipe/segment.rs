//! The memory of one ring or of two, as it is mapped and passed on.
//!
//! It is a memory file: `BEFORE` bytes of control and a power of two of data for each ring. The
//! file is as long as that makes it, and sealed against changes of its length, so a process that
//! maps it cannot be made to touch memory that is not there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::ring::{CONTROL, LARGEST, Ring, SMALLEST};
use crate::channel::cells::AtomicU64;
use crate::sys::memory::shared::{Shared, SharedFile};

/// The bytes before the data of a ring.
const BEFORE: usize = CONTROL * 8;

/// Rings in a memory file, one behind the other.
#[derive(Debug)]
pub(crate) struct Segment {
    file: SharedFile,
    memory: Shared,
    /// The bytes of each, control included.
    size: usize,
}

impl Segment {
    /// Makes new rings, each for at least `capacity` bytes: rounded up to a power of two, at least
    /// 4096.
    pub(crate) fn create(rings: usize, capacity: usize) -> io::Result<Segment> {
        if capacity == 0 {
            let text = "a pipe for 0 bytes: it holds bytes, and at least some; \
                 `Queue::bounded(0)` is a rendezvous";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if capacity > LARGEST {
            let text = format!("a pipe for {capacity} bytes, more than {LARGEST}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let size = BEFORE + capacity.max(SMALLEST).next_power_of_two();
        let file = SharedFile::create("multiproc-pipe", rings * size)?;
        // A machine without memory says so now; later it would be a signal.
        file.reserve(0, rings * size)?;
        Segment::over(file, rings)
    }

    /// Maps rings that somebody sent. A file of any other length is refused.
    pub(crate) fn open(fd: Arc<OwnedFd>, rings: usize) -> io::Result<Segment> {
        Segment::over(SharedFile::open(fd)?, rings)
    }

    fn over(file: SharedFile, rings: usize) -> io::Result<Segment> {
        let size = file.length() / rings;
        let memory = file.map_all()?;
        // Checked once, here: `ring` relies on it for each message.
        let is_ring = Ring::new(memory.many(0, size / 8)).is_some();
        if !is_ring || !size.is_multiple_of(8) || size * rings != file.length() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "shared memory that is no ring",
            ));
        }
        Ok(Segment { file, memory, size })
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        self.file.fd()
    }

    /// Returns one of the rings, by its number.
    #[inline]
    pub(crate) fn ring(&self, place: usize) -> Ring<'_> {
        Ring::known(self.memory.many::<AtomicU64>(place * self.size, self.size / 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rings_are_opened() {
        let made = Segment::create(2, 5000).expect("create");
        assert_eq!(made.ring(1).capacity(), 8192);
        let came = Segment::open(Arc::clone(made.fd()), 2).expect("open");
        assert_eq!(came.ring(0).capacity(), 8192);
        assert!(Segment::open(Arc::clone(made.fd()), 1).is_err());
        for length in [1, BEFORE, BEFORE + 2048, BEFORE + 4096 + 8, BEFORE + 4096 + 1] {
            let other = SharedFile::create("test", length).expect("create");
            assert!(Segment::open(Arc::clone(other.fd()), 1).is_err(), "{length}");
        }
        assert!(Segment::create(1, LARGEST + 1).is_err());
        assert!(Segment::create(1, 0).is_err());
    }
}
