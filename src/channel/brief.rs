//! Looking for a value for a moment without asking to be told: what a future does before it waits.

use std::time::{Duration, Instant};

/// A receiving end at which that is of use, as the other side writes into memory.
pub(crate) trait LooksBriefly {
    /// Looks for a value, for `limit` at the most, and for no longer than that was good for before.
    /// If it was in vain, returns when it began, for [`came_late`](LooksBriefly::came_late).
    fn look_briefly(&mut self, limit: Duration) -> Option<Instant>;

    /// Notes that a value has come that a look was in vain for: the next look is longer or shorter,
    /// by what that would have helped.
    fn came_late(&mut self, since: Instant);
}
