//! The workers of a pool: a place for each, whoever is in it, and when its next one starts.

use std::time::{Duration, Instant};

use super::policy::Policy;
use super::worker::WorkerRecord;

/// Workers that may end unasked in a row, soon after their start and before they have finished
/// anything.
const MAX_QUICK_ENDS: u32 = 100;

/// Age below which the end of a worker counts as soon after its start.
const QUICK: Duration = Duration::from_millis(100);

/// Pause before a place gets its next worker after one that could not start; doubled each time.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All places of a pool.
pub(crate) struct WorkerSet {
    places: Vec<Place>,
    /// Starts in a row that failed.
    failed_starts: u32,
    /// Workers in a row that ended soon after they were ready, without having finished anything.
    quick_ends: u32,
}

/// A place for a worker.
pub(crate) struct Place {
    pub(crate) worker: Option<WorkerRecord>,
    /// True while the host starts a worker for it.
    is_starting: bool,
    /// When the next worker may be started; `None` for at once.
    start_at: Option<Instant>,
    /// What the workers did that were here before.
    pub(crate) totals: Totals,
    /// Number of workers that were started here.
    starts: u64,
}

/// What workers have done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) tasks: u64,
    pub(crate) failures: u64,
    pub(crate) busy: Duration,
}

impl Place {
    /// Returns how often its worker was replaced.
    pub(crate) fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }
}

impl WorkerSet {
    /// Places for so many workers, which the host is about to start.
    pub(crate) fn new(count: usize) -> WorkerSet {
        let place = || Place {
            worker: None,
            is_starting: true,
            start_at: None,
            totals: Totals::default(),
            starts: 0,
        };
        let places = std::iter::repeat_with(place).take(count).collect();
        WorkerSet { places, failed_starts: 0, quick_ends: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn worker(&self, place: usize) -> Option<&WorkerRecord> {
        self.places.get(place)?.worker.as_ref()
    }

    pub(crate) fn worker_mut(&mut self, place: usize) -> Option<&mut WorkerRecord> {
        self.places.get_mut(place)?.worker.as_mut()
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &WorkerRecord> {
        self.places.iter().filter_map(|place| place.worker.as_ref())
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    pub(crate) fn count(&self, is: impl Fn(&WorkerRecord) -> bool) -> usize {
        self.workers().filter(|worker| is(worker)).count()
    }

    pub(crate) fn all(&self, is: impl Fn(&WorkerRecord) -> bool) -> bool {
        self.workers().all(is)
    }

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

    /// Takes note of a worker that has ended. `is_expected` if its end is no sign that another
    /// worker would fare no better.
    pub(crate) fn ended(
        &mut self,
        place: usize,
        worker: &WorkerRecord,
        is_expected: bool,
        now: Instant,
    ) {
        if let Some(Place { totals, .. }) = self.places.get_mut(place) {
            totals.tasks = totals.tasks.saturating_add(worker.ledger.finished);
            totals.failures = totals.failures.saturating_add(worker.ledger.failures);
            totals.busy = totals.busy.saturating_add(worker.busy());
        }
        if is_expected {
            return;
        }
        if worker.is_ready() {
            let was_quick = now.saturating_duration_since(worker.started) < QUICK;
            self.quick_ends = self.quick_ends.saturating_add(u32::from(was_quick));
        } else {
            self.failed(place, now);
        }
    }

    /// Takes note of a worker that could not start, or ended before it was ready.
    pub(crate) fn failed(&mut self, place: usize, now: Instant) {
        self.failed_starts = self.failed_starts.saturating_add(1);
        let pause = PAUSE.saturating_mul(1 << self.failed_starts.min(10)).min(LONGEST_PAUSE);
        if let Some(place) = self.places.get_mut(place) {
            place.is_starting = false;
            place.start_at = now.checked_add(pause);
        }
    }

    /// Takes note of a worker that became ready.
    pub(crate) fn started_well(&mut self) {
        self.failed_starts = 0;
    }

    /// Takes note of a worker that has finished a task.
    pub(crate) fn worked(&mut self) {
        self.quick_ends = 0;
    }

    /// Returns whether there is no sense in starting more workers.
    pub(crate) fn is_hopeless(&self, policy: &Policy) -> bool {
        let places = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let max_failed = policy.max_restarts.saturating_add(places);
        let is_any_ready = self.workers().any(WorkerRecord::is_ready);
        (self.failed_starts >= max_failed && !is_any_ready) || self.quick_ends >= MAX_QUICK_ENDS
    }

    /// Returns when the next worker is to be started in one of the places that `wants` one.
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

    /// Takes the places that want a worker now; they count as being started.
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
                place.is_starting = true;
                place.start_at = None;
                vacancies.push(number);
            }
        }
        vacancies
    }

    /// Returns whether there is no worker, and none is being started.
    pub(crate) fn is_gone(&self) -> bool {
        self.places.iter().all(|place| place.worker.is_none() && !place.is_starting)
    }
}
