//! What a child writes to its piped standard streams, gathered while one waits for its end.
//!
//! # When it is complete
//! A stream is complete at its end, or when the child has ended and all that was in the pipe then
//! is read: a process that the child left behind may hold the pipe open for ever, but what the
//! child itself wrote is in it by the time that the kernel tells of the end. So:
//!
//! 1. Look whether the child has ended.
//! 2. If it has, read as many bytes as are in each pipe now, and no more.
//! 3. If not, sleep until a pipe is readable or the child has ended, read what is there, and go on
//!    with 1.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::end::End;
use crate::error::JoinError;
use crate::sys::fd;
use crate::sys::wait::poll::{self, Deadline};

/// Bytes that are read at a time: what a pipe holds unless it was made bigger.
const AT_A_TIME: usize = 64 << 10;

/// Time between two looks at the child, if there is no descriptor that tells of its end.
const PAUSE: Duration = Duration::from_millis(2);

/// The piped output of a child, standard output first, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Capture {
    streams: [Stream; 2],
    /// Bytes beyond the limit were thrown away.
    is_truncated: bool,
}

/// One of the two.
#[derive(Debug, Default)]
struct Stream {
    /// `None` if it was not piped, was taken by the user, or is at its end.
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

/// What has ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// A pipe, or the time.
    ByPipe,
    /// The end of the child.
    ByEnd,
}

/// What was gathered: standard output, standard error, and whether something of it is missing.
pub(super) type Gathered = (Vec<u8>, Vec<u8>, bool);

impl Capture {
    /// The capture of these pipes, with nothing in it yet.
    pub(super) fn new(pipes: [Option<OwnedFd>; 2]) -> Capture {
        let streams = pipes.map(|pipe| Stream { pipe, bytes: Vec::new() });
        Capture { streams, is_truncated: false }
    }

    /// Gives a pipe away: 0 for standard output, 1 for standard error.
    pub(super) fn take_pipe(&mut self, place: usize) -> Option<OwnedFd> {
        let pipe = self.streams[place].pipe.take()?;
        // As the user expects it, after a call of `gather` that ran out of time, too.
        let _ = fd::set_blocking(pipe.as_fd());
        Some(pipe)
    }

    /// Gives away what was gathered.
    pub(super) fn take(&mut self) -> Gathered {
        let [stdout, stderr] = [0, 1].map(|place| std::mem::take(&mut self.streams[place].bytes));
        (stdout, stderr, std::mem::take(&mut self.is_truncated))
    }

    /// Gathers until the child has ended; `None` at `deadline`. What came stays for the next call.
    ///
    /// # Errors
    /// The system lacks descriptors or memory, or the child is another process's.
    pub(super) fn gather(
        &mut self,
        core: &Core,
        deadline: Deadline,
    ) -> Result<Option<Arc<End>>, JoinError> {
        let refused = |error| core.cannot_ask(error);
        if !core.is_ours() {
            // Before the pipes are touched, which are the other process's, too.
            return core.wait_to_join(Deadline::Now);
        }
        for stream in &self.streams {
            if let Some(pipe) = &stream.pipe {
                // It may be read by somebody else, too: by a forked copy of this process.
                fd::set_nonblocking(pipe.as_fd()).map_err(refused)?;
            }
        }
        loop {
            if self.is_complete() {
                return core.wait_to_join(deadline);
            }
            if let Some(end) = core.wait_to_join(Deadline::Now)? {
                self.read_rest(core).map_err(refused)?;
                return Ok(Some(end));
            }
            let is_over = deadline.is_over();
            if self.sleep(core, deadline).map_err(refused)? == Woken::ByEnd {
                // A debugger that is attached to it may have to hear of the end before we do: then
                // the descriptor tells of it all the time.
                let _ = core.wait_to_join(deadline.within_next(PAUSE))?;
            }
            self.read(core, AT_A_TIME).map_err(refused)?;
            if is_over {
                return core.wait_to_join(Deadline::Now);
            }
        }
    }

    /// Returns true if nothing more can come.
    fn is_complete(&self) -> bool {
        self.streams.iter().all(|stream| stream.pipe.is_none())
    }

    /// Sleeps until a pipe is readable or the child has ended, until something is due, or until
    /// `deadline`.
    fn sleep(&self, core: &Core, deadline: Deadline) -> io::Result<Woken> {
        let until = match core.next_due() {
            // One that is over already could not be met: tried again after a pause.
            Some(due) => deadline.within_next(due.max(PAUSE)),
            None => deadline,
        };
        let mut fds: Vec<BorrowedFd<'_>> =
            self.streams.iter().filter_map(|stream| Some(stream.pipe.as_ref()?.as_fd())).collect();
        let pipes = fds.len();
        let until = match core.sentinel() {
            Ok(sentinel) => {
                fds.push(sentinel);
                until
            }
            Err(_) => until.within_next(PAUSE),
        };
        let readable = poll::readable(&fds, until)?;
        Ok(if readable.contains(&pipes) { Woken::ByEnd } else { Woken::ByPipe })
    }

    /// Reads what is in the pipes of an ended child.
    fn read_rest(&mut self, core: &Core) -> io::Result<()> {
        for place in 0..self.streams.len() {
            let Some(pipe) = &self.streams[place].pipe else { continue };
            let mut rest = fd::bytes_to_read(pipe.as_fd())?;
            while rest > 0 {
                match self.read_one(place, core, rest.min(AT_A_TIME))? {
                    // Somebody else reads it, too.
                    0 => break,
                    count => rest = rest.saturating_sub(count),
                }
            }
            self.streams[place].pipe = None;
        }
        Ok(())
    }

    /// Reads what is there from each pipe, at the most `count` bytes.
    fn read(&mut self, core: &Core, count: usize) -> io::Result<()> {
        for place in 0..self.streams.len() {
            self.read_one(place, core, count)?;
        }
        Ok(())
    }

    /// Reads about `count` bytes from one pipe, or what is there; 0 if there is nothing at the
    /// moment, or ever.
    fn read_one(&mut self, place: usize, core: &Core, count: usize) -> io::Result<usize> {
        let stream = &mut self.streams[place];
        let Some(pipe) = &stream.pipe else { return Ok(0) };
        stream.bytes.try_reserve(count)?;
        let count = match fd::read_onto(pipe.as_fd(), &mut stream.bytes) {
            Ok(0) => {
                stream.pipe = None;
                return Ok(0);
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let most = core.spec.max_output.unwrap_or(u64::MAX);
        if stream.bytes.len() as u64 > most {
            stream.bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
            self.is_truncated = true;
            // It reads on, so that nobody sleeps at a full pipe; but for no longer than that.
            core.kill_for_output();
        }
        Ok(count)
    }
}
