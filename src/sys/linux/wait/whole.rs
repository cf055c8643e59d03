//! Writing all of something, however long that takes.

use std::io;
use std::os::fd::BorrowedFd;

use super::poll::{self, Deadline};

/// Writes all of it, and waits for room, also where the descriptor is one that does not sleep.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                poll::one_writable(fd, Deadline::Never)?;
            }
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = bytes.get(written?..).unwrap_or_default(),
        }
    }
    Ok(())
}
