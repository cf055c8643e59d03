//! Descriptors of records: they travel on a socket beside the memory, each lot with the number that
//! its record has.
//!
//! 1. Whoever puts gives the record a number that no other has, writes it, and sends the lot.
//! 2. It publishes the record. If it dies between 1 and 2, the lot has a number that no record has,
//!    and the next one to receive descriptors throws it away.
//! 3. Whoever gets finds the lot at the head of the socket, throws older ones away, and makes
//!    duplicates of its descriptors; the lot stays. If it dies here, or has no room for them, the
//!    next one finds record and lot as they were.
//! 4. It takes the record out.
//! 5. It throws the lot away. If it dies between 4 and 5, the lot is older than any record, and
//!    goes as in 2.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::growable::{REVERSED, Record, numbers_between};
use crate::channel::cells::{AtomicU32, Ordering};
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::codec;
use crate::sys::ipc::socket;
use crate::sys::wait::poll::Deadline;

/// Sends the descriptors of a record that will be published, by who holds the lock of those who
/// put. `put_waits` is raised while it waits for room in the socket.
pub(crate) fn send(
    put_end: BorrowedFd<'_>,
    put_waits: &AtomicU32,
    number: u32,
    fds: &[Arc<OwnedFd>],
    deadline: Deadline,
) -> Result<(), SendTransportError> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let number = number.to_le_bytes();
    let is_behind = || socket::has_unreceived(put_end);
    let send = |deadline| {
        socket::send_by(put_end, &[&number], &fds, deadline, is_behind)
            .map_err(SendTransportError::Os)
    };
    if send(Deadline::Now)? {
        return Ok(());
    }
    if deadline.is_over() {
        return Err(SendTransportError::Full);
    }
    // Consumers make room; they do not need our lock for it. Who puts with a deadline needs not
    // wait for it.
    put_waits.store(1, Ordering::Relaxed);
    let sent = send(deadline);
    put_waits.store(0, Ordering::Relaxed);
    if sent? { Ok(()) } else { Err(SendTransportError::Full) }
}

/// Makes duplicates of the descriptors of a record, which stay in the socket; `None` if they are
/// not there.
pub(crate) fn recv(
    get_end: BorrowedFd<'_>,
    record: &Record,
) -> Result<Option<Vec<Arc<OwnedFd>>>, RecvTransportError> {
    /// The most lots that are thrown away for one record: so many may have died between sending and
    /// publishing, or between taking out and throwing away.
    const MAX_LOST: u32 = 1024;
    for _ in 0..MAX_LOST {
        let Some(number) = socket::peek(get_end).map_err(RecvTransportError::Os)? else {
            break;
        };
        match numbers_between(u32::from_le_bytes(number), record.number) {
            0 => {}
            REVERSED.. => break,
            _ => {
                socket::discard(get_end);
                continue;
            }
        }
        return match socket::recv_kept(get_end) {
            Ok(received) => Ok(received.map(|received| codec::table(received.fds))),
            Err(error) => Err(RecvTransportError::Os(error)),
        };
    }
    Ok(None)
}

/// Throws away the descriptors of a record that was taken out, if they are next.
pub(crate) fn discard(get_end: BorrowedFd<'_>, record: &Record) {
    let number = record.number.to_le_bytes();
    if record.descriptors > 0 && matches!(socket::peek(get_end), Ok(Some(next)) if next == number) {
        socket::discard(get_end);
    }
}
