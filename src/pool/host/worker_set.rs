//! The workers of a pool: a place for each, and whoever is in it.

use std::time::{Duration, Instant};

use super::settings::Settings;
use super::worker::Worker;

/// Sets how many workers may end unasked in a row, soon after their start and before they have done
/// anything.
const MAX_QUICK_ENDS: u32 = 100;
const QUICK: Duration = Duration::from_millis(100);

/// Sets how long to wait after a worker could not start: doubled each time, up to the most.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All places.
pub(crate) struct WorkerSet {
    places: Vec<Place>,
    /// Counts how many workers were started.
    started: u64,
    /// Counts how many in a row ended before they were up.
    failed_starts: u32,
    /// Counts how many in a row ended soon, up but without having done anything.
    quick_ends: u32,
}

/// A place for a worker.
pub(crate) struct Place {
    pub(crate) worker: Option<Worker>,
    /// Somebody is starting one.
    is_starting: bool,
    start_at: Option<Instant>,
    /// Of those that were here before.
    pub(crate) totals: Totals,
}

/// Describes what workers have done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) tasks: u64,
    pub(crate) failures: u64,
    pub(crate) restarts: u64,
    pub(crate) busy: Duration,
}

impl WorkerSet {
    pub(crate) fn new(workers: Vec<Worker>) -> WorkerSet {
        let place = |worker| Place {
            worker: Some(worker),
            is_starting: false,
            start_at: None,
            totals: Totals::default(),
        };
        let started = workers.len() as u64;
        WorkerSet {
            places: workers.into_iter().map(place).collect(),
            started,
            failed_starts: 0,
            quick_ends: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn worker(&self, place: usize) -> Option<&Worker> {
        self.places.get(place)?.worker.as_ref()
    }

    pub(crate) fn worker_mut(&mut self, place: usize) -> Option<&mut Worker> {
        self.places.get_mut(place)?.worker.as_mut()
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.places.iter().filter_map(|place| place.worker.as_ref())
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    pub(crate) fn count(&self, is: impl Fn(&Worker) -> bool) -> usize {
        self.workers().filter(|worker| is(worker)).count()
    }

    pub(crate) fn all(&self, is: impl Fn(&Worker) -> bool) -> bool {
        self.workers().all(is)
    }

    /// The place of the worker of that number, if it is there still.
    pub(crate) fn place_of(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number & 0xffff).ok()?;
        self.worker(place).is_some_and(|worker| worker.number == number).then_some(place)
    }

    /// The number of the `serial`th worker, in a place.
    pub(crate) fn number(serial: u64, place: usize) -> u64 {
        serial << 16 | place as u64
    }

    pub(crate) fn remove(&mut self, place: usize) -> Option<Worker> {
        self.places.get_mut(place)?.worker.take()
    }

    pub(crate) fn put(&mut self, place: usize, worker: Worker) {
        if let Some(place) = self.places.get_mut(place) {
            place.is_starting = false;
            place.totals.restarts = place.totals.restarts.saturating_add(1);
            place.worker = Some(worker);
        }
    }

    /// Takes note of a worker that ended. `is_alright`: that it did is no sign that another one
    /// would, too.
    pub(crate) fn ended(
        &mut self,
        place: usize,
        worker: &Worker,
        is_alright: bool,
        _settings: &Settings,
    ) {
        let was_ready = worker.is_ready();
        if let Some(place) = self.places.get_mut(place) {
            place.totals.tasks = place.totals.tasks.saturating_add(worker.ledger.finished);
            place.totals.failures = place.totals.failures.saturating_add(worker.ledger.failures);
            place.totals.busy = place.totals.busy.saturating_add(worker.busy());
        }
        if is_alright {
            return;
        }
        if was_ready {
            self.quick_ends =
                self.quick_ends.saturating_add(u32::from(worker.started.elapsed() < QUICK));
        } else {
            self.failed(place);
        }
    }

    /// A worker could not start, or did not get as far as its first task.
    pub(crate) fn failed(&mut self, place: usize) {
        self.failed_starts = self.failed_starts.saturating_add(1);
        let pause = PAUSE.saturating_mul(1 << self.failed_starts.min(10)).min(LONGEST_PAUSE);
        if let Some(place) = self.places.get_mut(place) {
            place.is_starting = false;
            place.start_at = Instant::now().checked_add(pause);
        }
    }

    /// One is up.
    pub(crate) fn started_well(&mut self) {
        self.failed_starts = 0;
    }

    /// One has done something.
    pub(crate) fn worked(&mut self, _place: usize) {
        self.quick_ends = 0;
    }

    /// Returns whether there is no sense in starting more.
    pub(crate) fn is_hopeless(&self, settings: &Settings) -> bool {
        let most = settings
            .max_restarts
            .saturating_add(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let is_any_up = self.workers().any(Worker::is_ready);
        (self.failed_starts >= most && !is_any_up) || self.quick_ends >= MAX_QUICK_ENDS
    }

    /// When the next one is to be started.
    pub(crate) fn next_start(&self) -> Option<Instant> {
        self.places
            .iter()
            .filter(|place| place.worker.is_none() && !place.is_starting)
            .filter_map(|place| place.start_at)
            .min()
    }

    /// Which places want a worker now, with its number; they count as being looked after.
    pub(crate) fn take_vacancies(&mut self, now: Instant) -> Vec<(usize, u64)> {
        let mut all = Vec::new();
        for (number, place) in self.places.iter_mut().enumerate() {
            if place.worker.is_none()
                && !place.is_starting
                && place.start_at.is_none_or(|at| at <= now)
            {
                place.is_starting = true;
                place.start_at = None;
                all.push((number, WorkerSet::number(self.started, number)));
                self.started = self.started.saturating_add(1);
            }
        }
        all
    }

    /// Returns whether there is nobody, and nobody will come.
    pub(crate) fn is_gone(&self) -> bool {
        self.places.iter().all(|place| place.worker.is_none() && !place.is_starting)
    }
}
