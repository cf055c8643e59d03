//! The spans and events of workers come out in the program's subscriber: in order, within the span
//! of their task, whatever becomes of the worker (feature `tracing`).

mod support;

#[path = "traced/reports.rs"]
mod reports;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multiproc::{Pool, Process, StartMethod, Stdio};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use support::{Test, for_each_method, until};

fn main() {
    support::run(&[TESTS, reports::TESTS].concat());
}

const TESTS: &[Test] = tests![
    events_come_out_within_their_task,
    tasks_are_within_the_span_that_submitted_them,
    fields_keep_their_types,
    the_worker_filters_by_level,
    workers_follow_a_filter_that_changes,
    a_panic_is_one_event,
    a_killed_worker_closes_its_spans,
    a_flood_is_bounded,
    ever_new_callsites_are_bounded,
    threads_and_no_task,
    children_are_spans,
    what_children_tell_is_within_their_spans,
    lines_are_within_the_span_of_their_child,
];

/// Writes down what a subscriber hears, with the path of spans before it.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    values: HashMap<u64, String>,
}

/// Collects values with their types.
struct Typed<'a>(&'a mut String);

impl Typed<'_> {
    fn put(&mut self, field: &Field, kind: &str, value: &dyn fmt::Debug) {
        // These differ from run to run.
        if !["pid", "backtrace", "place"].contains(&field.name()) {
            let _ = write!(self.0, " {}:{kind}={value:?}", field.name());
        }
    }
}

impl Visit for Typed<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, "f64", &value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, "i64", &value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, "u64", &value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, "bool", &value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, "str", &value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, "text", &format_args!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut text = String::new();
        attributes.record(&mut Typed(&mut text));
        let path = path(context.span(id));
        let mut seen = self.0.lock().unwrap();
        seen.lines.push(format!("open {path}{text}"));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut seen = self.0.lock().unwrap();
        values.record(&mut Typed(seen.values.entry(id.into_u64()).or_default()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut Typed(&mut text));
        let path = path(context.event_span(event));
        let level = event.metadata().level();
        self.0.lock().unwrap().lines.push(format!("{level} {path}{text}"));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let path = path(context.span(&id));
        let mut seen = self.0.lock().unwrap();
        let values = seen.values.remove(&id.into_u64()).unwrap_or_default();
        seen.lines.push(format!("close {path}{values}"));
    }
}

/// The names of a span and those that it is within, the outermost first.
fn path<'a, S: LookupSpan<'a>>(
    span: Option<tracing_subscriber::registry::SpanRef<'a, S>>,
) -> String {
    let names: Option<Vec<_>> =
        span.map(|span| span.scope().from_root().map(|span| span.name()).collect());
    names.unwrap_or_default().join("/")
}

/// What a subscriber for `level` hears while `body` uses a pool of one worker, which has ended when
/// this returns.
fn hear(level: tracing::Level, body: impl FnOnce(&Pool)) -> Vec<String> {
    let notes = Notes::default();
    let filter = tracing_subscriber::filter::LevelFilter::from_level(level);
    let subscriber = tracing_subscriber::registry().with(filter).with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let pool = Pool::new(1).expect("pool");
        body(&pool);
        pool.close();
        pool.join().expect("joined");
    });
    let mut seen = notes.0.lock().unwrap();
    std::mem::take(&mut seen.lines)
}

fn counts(most: u64) -> u64 {
    let span = tracing::info_span!("counting", most);
    let _within = span.enter();
    for i in 0..most {
        tracing::info!(i, "one more");
    }
    most
}

fn events_come_out_within_their_task() {
    for_each_method(|_: StartMethod| {
        let lines = hear(tracing::Level::INFO, |pool| {
            assert_eq!(pool.tasks().name("count").apply(counts, (2,)).expect("counted"), 2);
        });
        let process = lines[0].split("process:str=").nth(1).expect("a process").to_owned();
        let expected = [
            format!("open task name:str=\"count\" number:u64=0 process:str={process}"),
            "open task/counting most:u64=2".to_owned(),
            "INFO task/counting message:text=one more i:u64=0".to_owned(),
            "INFO task/counting message:text=one more i:u64=1".to_owned(),
            "close task/counting".to_owned(),
            "close task outcome:str=\"returned\"".to_owned(),
        ];
        assert_eq!(lines, expected);
    });
}

fn tasks_are_within_the_span_that_submitted_them() {
    let lines = hear(tracing::Level::INFO, |pool| {
        let first = tracing::info_span!("first").in_scope(|| pool.tasks().submit(counts, (0,)));
        let second = tracing::info_span!("second").in_scope(|| pool.tasks().map(counts, [0, 0]));
        assert_eq!(first.join().expect("counted"), 0);
        assert_eq!(second.expect("counted"), [0, 0]);
    });
    let of = |path: &str| lines.iter().filter(|line| line.starts_with(path)).count();
    assert_eq!(of("open first/task "), 1, "{lines:?}");
    assert_eq!(of("open second/task "), 2, "{lines:?}");
    assert_eq!(of("close second/task outcome:str=\"returned\""), 2, "{lines:?}");
    assert_eq!((of("close first"), of("close second")), (2 + 1, 4 + 1), "{lines:?}");
}

fn says_all_types() {
    let text = "s";
    tracing::info!(a = -1_i64, b = 2_u64, c = 0.5_f64, d = true, e = text, f = ?[1], "hello");
}

fn fields_keep_their_types() {
    let lines = hear(tracing::Level::INFO, |pool| pool.apply(says_all_types, ()).expect("said"));
    let values = "message:text=hello a:i64=-1 b:u64=2 c:f64=0.5 d:bool=true e:str=\"s\" f:text=[1]";
    assert!(lines.contains(&format!("INFO task {values}")), "{lines:?}");
}

fn asks_what_is_enabled() -> (bool, bool) {
    tracing::debug!("not sent");
    let level = tracing::level_filters::LevelFilter::current();
    (level >= tracing::Level::INFO, level >= tracing::Level::DEBUG)
}

fn the_worker_filters_by_level() {
    let lines = hear(tracing::Level::INFO, |pool| {
        assert_eq!(pool.apply(asks_what_is_enabled, ()).expect("asked"), (true, false));
    });
    assert!(lines.iter().all(|line| !line.contains("not sent")), "{lines:?}");
    let lines = hear(tracing::Level::DEBUG, |pool| {
        assert_eq!(pool.apply(asks_what_is_enabled, ()).expect("asked"), (true, true));
    });
    assert!(lines.contains(&"DEBUG task message:text=not sent".to_owned()), "{lines:?}");
}

fn workers_follow_a_filter_that_changes() {
    let notes = Notes::default();
    let (filter, handle) =
        tracing_subscriber::reload::Layer::new(tracing_subscriber::filter::LevelFilter::INFO);
    let subscriber = tracing_subscriber::registry().with(filter).with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let pool = Pool::new(1).expect("pool");
        let ask = || pool.apply(asks_what_is_enabled, ()).expect("asked");
        let set = |level| {
            handle.reload(tracing_subscriber::filter::LevelFilter::from_level(level)).expect("set");
        };
        assert_eq!(ask(), (true, false));
        set(tracing::Level::DEBUG);
        assert_eq!(ask(), (true, true));
        // What a task says comes out after its value, through the filter of that time.
        let is_said = |line: &String| line.contains("not sent");
        until("it has come out", || notes.0.lock().expect("notes").lines.iter().any(is_said));
        set(tracing::Level::WARN);
        assert_eq!(ask(), (false, false));
        set(tracing::Level::INFO);
        assert_eq!(ask(), (true, false));
        pool.close();
        pool.join().expect("joined");
    });
    let lines = std::mem::take(&mut notes.0.lock().unwrap().lines);
    assert_eq!(lines.iter().filter(|line| line.contains("not sent")).count(), 1, "{lines:?}");
}

fn panics() {
    let _within = tracing::info_span!("risky").entered();
    panic!("no luck");
}

fn a_panic_is_one_event() {
    let lines = hear(tracing::Level::INFO, |pool| {
        assert!(pool.tasks().name("bad").apply(panics, ()).is_err());
        assert_eq!(pool.apply(counts, (0,)).expect("the worker goes on"), 0);
    });
    let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{lines:?}");
    assert!(errors[0].starts_with("ERROR task message:text=no luck task:str=\"bad\""), "{lines:?}");
    let at = |line: &str| lines.iter().position(|seen| seen == line);
    let (inner, outer) = (at("close task/risky"), at("close task outcome:str=\"panicked\""));
    assert!(inner.is_some() && inner < outer, "{lines:?}");
}

fn dies_in_a_span() {
    let _within = tracing::info_span!("last").entered();
    for i in 0..200_u64 {
        tracing::info!(i, "still here");
    }
    std::process::abort();
}

fn a_killed_worker_closes_its_spans() {
    let lines = hear(tracing::Level::INFO, |pool| {
        assert!(pool.apply(dies_in_a_span, ()).is_err());
        assert_eq!(pool.apply(counts, (0,)).expect("another worker"), 0);
    });
    let said = lines.iter().filter(|line| line.starts_with("INFO task/last")).count();
    assert_eq!(said, 200, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("ERROR task ")).count(), 1, "{lines:?}");
    let opened = lines.iter().filter(|line| line.starts_with("open ")).count();
    let closed = lines.iter().filter(|line| line.starts_with("close ")).count();
    assert_eq!(opened, closed, "{lines:?}");
    let end = lines.iter().find(|line| line.starts_with("close task outcome")).expect("an end");
    assert!(end.contains("killed"), "{end}");
}

fn floods() {
    let open: Vec<_> = (0..3000_u64).map(|i| tracing::info_span!("many", i)).collect();
    for i in 0..20_000_u64 {
        tracing::info!(i, "flood");
    }
    tracing::info!(text = "x".repeat(1 << 20), "long");
    drop(open);
}

fn a_flood_is_bounded() {
    let lines = hear(tracing::Level::INFO, |pool| {
        pool.tasks().deadline(Duration::from_secs(60)).apply(floods, ()).expect("flooded");
    });
    assert_eq!(lines.iter().filter(|line| line.starts_with("INFO task ")).count(), 20_001);
    assert_eq!(lines.iter().filter(|line| line.starts_with("open task/many")).count(), 1024);
    assert!(lines.iter().all(|line| line.len() < 40_000));
}

/// A worker that names ever new callsites, as a hostile one may.
fn names_many() {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    struct Site(&'static std::sync::OnceLock<tracing::Metadata<'static>>);
    impl tracing::callsite::Callsite for Site {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &tracing::Metadata<'_> {
            self.0.get().expect("set")
        }
    }
    for i in 0..3000 {
        let name: &'static str = Box::leak(format!("event {i}").into_boxed_str());
        NAMES.lock().expect("names").push(name);
        let cell = Box::leak(Box::default());
        let site: &'static Site = Box::leak(Box::new(Site(cell)));
        let id = tracing::callsite::Identifier(site);
        let fields = tracing::field::FieldSet::new(&["message"], id);
        let kind = tracing::metadata::Kind::EVENT;
        let level = tracing::Level::INFO;
        let made = tracing::Metadata::new(name, "hostile", level, None, None, None, fields, kind);
        let metadata = cell.get_or_init(|| made);
        let field = metadata.fields().field("message").expect("a field");
        let values = [(&field, Some(&"hello" as &dyn tracing::Value))];
        Event::dispatch(metadata, &metadata.fields().value_set(&values));
    }
}

fn ever_new_callsites_are_bounded() {
    let lines = hear(tracing::Level::INFO, |pool| pool.apply(names_many, ()).expect("named"));
    let kept = lines.iter().filter(|line| *line == "INFO task message:str=\"hello\"").count();
    let generic = lines.iter().filter(|line| line.contains("text=hostile: event ")).count();
    assert!(kept <= 1024 && kept > 900, "{kept}");
    assert_eq!(kept + generic, 3000);
}

fn starts_a_thread() {
    let span = tracing::info_span!("shared");
    let other = span.clone();
    std::thread::spawn(move || {
        let _within = other.entered();
        tracing::warn!("from a thread");
    })
    .join()
    .expect("no panic");
    span.in_scope(|| tracing::info!("from the task"));
}

fn tells_at_the_start() {
    tracing::info!("ready");
}

fn threads_and_no_task() {
    let notes = Notes::default();
    let subscriber = tracing_subscriber::registry().with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let pool = Pool::builder().processes(1).initializer(tells_at_the_start, ()).build();
        let pool = pool.expect("pool");
        pool.apply(starts_a_thread, ()).expect("done");
        pool.close();
        pool.join().expect("joined");
    });
    let lines = std::mem::take(&mut notes.0.lock().unwrap().lines);
    for line in [
        "INFO worker message:text=ready",
        "WARN task/shared message:text=from a thread",
        "INFO task/shared message:text=from the task",
    ] {
        assert_eq!(lines.iter().filter(|seen| *seen == line).count(), 1, "{line}: {lines:?}");
    }
}

fn children_are_spans() {
    for_each_method(|method: StartMethod| {
        let notes = Notes::default();
        let subscriber = tracing_subscriber::registry().with(notes.clone());
        tracing::subscriber::with_default(subscriber, || {
            let start = |name: &str, target: fn(bool)| {
                let process = Process::from_pointer(target, (true,)).name(name);
                process.start_method(method).start().expect("started")
            };
            let _within = tracing::info_span!("outer").entered();
            start("good", |_| ()).join().expect("it returns");
            start("bad", |bad| assert!(!bad, "no luck")).join().expect_err("it panics");
        });
        let lines = std::mem::take(&mut notes.0.lock().unwrap().lines);
        let seen: Vec<_> =
            lines.iter().map(|line| line.split(" function").next().unwrap_or_default()).collect();
        let expected = [
            "open outer",
            "open outer/process process:str=\"good\"",
            "close outer/process outcome:str=\"returned\"",
            "open outer/process process:str=\"bad\"",
            "ERROR outer/process message:text=no luck process:str=\"bad\"",
            "close outer/process outcome:str=\"panicked\"",
            "close outer",
        ];
        assert_eq!(seen, expected);
    });
}

fn tells(is_killed: bool) {
    let outer = tracing::info_span!("first", is_killed);
    let _within = outer.entered();
    tracing::debug!("not wanted");
    tracing::info_span!("second").in_scope(|| tracing::warn!(number = 7_u64, "within"));
    if is_killed {
        std::process::abort();
    }
    tracing::info!("done");
}

fn what_children_tell_is_within_their_spans() {
    for method in support::METHODS {
        let notes = Notes::default();
        let filter = tracing_subscriber::filter::LevelFilter::INFO;
        let subscriber = tracing_subscriber::registry().with(filter).with(notes.clone());
        tracing::subscriber::with_default(subscriber, || {
            for (is_killed, is_asked) in [(false, true), (true, true), (false, false)] {
                let process = Process::new(tells, (is_killed,)).name("it").start_method(method);
                let child = process.forward_logs(is_asked).stack_size(1 << 20).start();
                assert_eq!(child.expect("started").join().is_err(), is_killed);
            }
        });
        let lines = std::mem::take(&mut notes.0.lock().unwrap().lines);
        let seen: Vec<_> =
            lines.iter().map(|line| line.split(" function").next().unwrap_or_default()).collect();
        let told = |is_killed: bool| {
            vec![
                "open process process:str=\"it\"".to_owned(),
                format!("open process/first is_killed:bool={is_killed}"),
                "open process/first/second".to_owned(),
                "WARN process/first/second message:text=within number:u64=7".to_owned(),
                "close process/first/second".to_owned(),
            ]
        };
        let mut expected = told(false);
        expected.extend([
            "INFO process/first message:text=done".to_owned(),
            "close process/first".to_owned(),
            "close process outcome:str=\"returned\"".to_owned(),
        ]);
        expected.extend(told(true));
        expected.push("close process/first".to_owned());
        assert_eq!(seen[..expected.len()], expected, "{method}");
        assert_eq!(seen.len(), expected.len() + 4, "{seen:?}");
        assert!(seen[expected.len()].starts_with("ERROR process message:text="), "{seen:?}");
    }
}

fn lines_are_within_the_span_of_their_child() {
    let notes = Notes::default();
    let subscriber = tracing_subscriber::registry().with(notes.clone());
    tracing::subscriber::with_default(subscriber, || {
        let to = || Stdio::lines_to(|line| tracing::info!("{line}"));
        for _ in 0..20 {
            let process = Process::new(|| println!("said"), ()).name("it");
            process.stdout(to()).stderr(to()).start().expect("started").join().expect("returned");
        }
    });
    let lines = std::mem::take(&mut notes.0.lock().unwrap().lines);
    let expected =
        ["open process process:", "INFO process message:text=it: said", "close process outcome:"];
    assert_eq!(lines.len(), 60, "{lines:?}");
    for (line, start) in lines.iter().zip(expected.iter().cycle()) {
        assert!(line.starts_with(start), "{lines:?}");
    }
}
