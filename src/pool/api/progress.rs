//! Says how far a map is.

use std::time::Duration;

/// Says how far a map is: what [`Tasks::progress`](crate::Tasks::progress) shows.
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
    /// Counts how many tasks there are at all, if the inputs tell.
    pub total: Option<u64>,
    /// Counts how many are finished, those included that failed.
    pub done: u64,
    /// Counts how many failed.
    pub failed: u64,
    /// Counts how many run.
    pub running: usize,
    /// For how long the map has been going on.
    pub elapsed: Duration,
}

impl Progress {
    /// Returns how many tasks are finished in a second, on the whole; 0 at the beginning.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.done as f64 / seconds } else { 0.0 }
    }

    /// Returns how long the rest will take at that rate; `None` if that cannot be told.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    pub fn remaining(&self) -> Option<Duration> {
        let rest = self.total?.saturating_sub(self.done) as f64;
        let rate = self.rate();
        if rate > 0.0 { Duration::try_from_secs_f64(rest / rate).ok() } else { None }
    }

    /// Returns whether all are finished, as far as one knows how many there are.
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
