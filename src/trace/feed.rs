//! What one worker tells, put into the program's subscriber.
//!
//! A worker runs its tasks one after the other, and tells in order, so what it tells between
//! `Begun` and `Done` is of that task. It names the job that a task is of by the number that
//! [`Feed::given`] gave out; jobs are begun in the order in which they were given, so those before
//! it were taken back, and are forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Span, dispatcher};

use super::callsites;
use super::origin::{Kept, Origin, Place};
use super::told::{self, Told, Value};
use crate::unwind;

/// Spans of one worker that are open at a time, at the most; those beyond are left out, and what is
/// within them is of the task.
const MAX_SPANS: usize = 1024;

/// Jobs of one worker whose origin is remembered, at the most.
const MAX_JOBS: usize = 4096;

/// The outcome of a task of which the worker could not tell it.
const NOT_TOLD: &str = "not told";

/// What the program knows of one worker's spans.
#[derive(Debug)]
pub(crate) struct Feed {
    name: String,
    pid: u32,
    jobs: Mutex<Jobs>,
    open: Mutex<Open>,
}

/// Jobs that the worker was given.
#[derive(Debug, Default)]
struct Jobs {
    last: u64,
    /// Tasks that the worker was given and that were not taken back.
    tasks: u64,
    /// Those that were taken back, to be dropped where code of the subscriber may run.
    passed: Vec<Origin>,
    origins: VecDeque<Given>,
}

/// A job that the worker was given.
#[derive(Debug)]
struct Given {
    number: u64,
    origin: Origin,
    /// Tasks of it that have not begun.
    left: u32,
}

/// Spans that are open.
#[derive(Debug, Default)]
struct Open {
    task: Option<Kept>,
    /// Where the task was submitted, for what is within none of its spans.
    origin: Place,
    /// The name of the task that runs.
    label: String,
    /// The span of the worker, for what is of no task; made when it is needed.
    worker: Option<Kept>,
    spans: HashMap<u64, Kept>,
}

impl Feed {
    /// The feed of a worker that was started just now.
    pub(crate) fn new(name: String, pid: u32) -> Feed {
        Feed { name, pid, jobs: Mutex::default(), open: Mutex::default() }
    }

    /// The same, with what is of no task within `span`.
    pub(crate) fn within(self, span: Span) -> Feed {
        lock(&self.open).worker = Some(Kept::new(span));
        self
    }

    /// The same, with numbers behind this one for its jobs.
    pub(crate) fn numbered(self, before: u64) -> Feed {
        lock(&self.jobs).last = before;
        self
    }

    /// Notes that the worker is given a job of `count` tasks of this origin; returns the job's
    /// number for it. Runs no code of the subscriber.
    pub(crate) fn given(&self, origin: &Origin, count: u32) -> u64 {
        let mut jobs = lock(&self.jobs);
        jobs.last = jobs.last.wrapping_add(1);
        let number = jobs.last;
        jobs.tasks = jobs.tasks.saturating_add(u64::from(count));
        if jobs.origins.len() < MAX_JOBS {
            jobs.origins.push_back(Given { number, origin: origin.clone(), left: count });
        }
        number
    }

    /// Notes that the worker is not to begin more than these of all the tasks that it was given.
    /// Returns whether origins are to be [let go](Feed::let_go) of. Runs no code of the subscriber.
    pub(crate) fn taken_back(&self, begun: u64) -> bool {
        let mut jobs = lock(&self.jobs);
        let mut back = jobs.tasks.saturating_sub(begun);
        jobs.tasks = jobs.tasks.saturating_sub(back);
        // What was given last is what has not begun.
        while back > 0
            && let Some(given) = jobs.origins.back_mut()
        {
            if u64::from(given.left) > back {
                given.left = given.left.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
                break;
            }
            back = back.saturating_sub(given.left.into());
            let given = jobs.origins.pop_back();
            jobs.passed.extend(given.map(|given| given.origin));
        }
        !jobs.passed.is_empty()
    }

    /// Drops the origins of what was taken back.
    pub(crate) fn let_go(&self) {
        let passed = std::mem::take(&mut lock(&self.jobs).passed);
        drop_each(passed);
    }

    /// The origin of a task of a job that begins, and forgets those of the jobs before it, and of
    /// this one with its last task: what waits for the end of a span that was current is not to
    /// wait for the worker's next task.
    fn origin(&self, job: u64) -> Origin {
        let mut passed = Vec::new();
        let mut jobs = lock(&self.jobs);
        while jobs.origins.front().is_some_and(|given| given.number < job) {
            passed.extend(jobs.origins.pop_front());
        }
        let mut origin = Origin::default();
        if let Some(given) = jobs.origins.front_mut().filter(|given| given.number == job) {
            origin = given.origin.clone();
            given.left = given.left.saturating_sub(1);
            if given.left == 0 {
                passed.extend(jobs.origins.pop_front());
            }
        }
        // Dropping a span may call the subscriber: not under the lock.
        drop(jobs);
        drop_each(passed);
        origin
    }

    /// Puts what the worker tells into the subscriber of this thread.
    pub(crate) fn take_in(&self, told: Told) {
        match told {
            Told::Begun { job, number, name } => self.begin(job, number, name),
            Told::Done { outcome } => self.end_task(&outcome),
            Told::Failed { message, place, backtrace } => {
                self.fail(&message, place.as_deref(), backtrace.as_deref());
            }
            Told::Event { within, mut site, values } => {
                site.is_span = false;
                let (metadata, values) = callsites::find(site, values);
                self.place(within).enter(|parent| {
                    if is_wanted(metadata) {
                        callsites::with_values(metadata, &values, |values| {
                            Event::child_of(parent, metadata, values);
                        });
                    }
                });
            }
            Told::Span { id, within, mut site, values } => {
                site.is_span = true;
                let (metadata, values) = callsites::find(site, values);
                let span = self.place(within).enter(|parent| {
                    if !is_wanted(metadata) || lock(&self.open).spans.len() >= MAX_SPANS {
                        return None;
                    }
                    Some(callsites::with_values(metadata, &values, |values| {
                        Span::child_of(parent, metadata, values)
                    }))
                });
                let Some(span) = span else { return };
                let before = lock(&self.open).spans.insert(id, Kept::new(span));
                drop(before);
            }
            Told::Values { id, values } => {
                let span = lock(&self.open).spans.get(&id).map(|span| Span::clone(span));
                let Some(span) = span else { return };
                for (name, value) in &values {
                    record(&span, name, value);
                }
            }
            Told::Closed { id } => {
                let span = lock(&self.open).spans.remove(&id);
                drop(span);
            }
        }
    }

    /// Opens a task's span.
    fn begin(&self, job: u64, number: u64, name: String) {
        self.end_task(NOT_TOLD);
        let origin = self.origin(job);
        let span = origin.place().enter(|parent| {
            tracing::info_span!(
                target: "multiproc::task",
                parent: parent,
                "task",
                name = name.as_str(),
                number,
                process = self.name.as_str(),
                pid = self.pid,
                outcome = Empty
            )
        });
        let mut open = lock(&self.open);
        open.task = Some(Kept::new(span));
        open.origin = origin.place().top();
        open.label = name;
    }

    /// Closes the task's span, if one is open.
    fn end_task(&self, outcome: &str) {
        let (task, _origin) = {
            let mut open = lock(&self.open);
            (open.task.take(), std::mem::take(&mut open.origin))
        };
        if let Some(task) = task {
            task.record("outcome", outcome);
        }
    }

    /// Makes one event of a failure.
    fn fail(&self, message: &str, place: Option<&str>, backtrace: Option<&str>) {
        let task = lock(&self.open).label.clone();
        self.place(None).enter(|parent| {
            tracing::error!(
                target: "multiproc::task",
                parent: parent,
                task = task.as_str(),
                place,
                backtrace,
                process = self.name.as_str(),
                pid = self.pid,
                "{message}"
            );
        });
    }

    /// The worker has ended: closes all of its spans, the innermost first. `why` is the outcome of
    /// the task that ran, of which there is then one event.
    pub(crate) fn end(&self, why: &str) {
        // A subscriber may panic in each of these steps. The others are taken nevertheless, and no
        // two panics meet.
        if lock(&self.open).task.is_some() {
            let _ = unwind::catch(|| self.fail(why, None, None));
        }
        self.close_all(why);
    }

    /// The worker is needed no more: closes all of its spans. It has told the outcome of its tasks,
    /// unless it told more than could be heard.
    pub(crate) fn leave(&self) {
        self.close_all(NOT_TOLD);
    }

    /// Closes all spans of the worker, the innermost first. `outcome` is that of the task that ran.
    fn close_all(&self, outcome: &str) {
        let spans = std::mem::take(&mut lock(&self.open).spans);
        let mut spans: Vec<_> = spans.into_iter().collect();
        spans.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        drop_each(spans);
        let _ = unwind::catch(|| self.end_task(outcome));
        let worker = lock(&self.open).worker.take();
        drop_each(worker);
        let origins = std::mem::take(&mut lock(&self.jobs).origins);
        drop_each(origins);
        self.let_go();
    }

    /// The place of something: within the span that the worker says, or that of the task, or that
    /// of the worker.
    fn place(&self, within: Option<u64>) -> Place {
        let open = lock(&self.open);
        let span = within.and_then(|id| open.spans.get(&id)).or(open.task.as_ref());
        if let Some(span) = span.or(open.worker.as_ref()) {
            let place = Place::within(span);
            // Spans that the subscriber does not want are none.
            return if place.is_within() { place } else { open.origin.clone() };
        }
        drop(open);
        let span = tracing::info_span!(
            target: "multiproc::worker",
            parent: None,
            "worker",
            process = self.name.as_str(),
            pid = self.pid
        );
        let place = Place::within(&span);
        lock(&self.open).worker = Some(Kept::new(span));
        place
    }
}

/// Locks what no code of the subscriber runs under.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops spans, for which the subscriber is called: a panic of its in one leaves the others.
fn drop_each<T>(spans: impl IntoIterator<Item = T>) {
    for span in spans {
        let _ = unwind::catch(|| drop(span));
    }
}

/// Returns whether this thread's subscriber wants what a callsite makes.
fn is_wanted(metadata: &'static Metadata<'static>) -> bool {
    *metadata.level() <= LevelFilter::current()
        && dispatcher::get_default(|dispatch| dispatch.enabled(metadata))
}

/// Records a value of a span, if the span has a field of that name.
fn record(span: &Span, name: &str, value: &Value) {
    match value {
        Value::Signed(value) => span.record(name, value),
        Value::Unsigned(value) => span.record(name, value),
        Value::Float(value) => span.record(name, value),
        Value::Bool(value) => span.record(name, value),
        Value::Str(value) => span.record(name, value.as_str()),
        Value::Text(value) => span.record(name, tracing::field::display(value)),
    };
}

/// The number of the greatest level that this program's subscribers want; 0 if they want nothing.
pub(crate) fn max_level() -> u8 {
    LevelFilter::current().into_level().map_or(0, told::number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::told::Site;

    /// What no honest worker tells: wrong levels, fields that are not there, spans that never were.
    #[test]
    fn garbage_is_taken_in() {
        let subscriber = tracing_subscriber::registry();
        dispatcher::with_default(&subscriber.into(), || {
            let feed = Feed::new("worker".to_owned(), 1);
            for (level, fields) in [(0, 0), (200, 1), (3, 40), (5, 300)] {
                for is_span in [false, true] {
                    let site = Site {
                        is_span,
                        name: "\0".repeat(5000 * fields),
                        target: String::new(),
                        level,
                        module: None,
                        file: None,
                        line: Some(u32::MAX),
                        fields: vec!["same".to_owned(); fields],
                    };
                    let values = vec![(255, Value::Bool(true)), (0, Value::Float(f64::NAN))];
                    let (within, id) = (Some(u64::MAX), 0);
                    let event = Told::Event { within, site: site.clone(), values: values.clone() };
                    feed.take_in(event);
                    feed.take_in(Told::Span { id, within: Some(0), site, values });
                }
            }
            feed.take_in(Told::Done { outcome: String::new() });
            feed.take_in(Told::Closed { id: 77 });
            let values =
                vec![("same".to_owned(), Value::Signed(1)), ("?".to_owned(), Value::Bool(false))];
            feed.take_in(Told::Values { id: 0, values });
            feed.given(&Origin::current(), 1);
            feed.take_in(Told::Begun { job: u64::MAX, number: 0, name: String::new() });
            assert!(lock(&feed.jobs).origins.is_empty());
            feed.end("killed");
            assert!(lock(&feed.open).spans.is_empty() && lock(&feed.open).task.is_none());
        });
    }
}
