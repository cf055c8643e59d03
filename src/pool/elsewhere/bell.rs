//! How whoever has a pool's workers elsewhere reaches the pool.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use super::report::Report;

/// What hears reports: a pool.
pub(crate) trait Listener: Send + Sync {
    /// Hears reports, in order. Returns `false` if the pool is over.
    fn hear_reports(&self, reports: Vec<Report>) -> bool;
}

/// Tells a pool what its workers elsewhere have said. Copies reach the same pool; none of them
/// keeps it alive.
#[derive(Clone, Default)]
pub struct Bell(Arc<OnceLock<Weak<dyn Listener>>>);

impl Bell {
    /// A bell that reaches no pool yet.
    #[must_use]
    pub fn new() -> Bell {
        Bell::default()
    }

    /// Has the bell reach a pool, from now on.
    pub(crate) fn reach(&self, pool: Weak<dyn Listener>) {
        let _ = self.0.set(pool);
    }

    /// Passes reports on, in order, and wakes the threads whose outcomes have come with them.
    /// Returns `false` if there is no pool: not yet, or not any more.
    ///
    /// To be called from a thread that holds no lock that the pool's
    /// [`Hands`](super::hands::Hands) take.
    pub fn report(&self, reports: Vec<Report>) -> bool {
        let pool = self.0.get().and_then(Weak::upgrade);
        pool.is_some_and(|pool| pool.hear_reports(reports))
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}
