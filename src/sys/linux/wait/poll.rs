//! Waiting for descriptors, with deadlines, whatever signals arrive.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// When to stop waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    /// Wait for ever.
    Never,
    /// Look, do not wait. (Apart from `At`, so that looking does not ask for the time.)
    Now,
    /// Wait until then.
    At(Instant),
}

impl Deadline {
    /// `timeout` from now; a time beyond what the clock can count is never.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Instant::now().checked_add(timeout).map_or(Deadline::Never, Deadline::At)
    }

    /// That of a point in time.
    pub(crate) fn at(instant: Instant) -> Deadline {
        Deadline::At(instant)
    }

    /// That of an optional timeout, `None` being no limit.
    pub(crate) fn within(timeout: Option<Duration>) -> Deadline {
        match timeout {
            None => Deadline::Never,
            Some(Duration::ZERO) => Deadline::Now,
            Some(timeout) => Deadline::after(timeout),
        }
    }

    /// Now: look, do not wait.
    pub(crate) fn now() -> Deadline {
        Deadline::Now
    }

    /// This one, or `time` from now if that comes before.
    pub(crate) fn within_next(self, time: Duration) -> Deadline {
        match self.left() {
            Some(left) if left < time => self,
            _ => Deadline::after(time),
        }
    }

    /// Returns `true` if it has come.
    pub(crate) fn is_over(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// Returns how much time is left; `None` if there is no limit.
    pub(crate) fn left(self) -> Option<Duration> {
        match self {
            Deadline::Never => None,
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
        }
    }
}

/// Returns the time by the clock that deadlines are counted with. Async-signal-safe.
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits until one of `fds` is readable, at its end or in error (`poll(2)`), and returns the
/// indices of those that are; none at `deadline`.
pub(crate) fn readable(fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<Vec<usize>> {
    let mut set: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    wait(&mut set, deadline)?;
    Ok(set.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(i, _)| i).collect())
}

/// Waits until `fd` is readable or the other side of `end` is gone, or until the deadline. What
/// can be read from `end` wakes nobody.
pub(crate) fn readable_or_hung_up(
    fd: BorrowedFd<'_>,
    end: BorrowedFd<'_>,
    deadline: Deadline,
) -> io::Result<()> {
    let mut set = [
        PollFd::from_borrowed_fd(fd, PollFlags::IN),
        PollFd::from_borrowed_fd(end, PollFlags::empty()),
    ];
    wait(&mut set, deadline)
}

/// Waits until `fd` is readable, at its end or in error; returns false at `deadline`.
pub(crate) fn one_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    one(fd, PollFlags::IN, deadline)
}

/// Waits until there is room to write to `fd`, or it is in error; false at the deadline.
pub(crate) fn one_writable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    one(fd, PollFlags::OUT, deadline)
}

/// Waits until `fd` can be read or written; false at the deadline.
pub(crate) fn one_ready(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    one(fd, PollFlags::IN | PollFlags::OUT, deadline)
}

/// Polls one descriptor.
fn one(fd: BorrowedFd<'_>, events: PollFlags, deadline: Deadline) -> io::Result<bool> {
    let mut set = [PollFd::from_borrowed_fd(fd, events)];
    wait(&mut set, deadline)?;
    Ok(!set[0].revents().is_empty())
}

/// Returns `true` if the other side of `fd` is gone for good (`POLLHUP`, `POLLERR`). Never sleeps.
pub(crate) fn hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    wait_hang_up(fd, Deadline::now())
}

/// Sleeps until the other side of `fd` is gone for good, or until the deadline; says whether it is.
pub(crate) fn wait_hang_up(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    let mut set = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    wait(&mut set, deadline)?;
    Ok(set[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// A duration as the kernel takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Polls again after every signal (EINTR), until something is ready or the deadline is over.
fn wait(set: &mut [PollFd<'_>], deadline: Deadline) -> io::Result<()> {
    loop {
        let left = deadline.left();
        let timeout = left.map(timespec);
        match rustix::event::poll(set, timeout.as_ref()) {
            Ok(0) if left.is_none_or(|left| left > Duration::ZERO) => {}
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
