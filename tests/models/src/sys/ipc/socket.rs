//! Socket pairs, without descriptors in their messages.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::sys::wait::poll::Deadline;
use crate::world::{step, world};

/// What is under way to each end.
static ENDS: LazyLock<Mutex<HashMap<i32, VecDeque<Vec<u8>>>>> = LazyLock::new(Mutex::default);

/// The first number of an end: descriptors have none so high.
const FIRST: i32 = 1 << 30;

/// One end; the other has the next number, or the one before.
#[derive(Debug)]
pub(crate) struct End(i32);

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: a number of no descriptor, which is given to nobody but this file.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        ends().remove(&self.0);
    }
}

fn ends() -> MutexGuard<'static, HashMap<i32, VecDeque<Vec<u8>>>> {
    ENDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something to an end, as one step of the process; nothing if it is dead.
fn at<R>(end: i32, f: impl FnOnce(&mut VecDeque<Vec<u8>>) -> R) -> io::Result<R> {
    if !step() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let world = world();
    let _kernel = world.kernel.lock().expect("the kernel");
    Ok(f(ends().entry(end).or_default()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Now,
}

pub(crate) struct Received {
    pub(crate) fds: Vec<OwnedFd>,
}

pub(crate) fn pair() -> io::Result<(End, End)> {
    let mut ends = ends();
    let first =
        (FIRST..).step_by(2).find(|end| !ends.contains_key(end) && !ends.contains_key(&(end + 1)));
    let first = first.expect("a number");
    ends.insert(first, VecDeque::new());
    ends.insert(first + 1, VecDeque::new());
    Ok((End(first), End(first + 1)))
}

pub(crate) fn send(end: BorrowedFd<'_>, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(fds.is_empty(), "models have no descriptors");
    at(end.as_raw_fd() ^ 1, |messages| messages.push_back(parts.concat()))
}

pub(crate) fn send_by(
    _: BorrowedFd<'_>,
    _: &[&[u8]],
    _: &[BorrowedFd<'_>],
    _: Deadline,
    _: impl FnMut() -> bool,
) -> io::Result<bool> {
    unimplemented!("models have no descriptors")
}

pub(crate) fn has_unreceived(_: BorrowedFd<'_>) -> bool {
    unimplemented!("models have no descriptors")
}

pub(crate) fn recv(end: BorrowedFd<'_>, _: Mode) -> io::Result<Option<Received>> {
    match at(end.as_raw_fd(), VecDeque::pop_front)? {
        Some(_) => Ok(Some(Received { fds: Vec::new() })),
        None => Err(io::ErrorKind::WouldBlock.into()),
    }
}

pub(crate) fn recv_kept(_: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    unimplemented!("models have no descriptors")
}

pub(crate) fn peek<const N: usize>(_: BorrowedFd<'_>) -> io::Result<Option<[u8; N]>> {
    unimplemented!("models have no descriptors")
}

pub(crate) fn discard(_: BorrowedFd<'_>) {
    unimplemented!("models have no descriptors")
}

/// Whether something is there.
pub(crate) fn is_readable(end: BorrowedFd<'_>) -> bool {
    at(end.as_raw_fd(), |messages| !messages.is_empty()).expect("alive")
}
