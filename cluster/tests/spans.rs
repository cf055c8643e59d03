//! The spans and events of tasks on nodes come out in the owner's subscriber, as those of workers on
//! its machine do (feature `tracing`). They need `nats-server`.

mod support;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multiproc::Pool;
use support::{MINUTE, cluster, wait_for};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use tracing_subscriber::reload;

/// One test at a time: the level that workers are told of is that of all subscribers together.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down what a subscriber hears, with the path of spans before it.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    values: HashMap<u64, String>,
    /// Time that the subscriber takes for each event.
    pause: Duration,
}

impl Notes {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, part: &str) -> bool {
        self.seen().lines.iter().any(|line| line.contains(part))
    }

    fn count(&self, start: &str) -> usize {
        self.seen().lines.iter().filter(|line| line.starts_with(start)).count()
    }
}

/// Collects values.
struct Values<'a>(&'a mut String);

impl Visit for Values<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        // These differ from run to run.
        let shown = match field.name() {
            "pid" | "place" | "backtrace" => "..",
            _ => &text,
        };
        let _ = write!(self.0, " {}={shown}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut text = String::new();
        attributes.record(&mut Values(&mut text));
        let path = path(context.span(id));
        self.seen().lines.push(format!("open {path}{text}"));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut seen = self.seen();
        values.record(&mut Values(seen.values.entry(id.into_u64()).or_default()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut Values(&mut text));
        let path = path(context.event_span(event));
        let mut seen = self.seen();
        seen.lines.push(format!("{} {path}{text}", event.metadata().level()));
        let pause = seen.pause;
        drop(seen);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let path = path(context.span(&id));
        let mut seen = self.seen();
        let values = seen.values.remove(&id.into_u64()).unwrap_or_default();
        seen.lines.push(format!("close {path}{values}"));
    }
}

/// The names of a span and those that it is within, the outermost first.
fn path<'a, S: LookupSpan<'a>>(span: Option<SpanRef<'a, S>>) -> String {
    let names: Option<Vec<_>> =
        span.map(|span| span.scope().from_root().map(|span| span.name()).collect());
    names.unwrap_or_default().join("/")
}

/// What a subscriber for `level` hears while `body` uses a pool on a cluster of one node; the pool
/// has ended when this returns.
fn hear(level: Level, hands: usize, body: impl FnOnce(&Pool, &Notes)) -> Vec<String> {
    let _alone = alone();
    let notes = Notes::default();
    let filter = LevelFilter::from_level(level);
    let subscriber = tracing_subscriber::registry().with(filter).with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let cluster = cluster(1, hands);
        let pool = Pool::builder().processes(hands).on(&cluster).build().expect("pool");
        body(&pool, &notes);
        pool.close();
        pool.join().expect("joined");
    });
    // What this program itself tells of NATS is not asked for here.
    let lines = std::mem::take(&mut notes.seen().lines);
    lines.into_iter().filter(|line| !line.contains("nats")).collect()
}

fn counts(most: u64) -> u64 {
    let span = tracing::info_span!("counting", most);
    let _within = span.enter();
    for i in 0..most {
        tracing::info!(i, "one more");
    }
    tracing::debug!("not wanted");
    most
}

fn panics() {
    let _within = tracing::info_span!("risky").entered();
    panic!("no luck");
}

fn dies() {
    let _within = tracing::info_span!("last").entered();
    for i in 0..200_u64 {
        tracing::info!(i, "still here");
    }
    std::process::abort();
}

#[test]
fn events_come_out_within_their_task_and_that_within_the_span_that_submitted_it() {
    let lines = hear(Level::INFO, 1, |pool, _| {
        let _within = tracing::info_span!("outer").entered();
        assert_eq!(pool.tasks().name("count").apply(counts, (2,)).expect("counted"), 2);
    });
    let expected = [
        "open outer",
        "open outer/task name=\"count\" number=0 process=\"local-1/1\" pid=..",
        "open outer/task/counting most=2",
        "INFO outer/task/counting message=one more i=0",
        "INFO outer/task/counting message=one more i=1",
        "close outer/task/counting",
        "close outer/task outcome=\"returned\"",
    ];
    let lines: Vec<_> = lines.iter().filter(|line| *line != "close outer").collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_panic_and_a_death_are_one_event_each_and_close_all_spans() {
    let lines = hear(Level::INFO, 1, |pool, _| {
        assert!(pool.tasks().name("bad").apply(panics, ()).is_err());
        assert!(pool.tasks().name("worse").apply(dies, ()).is_err());
        assert_eq!(pool.apply(counts, (1,)).expect("another worker"), 1);
    });
    let expected = [
        "open task name=\"bad\" number=0 process=\"local-1/1\" pid=..",
        "open task/risky",
        "close task/risky",
        "ERROR task message=no luck task=\"bad\" place=.. backtrace=.. process=\"local-1/1\" pid=..",
        "close task outcome=\"panicked\"",
        "open task name=\"worse\" number=0 process=\"local-1/1\" pid=..",
        "open task/last",
    ];
    assert_eq!(lines[..7], expected, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("INFO task/last")).count(), 200);
    assert_eq!(lines.iter().filter(|line| line.starts_with("ERROR task ")).count(), 2, "{lines:?}");
    let ends: Vec<_> = lines.iter().filter(|line| line.starts_with("close task out")).collect();
    assert!(ends.len() == 3 && ends[1].contains("killed by SIGABRT"), "{ends:?}");
    let open = lines.iter().filter(|line| line.starts_with("open ")).count();
    assert_eq!(lines.iter().filter(|line| line.starts_with("close ")).count(), open, "{lines:?}");
}

#[test]
fn a_map_on_two_hands_has_all_its_spans_when_its_pool_has_ended() {
    let lines = hear(Level::INFO, 2, |pool, _| {
        let _within = tracing::info_span!("outer").entered();
        let counted = pool.map(counts, std::iter::repeat_n(3, 2000)).expect("counted");
        assert_eq!(counted.iter().sum::<u64>(), 6000);
    });
    let of = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(of("INFO outer/task/counting message=one more"), 6000);
    assert_eq!(of("open outer/task name="), 2000);
    assert_eq!(of("close outer/task outcome=\"returned\""), 2000);
}

fn levels() -> (bool, bool) {
    tracing::debug!("asked");
    let level = LevelFilter::current();
    (level >= Level::INFO, level >= Level::DEBUG)
}

#[test]
fn workers_on_nodes_follow_a_filter_that_changes() {
    let _alone = alone();
    let notes = Notes::default();
    let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry().with(filter).with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let cluster = cluster(1, 1);
        let pool = Pool::builder().processes(1).on(&cluster).build().expect("pool");
        let ask = || pool.apply(levels, ()).expect("asked");
        let set = |level| handle.reload(LevelFilter::from_level(level)).expect("set");
        assert_eq!(ask(), (true, false));
        set(Level::DEBUG);
        assert_eq!(ask(), (true, true));
        wait_for("it has come out", || notes.has("DEBUG task message=asked"));
        set(Level::WARN);
        assert_eq!(ask(), (false, false));
        set(Level::INFO);
        assert_eq!(ask(), (true, false));
    });
    assert_eq!(notes.count("DEBUG task message=asked"), 1);
}

fn tells_at_the_start() {
    tracing::info!("ready");
}

#[test]
fn what_an_initializer_tells_is_of_its_hand() {
    let _alone = alone();
    let notes = Notes::default();
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let cluster = cluster(1, 1);
        let pool = Pool::builder().processes(1).initializer(tells_at_the_start, ());
        let pool = pool.on(&cluster).build().expect("pool");
        assert_eq!(pool.apply(counts, (0,)).expect("counted"), 0);
    });
    assert_eq!(notes.count("INFO worker message=ready"), 1);
}

fn sleeps() {
    let _within = tracing::info_span!("sleeping").entered();
    tracing::info!("good night");
    std::thread::sleep(MINUTE);
}

#[test]
fn a_cancelled_task_closes_its_spans_and_the_next_has_none_of_it() {
    let lines = hear(Level::INFO, 1, |pool, notes| {
        let task = pool.tasks().name("long").submit(sleeps, ());
        wait_for("it sleeps", || notes.has("good night"));
        assert!(task.cancel());
        assert_eq!(pool.tasks().name("next").apply(counts, (1,)).expect("counted"), 1);
    });
    let at = |part: &str| lines.iter().position(|line| line.contains(part));
    let (end, next) = (at("close task outcome="), at("open task name=\"next\""));
    assert!(end.is_some() && end < next, "{lines:?}");
    assert!(lines[end.unwrap_or(0)].contains("killed"), "{lines:?}");
    let rest = &lines[next.unwrap_or(0)..];
    assert_eq!(rest.len(), 5, "{lines:?}");
}

#[test]
fn a_lost_node_closes_the_spans_of_its_tasks_and_another_attempt_has_its_own() {
    fn first_try(mark: String) {
        let _within = tracing::info_span!("trying").entered();
        tracing::info!("begun");
        if std::fs::OpenOptions::new().create_new(true).write(true).open(mark).is_ok() {
            std::thread::sleep(MINUTE);
        }
    }
    let _alone = alone();
    let notes = Notes::default();
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(notes.clone());
    let mark = std::env::temp_dir().join(format!("spans-mark-{}", std::process::id()));
    let _ = std::fs::remove_file(&mark);
    tracing::subscriber::with_default(subscriber, || {
        let cluster = cluster(1, 1);
        let pool = Pool::builder().processes(1).on(&cluster).build().expect("pool");
        let task = pool.submit(first_try, (mark.display().to_string(),));
        wait_for("it has begun", || mark.exists() && notes.has("begun"));
        cluster.tell_minder("kill node 1").expect("told");
        cluster.tell_minder("start node").expect("told");
        task.join().expect("done by another node");
        pool.close();
        pool.join().expect("joined");
    });
    let _ = std::fs::remove_file(&mark);
    let lines = std::mem::take(&mut notes.seen().lines);
    let ends: Vec<_> = lines.iter().filter(|line| line.starts_with("close task out")).collect();
    assert_eq!(ends.len(), 2, "{lines:?}");
    assert!(ends[0].contains("lost with its node"), "{lines:?}");
    assert!(ends[1].contains("returned"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("close task/trying")).count(), 2);
    assert_eq!(lines.iter().filter(|line| line.starts_with("ERROR task ")).count(), 1, "{lines:?}");
}

fn floods(count: u64) {
    for i in 0..count {
        tracing::info!(i, text = "x".repeat(1000), "flood");
    }
}

#[test]
fn a_slow_subscriber_slows_a_flood_and_loses_nothing() {
    let lines = hear(Level::INFO, 1, |pool, notes| {
        // Four seconds and three times the window in all, half a second of it waiting here.
        notes.seen().pause = Duration::from_micros(500);
        pool.apply(floods, (6000,)).expect("flooded");
        notes.seen().pause = Duration::ZERO;
        wait_for("it ends", || notes.has("close task"));
    });
    let events: Vec<_> = lines.iter().filter(|line| line.starts_with("INFO task ")).collect();
    assert_eq!(events.len(), 6000);
    assert!(events.iter().zip(0..).all(|(line, i)| line.contains(&format!(" i={i} "))));
}

#[test]
fn a_subscriber_that_hangs_keeps_no_outcome_back() {
    let lines = hear(Level::INFO, 1, |pool, notes| {
        let hangs = notes.seen();
        // More than both sides keep: the worker waits for a second, then leaves the rest out.
        pool.apply(floods, (8000,)).expect("flooded");
        assert_eq!(pool.map(counts, [0; 100]).expect("counted").len(), 100);
        drop(hangs);
    });
    let opened = lines.iter().filter(|line| line.starts_with("open ")).count();
    assert_eq!(lines.iter().filter(|line| line.starts_with("close ")).count(), opened);
    let events = lines.iter().filter(|line| line.contains("flood")).count();
    assert!((500..8000).contains(&events), "{events}");
}

#[test]
fn without_a_subscriber_workers_tell_nothing() {
    fn listens() -> bool {
        tracing::enabled!(Level::ERROR)
    }
    // In a process of its own: once there was a subscriber, its level stays the greatest.
    const OWN: &str = "MULTIPROC_TEST_OWN_PROCESS";
    if std::env::var_os(OWN).is_none() {
        let mut own = std::process::Command::new(std::env::current_exe().expect("a path"));
        own.args(["--exact", "without_a_subscriber_workers_tell_nothing"]).env(OWN, "");
        assert!(own.status().expect("run").success());
        return;
    }
    let cluster = cluster(1, 1);
    let pool = Pool::builder().processes(1).on(&cluster).build().expect("pool");
    assert!(!pool.apply(listens, ()).expect("asked"));
}
