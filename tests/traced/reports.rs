//! What people met with other subscribers and loggers: see `docs/outside-reports.md`.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use multiproc::{Level, Pool, Process, get_logger, log_to_stderr};
use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing::{Dispatch, Event, Id, Subscriber, dispatcher};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::support::{Test, for_each_method};
use crate::tests;

pub(crate) const TESTS: &[Test] = tests![
    what_fails_to_print_itself_is_told_as_far_as_it_goes,
    what_tells_while_it_is_printed_is_heard_too,
    a_subscriber_that_panics_leaves_the_pool_alone,
    a_logger_that_panics_leaves_the_pool_alone,
    a_handler_that_panics_leaves_who_logs_alone,
    a_waker_that_panics_leaves_the_pool_alone,
    a_span_is_closed_with_the_last_task_submitted_in_it,
    a_span_is_closed_when_its_tasks_are_taken_back,
    each_subscriber_hears_of_what_was_submitted_under_it,
    a_subscriber_that_comes_after_the_pool_hears_of_new_workers,
    a_subscriber_may_use_the_pool,
    spans_that_are_left_in_any_order_are_closed,
    who_listens_and_sleeps_holds_up_no_task,
];

/// Writes down what it hears, a line each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn add(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }

    fn count(&self, line: &str) -> usize {
        self.0.lock().expect("no panic").iter().filter(|other| *other == line).count()
    }

    /// Waits until a line is there.
    fn wait_for(&self, line: &str) {
        let late = Instant::now() + Duration::from_secs(30);
        while self.count(line) == 0 {
            assert!(Instant::now() < late, "no {line:?} in {:?}", self.0.lock());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn subscriber(&self) -> Dispatch {
        tracing_subscriber::registry().with(self.clone()).into()
    }
}

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" || field.name() == "value" {
            let mut line = String::new();
            let _ = write!(line, "{} {value:?}", field.name());
            self.add(line);
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).expect("new");
        let path: Vec<_> = span.scope().from_root().map(|span| span.name()).collect();
        self.add(format!("open {}", path.join("/")));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.add(format!("close {}", context.span(&id).expect("closing").name()));
    }
}

/// What `Debug` and `Display` fail with.
struct Mute;

impl fmt::Debug for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn what_fails_to_print_itself_is_told_as_far_as_it_goes() {
    fn tells() -> u32 {
        tracing::info!(value = ?Mute, "fields");
        tracing::info!("a message {} and more", Mute);
        log::info!("a record {} and more", Mute);
        get_logger().info(Mute);
        7
    }
    let lines = Lines::default();
    get_logger().add_handler({
        let lines = lines.clone();
        move |record| lines.add(format!("handled {}", record.message.as_str().is_none()))
    });
    log_to_stderr(Level::Info);
    assert_eq!(tells(), 7);
    dispatcher::with_default(&lines.subscriber(), || {
        let pool = Pool::builder().processes(1).forward_logs(true).build().expect("pool");
        assert_eq!(pool.submit(tells, ()).join().expect("it returns"), 7);
        lines.wait_for("value half");
        lines.wait_for("message a message half");
        lines.wait_for("close task");
    });
    assert_eq!(Process::new(tells, ()).start().expect("start").join().expect("join"), 7);
}

/// Tells of itself while it is printed.
struct Talkative;

impl fmt::Debug for Talkative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _within = tracing::info_span!("printing").entered();
        tracing::info!("inner");
        f.write_str("printed")
    }
}

fn what_tells_while_it_is_printed_is_heard_too() {
    let lines = Lines::default();
    dispatcher::with_default(&lines.subscriber(), || {
        let pool = Pool::new(1).expect("pool");
        let task = || {
            let _within = tracing::info_span!("outer", value = ?Talkative).entered();
            tracing::info!(value = ?Talkative, "outer");
        };
        pool.submit(task, ()).join().expect("it returns");
    });
    lines.wait_for("close task");
    assert_eq!((lines.count("message inner"), lines.count("value printed")), (2, 1));
    assert_eq!((lines.count("close printing"), lines.count("close outer")), (2, 1));
}

/// Panics at all that it hears.
struct Panicking;

impl<S: Subscriber> Layer<S> for Panicking {
    fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        panic!("no spans, please");
    }

    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        panic!("no events, please");
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        panic!("no ends, please");
    }
}

impl log::Log for Panicking {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        assert!(record.target() == "quiet", "no records, please");
    }

    fn flush(&self) {}
}

/// Uses a pool whose workers tell much and die.
fn use_pool(pool: &Pool) {
    fn tells(number: u32) -> u32 {
        log::info!("record {number}");
        let _outer = tracing::info_span!("outer").entered();
        let _inner = tracing::info_span!("inner").entered();
        tracing::info!("event");
        if number % 5 == 4 {
            std::process::abort();
        }
        number
    }
    for number in 0..30 {
        let outcome = pool.submit(tells, (number,)).join_timeout(Duration::from_secs(30));
        match outcome {
            Ok(value) => assert_eq!(value, Some(number)),
            Err(error) => {
                assert!(number % 5 == 4 && error.to_string().contains("SIGABRT"), "{error}");
            }
        }
    }
}

fn a_subscriber_that_panics_leaves_the_pool_alone() {
    let subscriber = tracing_subscriber::registry().with(Panicking);
    dispatcher::with_default(&subscriber.into(), || {
        let pool = Pool::new(2).expect("pool");
        use_pool(&pool);
        pool.close();
        assert!(pool.join_timeout(Duration::from_secs(30)).expect("join"));
        for_each_method(|method| {
            let child = Process::new(|| 7, ()).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), 7);
            let aborts = || -> () { std::process::abort() };
            let child = Process::new(aborts, ()).start_method(method).start().expect("start");
            assert!(child.join().expect_err("it aborts").to_string().contains("SIGABRT"));
            drop(Process::new(|| (), ()).kill_on_drop(true).start().expect("start"));
        });
    });
}

fn a_logger_that_panics_leaves_the_pool_alone() {
    log::set_boxed_logger(Box::new(Panicking)).expect("the first");
    log::set_max_level(log::LevelFilter::Info);
    let pool = Pool::builder().processes(2).forward_logs(true).build().expect("pool");
    use_pool(&pool);
    pool.close();
    assert!(pool.join_timeout(Duration::from_secs(30)).expect("join"));
    log::set_max_level(log::LevelFilter::Off);
}

fn a_handler_that_panics_leaves_who_logs_alone() {
    log::set_boxed_logger(Box::new(Panicking)).expect("the first");
    log::set_max_level(log::LevelFilter::Info);
    let lines = Lines::default();
    get_logger().set_level(Level::Info);
    get_logger().add_handler(|_| panic!("no records, please"));
    get_logger().add_handler({
        let lines = lines.clone();
        move |record| lines.add(record.message.to_string())
    });
    get_logger().info("here");
    assert_eq!(lines.count("here"), 1);
    for_each_method(|method| {
        // A forked child has the handlers, which hear of its steps.
        let child = Process::new(|| 7, ()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), 7);
    });
}

fn a_waker_that_panics_leaves_the_pool_alone() {
    struct Waker;
    impl std::task::Wake for Waker {
        fn wake(self: Arc<Self>) {
            panic!("not now, please");
        }
    }
    let pool = Pool::new(1).expect("pool");
    let waker = Arc::new(Waker).into();
    let mut task = pool.submit(|| std::thread::sleep(Duration::from_millis(100)), ());
    let polled =
        Future::poll(std::pin::Pin::new(&mut task), &mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    let later = pool.submit(|| 7, ()).join_timeout(Duration::from_secs(30));
    assert_eq!(later.expect("it returns"), Some(7));
    assert_eq!(task.join_timeout(Duration::from_secs(30)).expect("it returns"), Some(()));
}

fn a_span_is_closed_with_the_last_task_submitted_in_it() {
    let lines = Lines::default();
    dispatcher::with_default(&lines.subscriber(), || {
        let pool = Pool::new(1).expect("pool");
        tracing::info_span!("one").in_scope(|| pool.submit(|| (), ()).join()).expect("task");
        lines.wait_for("open one/task");
        // Nothing else is submitted until then.
        lines.wait_for("close one");
        let many = tracing::info_span!("many");
        many.in_scope(|| pool.map(|number: u32| number, 0..100)).expect("tasks");
        drop(many);
        lines.wait_for("close many");
        assert_eq!(lines.count("open many/task"), 100);
    });
}

fn a_span_is_closed_when_its_tasks_are_taken_back() {
    fn nap(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    let lines = Lines::default();
    dispatcher::with_default(&lines.subscriber(), || {
        let pool = Pool::new(1).expect("pool");
        pool.submit(nap, (0,)).join().expect("the worker is there");
        // Behind a task that runs, and cancelled.
        let long = pool.submit(nap, (600_000,));
        let mine = tracing::info_span!("mine");
        let tasks: Vec<_> =
            mine.in_scope(|| (0..5).map(|_| pool.submit(nap, (0,)).cancel_on_drop()).collect());
        let map = mine.in_scope(|| pool.tasks().map_async(nap, [0; 500]).cancel_on_drop());
        drop((mine, tasks, map));
        lines.wait_for("close mine");
        assert!(!long.is_ready());
        drop(long.cancel_on_drop());
        // The rest of a map without an end, given ahead.
        let endless = tracing::info_span!("endless");
        endless.in_scope(|| {
            let outcomes = pool.tasks().chunk_size(2).imap(nap, std::iter::repeat(1));
            assert!(outcomes.take(10).all(|outcome| outcome.is_ok()));
        });
        drop(endless);
        lines.wait_for("close endless");
        pool.submit(nap, (0,)).join().expect("the pool goes on");
    });
}

fn each_subscriber_hears_of_what_was_submitted_under_it() {
    let [mine, other] = [Lines::default(), Lines::default()];
    let [my_subscriber, others_subscriber] = [mine.subscriber(), other.subscriber()];
    let pool = dispatcher::with_default(&others_subscriber, || Pool::new(1).expect("pool"));
    dispatcher::with_default(&my_subscriber, || {
        // So that the numbers of spans differ.
        let _padding = [tracing::info_span!("padding"), tracing::info_span!("padding")];
        let task = || {
            let _within = tracing::info_span!("within").entered();
            tracing::info!("of the task");
        };
        tracing::info_span!("mine").in_scope(|| pool.submit(task, ()).join()).expect("task");
        mine.wait_for("close mine");
        let child = tracing::info_span!("again")
            .in_scope(|| Process::new(|| panic!("no luck"), ()).start().expect("start"));
        // Its end is seen by a thread with the other subscriber.
        let outcome: Result<(), _> = dispatcher::with_default(&others_subscriber, || child.join());
        outcome.expect_err("it panics");
    });
    drop(pool);
    for line in ["open mine/task/within", "message of the task", "open again/process"] {
        assert_eq!((mine.count(line), other.count(line)), (1, 0), "{line}");
    }
    assert_eq!((mine.count("message no luck"), other.count("message no luck")), (1, 0));
    assert_eq!((mine.count("close process"), mine.count("close again")), (1, 1));
}

fn a_subscriber_that_comes_after_the_pool_hears_of_new_workers() {
    let pool = Pool::new(1).expect("pool");
    pool.submit(|| (), ()).join().expect("task");
    let lines = Lines::default();
    dispatcher::set_global_default(lines.subscriber()).expect("the first");
    let aborts = || -> () { std::process::abort() };
    pool.submit(aborts, ()).join().expect_err("it aborts");
    let task = || tracing::info!("late");
    tracing::info_span!("mine").in_scope(|| pool.submit(task, ()).join()).expect("task");
    lines.wait_for("message late");
    lines.wait_for("close mine");
}

/// Submits tasks of its own, and asks the pool how it is.
struct Curious(Arc<Mutex<Option<Arc<Pool>>>>, Lines);

impl<S: Subscriber> Layer<S> for Curious {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let pool = self.0.lock().expect("no panic").clone();
        if let Some(pool) = pool.filter(|_| event.metadata().target() == "ask") {
            assert_eq!(pool.stats().workers.len(), 1);
            let lines = self.1.clone();
            drop(pool.submit(|| 7, ()).on_done(move |outcome| lines.add(format!("{outcome:?}"))));
        }
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        let pool = self.0.lock().expect("no panic").clone();
        assert!(pool.is_none_or(|pool| pool.stats().workers.len() == 1));
    }
}

fn a_subscriber_may_use_the_pool() {
    let lines = Lines::default();
    let place = Arc::default();
    let curious = Curious(Arc::clone(&place), lines.clone());
    dispatcher::with_default(&tracing_subscriber::registry().with(curious).into(), || {
        let pool = Arc::new(Pool::new(1).expect("pool"));
        *place.lock().expect("no panic") = Some(Arc::clone(&pool));
        let task = || tracing::info!(target: "ask", "something");
        pool.submit(task, ()).join().expect("it returns");
        lines.wait_for("Ok(7)");
        *place.lock().expect("no panic") = None;
    });
}

fn spans_that_are_left_in_any_order_are_closed() {
    let lines = Lines::default();
    dispatcher::with_default(&lines.subscriber(), || {
        let pool = Pool::new(1).expect("pool");
        let task = || {
            let outer = tracing::info_span!("outer");
            let in_outer = outer.clone().entered();
            let inner = tracing::info_span!("inner");
            let in_inner = inner.clone().entered();
            drop((outer, in_outer));
            tracing::info!("within the inner");
            drop(in_inner);
            std::thread::spawn(move || inner.in_scope(|| tracing::info!("elsewhere")))
                .join()
                .expect("no panic");
            std::mem::forget(tracing::info_span!("leaked").entered());
        };
        pool.submit(task, ()).join().expect("it returns");
        pool.submit(|| tracing::info!("next"), ()).join().expect("it returns");
    });
    lines.wait_for("message next");
    lines.wait_for("close leaked");
    let lines = lines.0.lock().expect("no panic");
    for span in ["outer", "inner", "leaked"] {
        assert_eq!(lines.iter().filter(|line| **line == format!("close {span}")).count(), 1);
    }
    let at = |line: &str| lines.iter().position(|other| other == line).expect("a line");
    assert!(at("close inner") < at("close outer"), "{lines:?}");
    // The second task is not within what the first one has left.
    assert!(lines.iter().filter(|line| *line == "open task").count() == 2, "{lines:?}");
}

/// Sleeps at each event and record until the test lets it go on.
static SLEEP: Mutex<()> = Mutex::new(());

struct Sleepy;

impl<S: Subscriber> Layer<S> for Sleepy {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        drop(SLEEP.lock());
    }
}

impl log::Log for Sleepy {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == "much" {
            drop(SLEEP.lock());
        }
    }

    fn flush(&self) {}
}

fn who_listens_and_sleeps_holds_up_no_task() {
    fn tells(is_logged: bool) -> Duration {
        let begun = Instant::now();
        for number in 0..3000 {
            if is_logged {
                log::info!(target: "much", "record {number}");
            } else {
                tracing::info!(number, "event");
            }
        }
        begun.elapsed()
    }
    log::set_boxed_logger(Box::new(Sleepy)).expect("the first");
    log::set_max_level(log::LevelFilter::Info);
    let subscriber = tracing_subscriber::registry().with(Sleepy);
    dispatcher::with_default(&subscriber.into(), || {
        for is_logged in [true, false] {
            let pool = Pool::builder().processes(1).forward_logs(true).build().expect("pool");
            pool.submit(|| (), ()).join().expect("the worker is there");
            let asleep = SLEEP.lock().expect("no panic");
            let outcome = pool.submit(tells, (is_logged,)).join_timeout(Duration::from_secs(60));
            let spent = outcome.expect("it returns").expect("in time");
            // It waits once for room, for a second.
            assert!(spent < Duration::from_secs(20), "{spent:?}");
            drop(asleep);
            pool.submit(|| (), ()).join().expect("the pool goes on");
        }
    });
    log::set_max_level(log::LevelFilter::Off);
}
