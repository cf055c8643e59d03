//! Memory files that nobody can change any more, mapped for reading.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::SealFlags;

use super::read_map::ReadMap;
use super::shared;
use crate::sys::fd;

/// The seals by which bytes are as constant as a reference says they are.
const CONSTANT: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// Bytes that are the same for ever. Pages are mapped as they are read.
#[derive(Debug)]
pub(crate) struct Frozen {
    fd: Arc<OwnedFd>,
    map: ReadMap,
}

impl Frozen {
    /// Maps all of a memory file that somebody sent.
    ///
    /// # Errors
    /// It is no memory file, could still change, has huge pages, or is empty; ENOMEM.
    pub(crate) fn open(fd: Arc<OwnedFd>) -> io::Result<Frozen> {
        if !shared::seals(fd.as_fd())?.contains(CONSTANT) {
            return Err(refused(
                "memory that somebody could still change came in place of a constant slice",
            ));
        }
        shared::check_ordinary(fd.as_fd())?;
        let length = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        if length == 0 {
            return Err(refused("empty memory came in place of a constant slice"));
        }
        let map = ReadMap::of(&fd, length)?;
        Ok(Frozen { fd, map })
    }

    /// Returns the file.
    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Borrows the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the seals, which cannot be taken off, keep the bytes as they are and the file as
        // long as it is.
        unsafe { self.map.bytes() }
    }
}

/// Returns whether what a descriptor is of is constant memory, with something in it.
///
/// # Errors
/// It is not: the text says what it is.
pub(crate) fn is_constant(fd: &OwnedFd) -> Result<(), String> {
    let seals = shared::seals(fd.as_fd());
    if seals.is_ok_and(|seals| seals.contains(CONSTANT))
        && shared::check_ordinary(fd.as_fd()).is_ok()
    {
        return Ok(());
    }
    Err(fd::name(fd.as_fd()))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::sealed;
    use crate::sys::memory::shared::SharedFile;

    #[test]
    fn what_could_change_is_refused() {
        let frozen =
            Frozen::open(Arc::new(sealed::seal(&[b"constant"]).expect("seal"))).expect("open");
        assert_eq!(frozen.bytes(), b"constant");
        // Sealed against another length only.
        let file = SharedFile::create("test", 4096).expect("create");
        assert!(Frozen::open(Arc::clone(file.fd())).is_err());
        let (read, _write) = fd::pipe().expect("pipe");
        assert!(Frozen::open(Arc::new(read)).is_err());
        assert!(Frozen::open(Arc::new(sealed::seal(&[b""]).expect("seal"))).is_err());
    }
}
