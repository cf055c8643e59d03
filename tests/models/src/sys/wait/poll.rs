//! Deadlines that come when a test says so.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::world::{is_dead, world};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    Never,
    Now,
    /// By a number, which is in the kernel's list once it has come.
    At(usize),
}

/// Shorter ones are for trying.
const SHORT: Duration = Duration::from_millis(20);

/// The number of all that never come.
const FAR: usize = 0;

impl Deadline {
    /// A short one comes at once: who asks for it goes another way then.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        if timeout < SHORT { Deadline::Now } else { Deadline::At(FAR) }
    }

    pub(crate) fn at(instant: Instant) -> Deadline {
        Deadline::after(instant.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn within(timeout: Option<Duration>) -> Deadline {
        timeout.map_or(Deadline::Never, Deadline::after)
    }

    pub(crate) fn now() -> Deadline {
        Deadline::Now
    }

    pub(crate) fn within_next(self, time: Duration) -> Deadline {
        match self.left() {
            Some(left) if left < time => self,
            _ => Deadline::after(time),
        }
    }

    /// Lets it come, for everybody.
    pub(crate) fn come(self) {
        let world = world();
        if let Deadline::At(number) = self {
            world.kernel.lock().expect("the kernel").over.push(number);
            world.changed.notify_all();
        }
    }

    pub(crate) fn is_over(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    pub(crate) fn left(self) -> Option<Duration> {
        match self {
            Deadline::Never => None,
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(FAR) => Some(Duration::from_secs(10)),
            Deadline::At(_) if is_dead() => Some(Duration::ZERO),
            Deadline::At(number) => {
                let is_over = world().kernel.lock().expect("the kernel").over.contains(&number);
                Some(if is_over { Duration::ZERO } else { Duration::from_secs(10) })
            }
        }
    }
}

pub(crate) fn one_writable(_: BorrowedFd<'_>, _: Deadline) -> io::Result<bool> {
    unimplemented!("sockets are never full")
}

/// A clock that stands still: all tasks are short.
pub(crate) fn monotonic() -> Duration {
    Duration::ZERO
}
