//! How far a map is.

use std::time::Duration;

/// How far a map is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How many tasks there are at all, if that is known.
    pub total: Option<u64>,
    /// How many are finished, those included that failed.
    pub done: u64,
    /// How many failed.
    pub failed: u64,
    /// How many run.
    pub running: usize,
    /// For how long.
    pub elapsed: Duration,
}
