//! As much of the library's codec as queues need. Nothing crosses here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::sys::ipc::socket::End;

/// An end of a socket.
#[derive(Clone, Debug)]
pub(crate) struct Carried(pub(crate) Arc<End>);

impl From<End> for Carried {
    fn from(end: End) -> Carried {
        Carried(Arc::new(end))
    }
}

impl AsFd for Carried {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn table(fds: Vec<OwnedFd>) -> Vec<Arc<OwnedFd>> {
    fds.into_iter().map(Arc::new).collect()
}
