//! One socket or pipe on which a child says something beside its result.
//!
//! # When all has come out
//! What a child said before its end is in its socket or pipe by the time that the kernel tells of
//! the end. Whoever sees the end reads as much as is there then and passes it on
//! ([`Stream::finish`]), so that it has come out when `join` returns. A process that the child left
//! behind may hold the other end for ever, and write: its lines come out as long as there are any,
//! and nobody waits for them.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, mem};

use super::line::LinesTo;
use super::lines::Lines;
use super::records::{Channel, Left};
use super::scene::Scene;
use crate::sys::fd;

/// Bytes that are read at a time: what a pipe holds unless it was made bigger.
const AT_A_TIME: usize = 64 << 10;

/// Rounds in which the last records of a child are read, at the most: a process that it has left
/// behind may send without pause. A socket holds fewer.
const LAST_ROUNDS: usize = 16;

thread_local! {
    /// This thread passes something on, so that it may be in code of the user's.
    static PASSES_ON: Cell<bool> = const { Cell::new(false) };
}

/// A socket or pipe of a child, and what is made of what comes.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Tells it from all others of this process.
    pub(super) number: u64,
    state: Mutex<State>,
}

/// What only one thread has at a time.
#[derive(Debug)]
struct State {
    /// `None` at its end.
    fd: Option<OwnedFd>,
    what: What,
    /// All that the child itself said has been passed on.
    is_finished: bool,
}

/// What a stream brings.
#[derive(Debug)]
enum What {
    Lines(Lines),
    Records(Box<Channel>),
}

impl Stream {
    /// What a child writes to standard output (1) or error (2), whose pipe this is.
    ///
    /// # Errors
    /// The kernel does not let the pipe be read without sleeping.
    pub(crate) fn of_lines(
        pipe: OwnedFd,
        number: i32,
        (process, pid): (&str, u32),
        to: LinesTo,
        scene: Scene,
    ) -> io::Result<Arc<Stream>> {
        fd::set_nonblocking(pipe.as_fd())?;
        Ok(Stream::new(pipe, What::Lines(Lines::new(process.to_owned(), pid, number, to, scene))))
    }

    /// The records of a child.
    pub(crate) fn of_records(socket: OwnedFd, channel: Channel) -> Arc<Stream> {
        Stream::new(socket, What::Records(Box::new(channel)))
    }

    fn new(fd: OwnedFd, what: What) -> Arc<Stream> {
        /// 0 is the call of the thread that reads them.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let state = State { fd: Some(fd), what, is_finished: false };
        let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        Arc::new(Stream { number, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with its descriptor, unless it is at its end.
    pub(super) fn with_fd<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        self.lock().fd.as_ref().map(|fd| f(fd.as_fd()))
    }

    /// Passes on some of what has come. At the end of it, `forget` is called with the descriptor
    /// before that is closed.
    pub(super) fn turn(&self, forget: impl FnOnce(BorrowedFd<'_>)) {
        let mut state = self.lock();
        let left = pass_on(|| state.turn());
        state.close_if(left, forget);
    }

    /// Passes on what the child said before its end, which was seen: reads as much as is there now.
    /// Then closes a socket of records. Does nothing the second time, and in code that was called
    /// by `turn` or this: that may be this stream's own.
    pub(super) fn finish(&self, forget: impl FnOnce(BorrowedFd<'_>)) {
        if PASSES_ON.get() {
            return;
        }
        let mut state = self.lock();
        if !mem::replace(&mut state.is_finished, true) {
            let left = pass_on(|| state.finish());
            state.close_if(left, forget);
        }
    }
}

/// Calls `f`, and knows meanwhile that this thread passes something on.
fn pass_on<T>(f: impl FnOnce() -> T) -> T {
    let before = PASSES_ON.replace(true);
    let left = f();
    PASSES_ON.set(before);
    left
}

/// Returns `true` if this thread is in code that was called to pass something on.
pub(super) fn passes_on() -> bool {
    PASSES_ON.get()
}

impl State {
    fn turn(&mut self) -> Left {
        let Some(fd) = &self.fd else { return Left::Closed };
        match &self.what {
            What::Records(channel) => channel.pass_on(fd).0,
            What::Lines(_) => self.read(AT_A_TIME).0,
        }
    }

    /// Its end may have been seen before.
    fn finish(&mut self) -> Left {
        match &mut self.what {
            What::Records(channel) => {
                if let Some(fd) = &self.fd {
                    for _ in 0..LAST_ROUNDS {
                        if !matches!(channel.pass_on(fd), (Left::Open, 1..)) {
                            break;
                        }
                    }
                }
                channel.end();
                Left::Closed
            }
            What::Lines(_) => {
                let left = self.read_rest();
                if let What::Lines(lines) = &mut self.what {
                    lines.leave();
                }
                left
            }
        }
    }

    /// Reads what the child has written, and no more.
    fn read_rest(&mut self) -> Left {
        let Some(fd) = &self.fd else { return Left::Closed };
        let mut rest = fd::bytes_to_read(fd.as_fd()).unwrap_or(0);
        while rest > 0 {
            match self.read(rest.min(AT_A_TIME)) {
                (Left::Closed, _) => return Left::Closed,
                (Left::Open, 0) => break,
                (Left::Open, count) => rest = rest.saturating_sub(count),
            }
        }
        if let What::Lines(lines) = &mut self.what {
            lines.finish();
        }
        // Mostly the end: nobody else has the pipe.
        self.read(1).0
    }

    /// Reads about `count` bytes of lines, or what is there, and says how many.
    fn read(&mut self, count: usize) -> (Left, usize) {
        let State { fd: Some(fd), what: What::Lines(lines), .. } = self else {
            return (Left::Closed, 0);
        };
        // Not kept: of ten thousand children, few write at a time.
        let mut bytes = Vec::with_capacity(count);
        match fd::read_onto(fd.as_fd(), &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (Left::Open, 0),
            Ok(0) | Err(_) => {
                lines.finish();
                (Left::Closed, 0)
            }
            Ok(count) => {
                lines.take_in(&bytes);
                (Left::Open, count)
            }
        }
    }

    /// Closes it at its end. A set may watch the descriptor, and a forked copy of this process hold
    /// it, so that it has to be taken out before it is closed.
    fn close_if(&mut self, left: Left, forget: impl FnOnce(BorrowedFd<'_>)) {
        if left == Left::Closed
            && let Some(fd) = self.fd.take()
        {
            forget(fd.as_fd());
        }
    }
}
