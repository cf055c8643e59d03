//! Pools on the nodes of a cluster on this machine. They need `nats-server`.

mod support;

use std::time::{Duration, Instant};

use multiproc::{Failure, LimitReached, Limits, Pool, Retry, Signal};
use support::{MINUTE, cluster, wait_for};

/// A file that tasks and tests tell each other by.
struct Mark(std::path::PathBuf);

impl Mark {
    fn new(name: &str) -> Mark {
        let mark = Mark(std::env::temp_dir().join(format!("{name}-{}", std::process::id())));
        let _ = std::fs::remove_file(&mark.0);
        mark
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    fn runs(&self) -> usize {
        std::fs::read(&self.0).map_or(0, |bytes| bytes.len())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Says in a file that it ran, then sleeps.
fn sleep_long(mark: String) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(mark).expect("mark");
    file.write_all(b"x").expect("written");
    drop(file);
    std::thread::sleep(MINUTE);
}

#[test]
fn a_pool_on_two_nodes_does_what_one_here_does() {
    let cluster = cluster(2, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(u32::pow, (2, 3)).expect("value"), 8);
    let squares = pool.map(|n: u64| n * n, 0..10_000).expect("values");
    assert!(squares.iter().copied().eq((0..10_000).map(|n| n * n)));
    // A megabyte and one byte, there and back.
    let long = vec![7_u8; (1 << 20) + 1];
    let back = pool.apply(|bytes: Vec<u8>| bytes, (long.clone(),)).expect("value");
    assert!(back == long);
    let back = pool.apply(|bytes: Vec<u8>| bytes, (vec![1_u8; 20 << 20],)).expect("value");
    assert_eq!(back.len(), 20 << 20);
    let nodes = cluster.nodes();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    pool.close();
    pool.join().expect("joined");
}

#[test]
fn failures_are_what_they_would_be_here() {
    fn fail(how: u32) {
        match how {
            0 => panic!("no luck"),
            1 => std::process::exit(3),
            2 => std::process::abort(),
            3 => std::thread::sleep(MINUTE),
            _ => {
                let much = vec![1_u8; 1 << 30];
                std::hint::black_box(much);
            }
        }
    }
    let cluster = cluster(1, 2);
    let limits = Limits::new().resident(128 << 20);
    let pool = Pool::builder().on(&cluster).limits(limits).build().expect("pool");
    let error = pool.apply(fail, (0,)).unwrap_err();
    assert_eq!(error.panic().map(|panic| panic.message()), Some("no luck"));
    assert!(error.to_string().contains("local-1/"), "names its node: {error}");
    let error = pool.apply(fail, (1,)).unwrap_err();
    assert!(matches!(error.failure(), Failure::Exited(3)), "{error}");
    let error = pool.apply(fail, (2,)).unwrap_err();
    assert_eq!(error.signal(), Some(Signal::ABRT));
    let deadline = Duration::from_millis(50);
    let error = pool.tasks().deadline(deadline).apply(fail, (3,)).unwrap_err();
    assert_eq!(error.limit(), Some(&LimitReached::Deadline(deadline)));
    let error = pool.apply(fail, (4,)).unwrap_err();
    assert_eq!(error.limit(), Some(&LimitReached::Resident(128 << 20)));
    let error = pool.tasks().retry(Retry::times(2)).apply(fail, (1,)).unwrap_err();
    assert_eq!(error.attempts(), 3);
}

#[test]
fn statistics_are_what_they_would_be_here() {
    fn rest(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    fn abort() {
        std::process::abort()
    }
    let cluster = cluster(1, 1);
    let pool = Pool::builder().processes(1).on(&cluster).build().expect("pool");
    let stats = || pool.stats().workers.remove(0);
    // Not the time that tasks are on their way.
    let since = Instant::now();
    (0..300).for_each(|n| assert_eq!(pool.apply(u32::pow, (n, 1)).expect("value"), n));
    wait_for("it is weighed", || stats().resident.is_some_and(|bytes| bytes > 0));
    let (short, passed) = (stats().busy, since.elapsed());
    assert!(short < passed / 10, "{short:?} of {passed:?}");
    pool.map(rest, [20; 10]).expect("rested");
    wait_for("the time counts", || stats().busy >= Duration::from_millis(200));
    assert!(stats().busy < Duration::from_millis(400) + short, "{:?}", stats());
    let before = stats();
    assert_eq!((before.tasks, before.failures, before.restarts), (310, 0, 0));
    pool.apply(abort, ()).expect_err("it aborts");
    pool.apply(abort, ()).expect_err("it aborts");
    wait_for("its worker is replaced", || stats().restarts == 2);
    let after = stats();
    assert_eq!((after.tasks, after.failures), (312, 2));
    assert!(after.busy >= before.busy && after.name == "local-1/1" && after.pid == before.pid);
    // A hand that is told to kill its task is a worker that is replaced here, once.
    let task = pool.submit(rest, (60_000,));
    wait_for("it runs", || pool.stats().running == 1);
    assert!(task.cancel());
    pool.apply(rest, (1,)).expect("done");
    wait_for("the new one is told of", || stats().resident.is_some());
    assert_eq!((stats().restarts, pool.stats().given, pool.stats().queued), (3, 0, 0));
}

#[test]
fn settings_longer_than_a_message_arrive() {
    fn keep(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
    fn count() -> usize {
        multiproc::with_worker_state(|bytes: &mut Vec<u8>| bytes.len()).expect("a state")
    }
    let cluster = cluster(2, 1);
    let length = (1 << 20) + 1;
    let builder = Pool::builder().on(&cluster).initializer(keep, (vec![7_u8; length],));
    let pool = builder.build().expect("pool");
    assert_eq!(pool.apply(count, ()).expect("value"), length);
}

#[test]
fn a_refusal_longer_than_a_message_arrives() {
    fn fail() {
        panic!("{}", "no luck ".repeat(1 << 20))
    }
    let cluster = cluster(1, 1);
    let builder = Pool::builder().on(&cluster).initializer(fail, ());
    let pool = builder.max_restarts(0).build().expect("pool");
    let error = pool.apply(u32::pow, (2, 2)).unwrap_err();
    assert!(error.to_string().contains("no luck no luck"), "{error}");
}

#[test]
fn what_is_cancelled_does_not_run_on() {
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let mark = Mark::new("cancelled");
    let running = pool.submit(sleep_long, (mark.text(),));
    let waiting = pool.submit(sleep_long, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    assert!(waiting.cancel());
    assert!(running.cancel());
    assert!(running.join().unwrap_err().is_cancelled());
    assert!(waiting.join().unwrap_err().is_cancelled());
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
    assert_eq!(mark.runs(), 1);
}

#[test]
fn workers_are_what_they_would_be_here() {
    fn load(words: Vec<String>) -> Vec<String> {
        words
    }
    fn knows(word: String) -> bool {
        multiproc::with_worker_state(|words: &mut Vec<String>| words.contains(&word))
            .expect("a state")
    }
    fn name() -> String {
        multiproc::current_process().name().to_owned()
    }
    let cluster = cluster(2, 2);
    let builder = Pool::builder().on(&cluster).name("far").max_tasks_per_child(50);
    let pool = builder.initializer(load, (vec!["salt".to_owned()],)).build().expect("pool");
    let there = || pool.stats().workers.iter().filter(|worker| worker.pid.is_some()).count();
    wait_for("four workers", || there() == 4);
    assert_eq!(pool.map(knows, ["sea", "salt"].map(str::to_owned)).expect("values"), [false, true]);
    let mut names = pool.broadcast(name, ()).expect("values");
    names.sort();
    assert_eq!(names, ["far-1", "far-1", "far-2", "far-2"]);
    // Each worker is replaced several times meanwhile.
    let pids = pool.tasks().chunk_size(1).map(|_: u32| std::process::id(), 0..600).expect("pids");
    let different: std::collections::HashSet<u32> = pids.into_iter().collect();
    assert!(different.len() >= 12, "{different:?}");
    assert_eq!(pool.stats().failures(), 0);
}

#[test]
fn inputs_are_pulled_as_outcomes_are_taken() {
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let pulled = std::cell::Cell::new(0_u64);
    let inputs = (0_u64..).inspect(|n| pulled.set(n + 1));
    let mut outcomes = pool.tasks().chunk_size(1).imap(|n: u64| n, inputs);
    for n in 0..1000 {
        assert_eq!(outcomes.next().expect("endless").expect("value"), n);
    }
    assert!(pulled.get() < 20_000, "{} were pulled", pulled.get());
}

/// A logger that keeps what it is told.
struct Kept(std::sync::Mutex<Vec<String>>);

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == "cluster" {
            let line = format!("{} {}", record.level(), record.args());
            self.0.lock().expect("kept").push(line);
        }
    }

    fn flush(&self) {}
}

#[test]
fn what_tasks_log_is_logged_here() {
    static KEPT: Kept = Kept(std::sync::Mutex::new(Vec::new()));
    let _ = log::set_logger(&KEPT);
    log::set_max_level(log::LevelFilter::Info);
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).name("far").build().expect("pool");
    pool.apply(|| log::warn!(target: "cluster", "it is late"), ()).expect("done");
    let is_here = || KEPT.0.lock().expect("kept").iter().any(|line| line.contains("it is late"));
    wait_for("the record comes", is_here);
    let kept = KEPT.0.lock().expect("kept").join("\n");
    assert!(kept.contains("WARN [local-1] [far-1] it is late"), "{kept}");
}

#[cfg(feature = "cage")]
#[test]
fn a_cage_holds_there() {
    fn reads(path: String) -> bool {
        std::fs::read(path).is_ok()
    }
    let file = std::env::temp_dir().join(format!("caged-{}", std::process::id()));
    std::fs::write(&file, "x").expect("written");
    let path = file.display().to_string();
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert!(pool.apply(reads, (path.clone(),)).expect("value"));
    let caged = Pool::builder().on(&cluster).cage(multiproc::Cage::new()).build().expect("pool");
    assert!(!caged.apply(reads, (path,)).expect("value"));
    std::fs::remove_file(file).expect("removed");
}
