//! The subscriber of a worker: it tells the pool of spans and events.
//!
//! Spans are numbered here; what is current is known for each thread, as in any subscriber. That a
//! span is entered or left is not told: each event names its span.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Metadata, callsite, dispatcher};
use tracing_core::span::Current;

use super::told::{self, Collector, Site, Told};
use crate::unwind::Panic;

/// How something is told. What cannot be sent is lost.
pub(crate) type Send = Arc<dyn Fn(Told) + std::marker::Send + Sync>;

/// What tasks are told with; not set unless the program has a subscriber.
static SEND: OnceLock<Send> = OnceLock::new();

thread_local! {
    /// The spans that this thread is in.
    static WITHIN: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// The number of the greatest level that is told of.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Tells of spans and events of a level.
struct Teller {
    send: Send,
    last: AtomicU64,
    /// How often each open span is held, and its metadata.
    held: Mutex<HashMap<u64, (u64, &'static Metadata<'static>)>>,
}

/// Makes this process tell of its spans and events up to `level`, by `send`. The thread that calls
/// this tells in any case; others do unless the program has set a subscriber of its own.
pub(crate) fn install(level: u8, send: Send) {
    if level == 0 || SEND.set(Arc::clone(&send)).is_err() {
        return;
    }
    LEVEL.store(level, Ordering::Relaxed);
    let teller = Teller { send, last: AtomicU64::new(1), held: Mutex::default() };
    let dispatch = Dispatch::new(teller);
    // A fork has its parent's subscriber, which would write to the parent's files: for the thread
    // that runs the tasks, this one goes before it.
    if dispatcher::set_global_default(dispatch.clone()).is_err() {
        std::mem::forget(dispatcher::set_default(&dispatch));
    }
}

/// Makes it the greatest level that is told of, from the next span or event on; 0 for none.
pub(crate) fn set_level(level: u8) {
    if LEVEL.swap(level, Ordering::Relaxed) != level {
        // What each callsite knows of it.
        callsite::rebuild_interest_cache();
    }
}

/// The filter of the level that is told of now.
fn filter() -> LevelFilter {
    match LEVEL.load(Ordering::Relaxed) {
        0 => LevelFilter::OFF,
        level => LevelFilter::from_level(told::level(level)),
    }
}

/// Tells that a task begins.
pub(crate) fn begun(job: u64, number: u64, name: &str) {
    tell(|| Told::Begun { job, number, name: name.to_owned() });
}

/// Tells that a task has returned.
pub(crate) fn returned() {
    tell(|| Told::Done { outcome: "returned".to_owned() });
}

/// Tells that a task has failed without a panic.
pub(crate) fn failed(reason: &str) {
    tell(|| Told::Failed { message: reason.to_owned(), place: None, backtrace: None });
    tell(|| Told::Done { outcome: "failed".to_owned() });
}

/// Tells that a task has panicked. Returns `false` if nobody listens.
pub(crate) fn panicked(panic: &Panic) -> bool {
    tell(|| Told::Failed {
        message: panic.message().to_owned(),
        place: panic.location().map(ToString::to_string),
        backtrace: panic.backtrace().map(str::to_owned),
    });
    tell(|| Told::Done { outcome: "panicked".to_owned() });
    SEND.get().is_some()
}

/// Sends what `make` makes, if anybody listens.
fn tell(make: impl FnOnce() -> Told) {
    if let Some(send) = SEND.get() {
        send(make());
    }
}

/// The innermost span that this thread is in.
fn within() -> Option<Id> {
    WITHIN.try_with(|within| within.try_borrow().ok()?.last().cloned()).ok().flatten()
}

impl Teller {
    /// The span that something is within.
    fn parent(&self, is_contextual: bool, explicit: Option<&Id>) -> Option<u64> {
        let within = if is_contextual { within() } else { explicit.cloned() };
        within.map(|id| id.into_u64())
    }

    fn with_held<T>(
        &self,
        f: impl FnOnce(&mut HashMap<u64, (u64, &'static Metadata<'static>)>) -> T,
    ) -> T {
        f(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Teller {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::Relaxed).max(1);
        self.with_held(|held| held.insert(id, (1, span.metadata())));
        let mut values = Collector::default();
        span.record(&mut values);
        (self.send)(Told::Span {
            id,
            within: self.parent(span.is_contextual(), span.parent()),
            site: Site::of(span.metadata()),
            values: values.0,
        });
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let id = span.into_u64();
        let mut collected = Collector::default();
        values.record(&mut collected);
        let Some((_, metadata)) = self.with_held(|held| held.get(&id).copied()) else { return };
        let names: Vec<_> = metadata.fields().iter().map(|field| field.name()).collect();
        let values = collected.0.into_iter().filter_map(|(index, value)| {
            Some(((*names.get(usize::from(index))?).to_owned(), value))
        });
        (self.send)(Told::Values { id, values: values.collect() });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut values = Collector::default();
        event.record(&mut values);
        (self.send)(Told::Event {
            within: self.parent(event.is_contextual(), event.parent()),
            site: Site::of(event.metadata()),
            values: values.0,
        });
    }

    fn enter(&self, span: &Id) {
        let _ = WITHIN.try_with(|within| within.borrow_mut().push(span.clone()));
    }

    fn exit(&self, span: &Id) {
        let _ = WITHIN.try_with(|within| {
            let mut within = within.borrow_mut();
            // Spans may be left in another order than they were entered.
            if let Some(place) = within.iter().rposition(|id| id == span) {
                within.remove(place);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.with_held(|held| {
            if let Some((count, _)) = held.get_mut(&span.into_u64()) {
                *count += 1;
            }
        });
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let id = span.into_u64();
        let is_last = self.with_held(|held| {
            let Some((count, _)) = held.get_mut(&id) else { return false };
            *count -= 1;
            *count == 0 && held.remove(&id).is_some()
        });
        if is_last {
            (self.send)(Told::Closed { id });
        }
        is_last
    }

    fn current_span(&self) -> Current {
        let Some(id) = within() else { return Current::none() };
        match self.with_held(|held| held.get(&id.into_u64()).copied()) {
            Some((_, metadata)) => Current::new(id, metadata),
            None => Current::none(),
        }
    }
}
