//! When members are asked although the kernel has told of nothing.

use std::time::Duration;

use crate::sys::wait::poll::Deadline;

/// The rounds in which some members are asked although nothing was told.
pub(super) struct Rounds {
    /// Number of those members.
    count: usize,
    /// The shortest time between two rounds that one of them asked for.
    time: Duration,
    next: Deadline,
}

impl Rounds {
    /// None, as long as nobody joins.
    pub(super) fn new() -> Rounds {
        Rounds { count: 0, time: Duration::MAX, next: Deadline::Never }
    }

    /// Counts a member that asks for this time.
    pub(super) fn join(&mut self, time: Duration) {
        if self.count == 0 || time < self.time {
            self.time = time;
            self.next = Deadline::after(time);
        }
        self.count += 1;
    }

    /// Counts a member less.
    pub(super) fn leave(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Returns `deadline`, or the next round if that comes first.
    pub(super) fn before(&self, deadline: Deadline) -> Deadline {
        match self.next.left() {
            Some(left) if self.count > 0 => deadline.within_next(left),
            _ => deadline,
        }
    }

    /// Returns true if a round is due, and sets the next.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.count > 0 && self.next.is_over();
        if is_due {
            self.next = Deadline::after(self.time);
        }
        is_due
    }
}
