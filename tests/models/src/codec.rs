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

/// What in a value only one process may have: nothing.
pub(crate) struct Ends;

impl Ends {
    pub(crate) fn must_be_none(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn encode_plain<T: serde::Serialize>(_: &T, _: &mut Vec<u8>) -> Result<(), String> {
    unimplemented!("models write their requests themselves")
}

pub(crate) fn decode_plain<T>(_: &[u8]) -> Result<T, String> {
    Err("models have no codec".to_owned())
}

pub(crate) fn decode_front<T>(_: &[u8]) -> Result<(T, &[u8]), String> {
    Err("models have no codec".to_owned())
}
