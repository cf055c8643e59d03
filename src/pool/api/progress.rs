//! The progress of a map, as numbers.

use std::time::Duration;

/// The progress of a map: what [`Tasks::progress`](crate::Tasks::progress) passes to its function.
///
/// The numbers are of one moment in the thread that takes the outcomes. CPython's `Pool` has no
/// counterpart; programs there wrap `imap` in a progress bar of their own.
///
/// ```
/// use std::time::Duration;
/// use multiproc::Progress;
///
/// let progress = Progress {
///     total: Some(100),
///     done: 20,
///     failed: 1,
///     running: 2,
///     elapsed: Duration::from_secs(10),
/// };
/// assert_eq!(progress.rate(), 2.0);
/// assert_eq!(progress.remaining(), Some(Duration::from_secs(40)));
/// assert!(!progress.is_finished());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Number of all tasks, if the iterator of inputs knows it (an exact `size_hint`) or has ended.
    pub total: Option<u64>,
    /// Number of tasks that are finished, failed ones included.
    pub done: u64,
    /// Number of tasks that failed, of those whose outcomes were taken.
    pub failed: u64,
    /// Number of workers that are at work for this map, at the most: estimated from what was handed
    /// out.
    pub running: usize,
    /// Time since the map began.
    pub elapsed: Duration,
}

impl Progress {
    /// Returns the number of tasks finished in a second, since the beginning; 0 at the beginning.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.done as f64 / seconds } else { 0.0 }
    }

    /// Returns the time that the rest will take at the present [`rate`](Progress::rate); `None` if
    /// the total or the rate is not known.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    pub fn remaining(&self) -> Option<Duration> {
        let rest = self.total?.saturating_sub(self.done) as f64;
        let rate = self.rate();
        if rate > 0.0 { Duration::try_from_secs_f64(rest / rate).ok() } else { None }
    }

    /// Returns whether all tasks are finished. `false` as long as the total is not known.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.total.is_some_and(|total| self.done >= total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_that_is_not_known() {
        let begun =
            Progress { total: Some(5), done: 0, failed: 0, running: 1, elapsed: Duration::ZERO };
        assert_eq!((begun.rate(), begun.remaining(), begun.is_finished()), (0.0, None, false));
        let endless = Progress { total: None, done: 7, elapsed: Duration::from_secs(1), ..begun };
        assert_eq!((endless.remaining(), endless.is_finished()), (None, false));
        let over = Progress { total: Some(5), done: 7, elapsed: Duration::from_nanos(1), ..begun };
        assert_eq!((over.remaining(), over.is_finished()), (Some(Duration::ZERO), true));
        let slow = Progress { total: Some(u64::MAX), done: 1, elapsed: Duration::MAX, ..begun };
        assert_eq!(slow.remaining(), None);
    }
}
