//! What whoever has workers elsewhere tells the pool.

use std::any::Any;
use std::time::Duration;

/// What whoever has workers elsewhere tells the pool.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// There is a worker for a place that wanted one.
    Started {
        /// The place.
        place: usize,
        /// Its name, for errors.
        name: String,
        /// Its process ID there.
        pid: u32,
    },
    /// A worker has said something.
    Heard {
        /// The place.
        place: usize,
        /// Number of tasks that it has begun since it was started.
        begun: u64,
        /// Time that it has spent on tasks.
        busy: Duration,
        /// What came of tasks, in their order.
        messages: Vec<Vec<u8>>,
    },
    /// How a worker stands, for statistics.
    Stands {
        /// The place.
        place: usize,
        /// Time that it has spent on tasks.
        busy: Duration,
        /// Number of times that its process was replaced since it was started here.
        restarts: u32,
        /// Private memory of its process, in bytes, if that is known.
        resident: Option<u64>,
    },
    /// A worker has told of spans and events.
    Told {
        /// The place.
        place: usize,
        /// What it has told, in order, as [`PassOn`](crate::station::PassOn) was given it.
        told: Vec<Vec<u8>>,
        /// Dropped when the pool is done with all of it, which waits for the program's subscriber:
        /// whoever reports learns by that when to go on.
        lent: Box<dyn Any + Send>,
    },
    /// The answer to the oldest recall that has none.
    Recalled {
        /// The place.
        place: usize,
        /// Number of tasks that it has begun; it has forgotten the others.
        begun: u64,
    },
    /// A worker is gone.
    Ended {
        /// The place.
        place: usize,
        /// Number of tasks that it had begun; `None` if that is not known, so that all that it was
        /// given may have been.
        begun: Option<u64>,
        /// True if it is gone with its machine: no fault of its tasks.
        is_lost: bool,
        /// Why.
        why: String,
    },
    /// No worker can be had, for this reason, and waiting would not help.
    Hopeless {
        /// Why.
        why: String,
    },
}
