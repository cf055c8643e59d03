//! The places of a pool, the workers in them, and when an empty place gets its next worker.
//!
//! A worker that dies in a task is replaced at once: the task was to blame. Workers that die for no
//! such reason are replaced more and more slowly, and after a while not at all: whatever they lack
//! (memory, a file, a permission), the next one lacks as well, and tasks had better fail with the
//! reason than wait.

use std::time::{Duration, Instant};

use super::policy::Policy;
use super::worker::WorkerRecord;

/// Workers in a row that may end unasked soon after their start, with nothing finished, before the
/// pool gives up.
const MAX_QUICK_ENDS: u32 = 100;

/// Age below which the end of a worker is soon after its start.
const QUICK: Duration = Duration::from_millis(100);

/// Pause before a place gets its next worker after one that could not start; doubled at each
/// failure in a row.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All places of a pool.
pub(crate) struct WorkerSet {
    places: Vec<Place>,
    /// Starts in a row that failed, in all places: a worker that becomes ready forgives them.
    failed_starts: u32,
    /// Workers in a row that ended soon after they were ready, with nothing finished.
    quick_ends: u32,
}

/// A place for one worker at a time.
pub(crate) struct Place {
    /// The worker that is there.
    pub(crate) worker: Option<WorkerRecord>,
    /// True while the host starts a worker for it.
    is_starting: bool,
    /// Earliest start of its next worker; `None` for at once.
    start_at: Option<Instant>,
    /// Totals of the workers that were here before.
    pub(crate) totals: Totals,
    /// Number of workers that were started here.
    starts: u64,
}

/// Totals of workers that have ended, for statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) tasks: u64,
    pub(crate) failures: u64,
    pub(crate) busy: Duration,
}

impl Place {
    /// Returns the number of times that its worker was replaced.
    pub(crate) fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }
}

impl WorkerSet {
    /// Places for `count` workers, which count as being started: the host starts the first ones
    /// unasked.
    pub(crate) fn new(count: usize) -> WorkerSet {
        let place = || Place {
            // Empty and being started: the host starts one worker for each place before it asks.
            worker: None,
            is_starting: true,
            start_at: None,
            totals: Totals::default(),
            starts: 0,
        };
        let places = std::iter::repeat_with(place).take(count).collect();
        WorkerSet { places, failed_starts: 0, quick_ends: 0 }
    }

    /// Returns the number of places.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The worker in a place, if there is one.
    pub(crate) fn worker(&self, place: usize) -> Option<&WorkerRecord> {
        self.places.get(place)?.worker.as_ref()
    }

    /// The worker in a place, if there is one.
    pub(crate) fn worker_mut(&mut self, place: usize) -> Option<&mut WorkerRecord> {
        self.places.get_mut(place)?.worker.as_mut()
    }

    /// All workers, in the order of their places.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &WorkerRecord> {
        self.places.iter().filter_map(|place| place.worker.as_ref())
    }

    /// All places, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// Returns the number of workers for which `is` holds.
    pub(crate) fn count(&self, is: impl Fn(&WorkerRecord) -> bool) -> usize {
        self.workers().filter(|worker| is(worker)).count()
    }

    /// Returns whether `is` holds for all workers.
    pub(crate) fn all(&self, is: impl Fn(&WorkerRecord) -> bool) -> bool {
        self.workers().all(is)
    }

    /// Takes a worker out of its place.
    pub(crate) fn remove(&mut self, place: usize) -> Option<WorkerRecord> {
        self.places.get_mut(place)?.worker.take()
    }

    /// Puts a worker that was started into its place.
    pub(crate) fn put(&mut self, place: usize, worker: WorkerRecord) {
        if let Some(place) = self.places.get_mut(place) {
            place.is_starting = false;
            place.starts = place.starts.saturating_add(1);
            place.worker = Some(worker);
        }
    }

    /// Records the end of a worker. `is_expected` if it is no sign that the next worker would end
    /// as well.
    pub(crate) fn ended(
        &mut self,
        place: usize,
        worker: &WorkerRecord,
        is_expected: bool,
        now: Instant,
    ) {
        // Its ledger goes with it, so what it did is kept with the place.
        if let Some(Place { totals, .. }) = self.places.get_mut(place) {
            totals.tasks = totals.tasks.saturating_add(worker.ledger.finished);
            totals.failures = totals.failures.saturating_add(worker.ledger.failures);
            totals.busy = totals.busy.saturating_add(worker.busy());
        }
        if is_expected {
            return;
        }
        // It was ready, so its start did not fail. One that always ends right after that is caught
        // by `quick_ends`.
        if worker.is_ready() {
            let was_quick = now.saturating_duration_since(worker.started) < QUICK;
            self.quick_ends = self.quick_ends.saturating_add(u32::from(was_quick));
        } else {
            self.failed(place, now);
        }
    }

    /// Records that a worker could not start, or ended before it was ready. Its place gets the next
    /// one after a pause.
    pub(crate) fn failed(&mut self, place: usize, now: Instant) {
        self.failed_starts = self.failed_starts.saturating_add(1);
        // At most 1,024 times the pause, which is more than the longest one: no overflow.
        let pause = PAUSE.saturating_mul(1 << self.failed_starts.min(10)).min(LONGEST_PAUSE);
        // The pause is the place's: others go on with the workers that they have.
        if let Some(place) = self.places.get_mut(place) {
            place.is_starting = false;
            place.start_at = now.checked_add(pause);
        }
    }

    /// Records that a worker became ready.
    pub(crate) fn started_well(&mut self) {
        self.failed_starts = 0;
    }

    /// Records that a worker has finished a task.
    pub(crate) fn worked(&mut self) {
        self.quick_ends = 0;
    }

    /// Returns whether to start more workers makes no sense: too many starts in a row have failed
    /// and none is ready, or too many workers in a row have ended with nothing done.
    pub(crate) fn is_hopeless(&self, policy: &Policy) -> bool {
        let places = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        // One failure for each place is no pattern yet: they start at the same time, for the same
        // reason.
        let max_failed = policy.max_restarts.saturating_add(places);
        let is_any_ready = self.workers().any(WorkerRecord::is_ready);
        // With one that is ready, tasks get done; others may yet start.
        (self.failed_starts >= max_failed && !is_any_ready) || self.quick_ends >= MAX_QUICK_ENDS
    }

    /// Returns when the next worker is to be started, in one of the empty places that `wants`
    /// allows.
    pub(crate) fn next_start(
        &self,
        now: Instant,
        wants: impl Fn(usize) -> bool,
    ) -> Option<Instant> {
        let vacant = self.places.iter().enumerate().filter(|(number, place)| {
            place.worker.is_none() && !place.is_starting && wants(*number)
        });
        vacant.map(|(_, place)| place.start_at.unwrap_or(now)).min()
    }

    /// Takes the places that are to get a worker now; they count as being started from here on.
    pub(crate) fn take_vacancies(
        &mut self,
        now: Instant,
        wants: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut vacancies = Vec::new();
        for (number, place) in self.places.iter_mut().enumerate() {
            if place.worker.is_none()
                && !place.is_starting
                && place.start_at.is_none_or(|at| at <= now)
                && wants(number)
            {
                // Until the host reports `Started` or `StartFailed`, so that it is asked once.
                place.is_starting = true;
                place.start_at = None;
                vacancies.push(number);
            }
        }
        vacancies
    }

    /// Returns whether there is no worker, and none is being started, unless those do not count.
    pub(crate) fn is_gone(&self, starts_count_not: bool) -> bool {
        // A worker that is being started counts: its process exists before it is reported.
        self.places
            .iter()
            .all(|place| place.worker.is_none() && (starts_count_not || !place.is_starting))
    }
}
