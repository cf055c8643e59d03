//! A flag that can be waited for.
//!
//! The state machine is `raw::event`: one word, without owners. So a process that is killed while
//! it waits, sets or clears needs no repair, and the object needs no robust list.

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
use super::awaited::watch;
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
///
/// It costs a descriptor and a page of memory. What happened before [`set`](Event::set) is visible
/// to whoever sees the flag set, in shared memory, too.
#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    segment: Crossing<{ size_of::<AtomicU32>() }>,
}

impl Event {
    /// Makes a flag that is not set.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// assert_eq!(multiproc::Event::new()?.to_string(), "<Event unset>");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<Event> {
        Ok(Event { segment: Crossing(Segment::create("event", size_of::<AtomicU32>())?) })
    }

    fn word(&self) -> &AtomicU32 {
        // Memory of this length was checked when the handle was made or decoded.
        self.segment.0.memory().at(0)
    }

    /// Returns `true` if the flag is set at this moment. CPython's `is_set()`.
    ///
    /// ```
    /// use multiproc::Event;
    ///
    /// let event = Event::new()?;
    /// assert!(!event.is_set());
    /// event.set();
    /// assert!(event.is_set());
    /// event.clear();
    /// assert!(!event.is_set());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_set(&self) -> bool {
        event::is_set(self.word())
    }

    /// Sets the flag, and wakes all who wait. CPython's `set()`.
    ///
    /// ```
    /// use multiproc::{Event, Process};
    ///
    /// let done = Event::new()?;
    /// Process::new(|done: Event| done.set(), (done.clone(),)).start()?.join()?;
    /// assert!(done.is_set());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn set(&self) {
        event::set(self.word());
    }

    /// Unsets the flag. CPython's `clear()`.
    ///
    /// Whoever was waiting when it was set goes on, however soon it is unset again. CPython's does
    /// not promise that: its waiters look at the flag once more when they wake.
    ///
    /// ```
    /// let event = multiproc::Event::new()?;
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn clear(&self) {
        event::clear(self.word());
    }

    /// Waits until the flag is set. Signals do not end the wait.
    ///
    /// ```
    /// use multiproc::{Event, Process};
    ///
    /// let (ready, go) = (Event::new()?, Event::new()?);
    /// let worker = |ready: Event, go: Event| {
    ///     ready.set();
    ///     go.wait();
    /// };
    /// let child = Process::new(worker, (ready.clone(), go.clone())).start()?;
    /// ready.wait();
    /// go.set();
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait(&self) {
        event::wait(self.word(), Deadline::Never);
    }

    /// Waits until the flag is set, for `timeout` at the most. Returns whether it was set.
    /// CPython's `wait(timeout)`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::Event;
    ///
    /// let event = Event::new()?;
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::ZERO));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        event::wait(self.word(), Deadline::after(timeout))
    }

    /// Waits until the flag is set, until `deadline` at the most. Returns whether it was set.
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let event = multiproc::Event::new()?;
    /// assert!(!event.wait_deadline(Instant::now()));
    /// event.set();
    /// assert!(event.wait_deadline(Instant::now()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        event::wait(self.word(), Deadline::at(deadline))
    }

    /// Waits until the flag is set, without blocking the thread that polls. For any executor.
    /// (Feature `async`.)
    ///
    /// As with [`wait`](Event::wait), a flag that is set and cleared again since this call is not
    /// missed, even if the future was not polled in between. While tasks of this process wait, a
    /// thread of the library sleeps in their place, one for 127 events.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time: it takes nothing.
    ///
    /// ```
    /// use multiproc::{Event, Process};
    ///
    /// let ready = Event::new()?;
    /// let child = Process::new(|ready: Event| ready.set(), (ready.clone(),)).start()?;
    /// async_io::block_on(ready.wait_async());
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn wait_async(&self) -> impl Future<Output = ()> + Send {
        let word = self.word();
        let since = event::times(word);
        watch::until(
            std::ptr::from_ref(word).addr(),
            since,
            move || event::wait_since(word, since, Deadline::Now).then_some(()),
            || self.clone(),
        )
    }
}

#[cfg(feature = "async")]
impl watch::Watched for Event {
    fn word(&self) -> &AtomicU32 {
        self.word()
    }

    fn arm(&self, since: u32) -> Option<u32> {
        event::arm(self.word(), since)
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
