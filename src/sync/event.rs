//! A flag that can be waited for.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::raw::event;
use super::segment::{Crossing, Segment};
use crate::error::Result;
use crate::sys::wait::poll::Deadline;

/// A flag that one process sets and others wait for: CPython's `multiprocessing.Event`.
///
/// ```
/// use multiproc::{Event, Process};
///
/// fn wait_for_it(ready: Event) -> bool {
///     ready.wait();
///     ready.is_set()
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let ready = Event::new()?;
/// let child = Process::new(wait_for_it, (ready.clone(),)).start()?;
/// ready.set();
/// assert!(child.join()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    segment: Crossing<{ size_of::<AtomicU32>() }>,
}

impl Event {
    /// A flag that is not set.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    pub fn new() -> Result<Event> {
        Ok(Event { segment: Crossing(Segment::create("event", size_of::<AtomicU32>())?) })
    }

    fn word(&self) -> &AtomicU32 {
        self.segment.0.memory().at(0)
    }

    /// Returns whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        event::is_set(self.word())
    }

    /// Sets it, and wakes all who wait.
    pub fn set(&self) {
        event::set(self.word());
    }

    /// Unsets it. Who waited when it was set goes on, however soon it is unset again.
    pub fn clear(&self) {
        event::clear(self.word());
    }

    /// Waits until it is set.
    pub fn wait(&self) {
        event::wait(self.word(), Deadline::Never);
    }

    /// Waits until it is set, for `timeout` at the most; says whether it was.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        event::wait(self.word(), Deadline::after(timeout))
    }

    /// Does the same as [`wait_timeout`](Event::wait_timeout), with a point in time.
    #[must_use]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        event::wait(self.word(), Deadline::at(deadline))
    }
}

impl fmt::Display for Event {
    /// `<Event set>` or `<Event unset>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "<Event set>" } else { "<Event unset>" })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
