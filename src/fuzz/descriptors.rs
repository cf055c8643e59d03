//! Descriptors of all kinds, as they may come with a message.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::input::Input;
use crate::sys::fd;
use crate::sys::ipc::{socket, stream};
use crate::sys::memory::sealed;
use crate::sys::memory::shared::SharedFile;

/// Number of kinds.
const KINDS: usize = 14;

/// One of a kind that the input says, with contents from it.
pub(super) fn one(input: &mut Input<'_>) -> Option<OwnedFd> {
    let kind = input.below(KINDS);
    of(kind, input.some())
}

/// One of a kind. (Nothing if the system has none left.)
pub(super) fn of(kind: usize, contents: &[u8]) -> Option<OwnedFd> {
    let shared = |length: usize, contents: &[u8]| {
        let file = SharedFile::create("fuzz", length.max(1)).ok()?;
        File::from(file.fd().try_clone().ok()?).write_all_at(contents, 0).ok()?;
        Some(file)
    };
    let owned = |file: SharedFile| {
        Arc::into_inner(Arc::clone(file.fd())).or_else(|| file.fd().try_clone().ok())
    };
    match kind {
        0 => fd::null().ok(),
        1 => Some(fd::pipe().ok()?.0),
        2 => Some(socket::pair().ok()?.0),
        3 => Some(stream::pair().ok()?.0),
        4 => sealed::seal(&[contents]).ok(),
        5 => owned(SharedFile::create_unsealed("fuzz", contents.len().max(1)).ok()?),
        6 => owned(shared(contents.len(), contents)?),
        7 => owned(shared(4096 * (1 + contents.len()), contents)?),
        // The memory of a queue with two segments.
        8 => owned(shared(8192 + 3 * (256 << 10), contents)?),
        9 => owned(shared(1 << 40, contents)?.read_only().ok()?),
        // Of locks and of tables.
        10 => owned(shared(64 * (1 + contents.len() % 8), &[])?),
        11 => owned(shared(64 * (1 + 16_384), contents.get(..64)?)?),
        12 => File::open("/proc/self/status").ok().map(OwnedFd::from),
        _ => {
            // A socket of which the other end lives, and has said something.
            let (near, far) = socket::pair().ok()?;
            let _ = socket::send(far.as_fd(), &[contents], &[far.as_fd()]);
            Some(near)
        }
    }
}
