//! Group K: pools.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use multiproc::{
    Failure, Pool, PoolBuilder, PortableError, Process, StartMethod, TaskError, with_worker_state,
};
use serde::{Deserialize, Serialize};

use crate::support::{for_each_method, is_running, until};

const LONG: Duration = Duration::from_secs(60);

fn square(n: u64) -> u64 {
    n * n
}

fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn picky(n: u64) -> u64 {
    assert_ne!(n, 3, "three is not wanted");
    n
}

fn pid() -> u32 {
    std::process::id()
}

fn pool(method: StartMethod, processes: usize) -> PoolBuilder {
    Pool::builder().processes(processes).start_method(method)
}

pub(crate) fn k144_apply() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        assert_eq!(pool.apply(add, (2, 3)).expect("applied"), 5);
        assert_eq!(
            pool.apply(|| "nothing given".to_owned(), ()).expect("applied"),
            "nothing given"
        );
        assert_ne!(pool.apply(pid, ()).expect("applied"), pid());
    });
}

pub(crate) fn k145_map_keeps_the_order() {
    for_each_method(|method| {
        let pool = pool(method, 3).build().expect("pool");
        let expected: Vec<_> = (0..1000).map(square).collect();
        assert_eq!(pool.map(square, 0..1000).expect("mapped"), expected);
        for size in [1, 7, 20, 1000, 5000] {
            assert_eq!(
                pool.tasks().chunk_size(size).map(square, 0..1000).expect("mapped"),
                expected,
                "by {size}"
            );
        }
        // Those that come first take longest.
        assert_eq!(
            pool.tasks().chunk_size(1).map(nap, [40, 20, 5, 0]).expect("mapped"),
            [40, 20, 5, 0]
        );
    });
}

pub(crate) fn k146_starmap() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let pairs: Vec<(u64, u64)> = (0..100).map(|n| (n, 2 * n)).collect();
        let sums: Vec<_> = (0..100).map(|n| 3 * n).collect();
        assert_eq!(pool.tasks().starmap(add, pairs.clone()).expect("mapped"), sums);
        assert_eq!(pool.tasks().starmap_async(add, pairs.clone()).join().expect("mapped"), sums);
        assert_eq!(
            pool.tasks().istarmap(add, pairs).collect::<Result<Vec<_>, _>>().expect("mapped"),
            sums
        );
    });
}

pub(crate) fn k147_map_async_and_its_callback() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let expected: Vec<_> = (0..500).map(square).collect();
        let map = pool.tasks().map_async(square, 0..500);
        assert!(map.wait(LONG) && map.is_ready());
        assert_eq!(map.join().expect("mapped"), expected);
        let (tell, told) = mpsc::channel();
        let both = tell.clone();
        pool.tasks()
            .map_async(square, 0..500)
            .on_done(move |all| tell.send(all.map_err(|error| error.to_string())).expect("told"));
        assert_eq!(told.recv_timeout(LONG).expect("called"), Ok(expected));
        pool.tasks()
            .map_async(picky, 0..10)
            .on_done(move |all| both.send(all.map_err(|error| error.to_string())).expect("told"));
        let error = told.recv_timeout(LONG).expect("called").expect_err("it fails");
        assert!(error.contains("three is not wanted"), "{error}");
        assert!(told.recv().is_err(), "a callback is called once");
    });
}

#[derive(Debug, Deserialize)]
struct Secret(u8);

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 7 {
            Err(serde::ser::Error::custom("a secret"))
        } else {
            serializer.serialize_u8(self.0)
        }
    }
}

pub(crate) fn k148_arguments_that_cannot_be_encoded() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let error =
            pool.apply(|secret: Secret| secret.0, (Secret(7),)).expect_err("it cannot be sent");
        assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
        let mixed = [1, 7, 2, 7, 3].map(Secret);
        let outcomes: Vec<_> =
            pool.imap(|secret: Secret| secret.0, mixed).map(|outcome| outcome.ok()).collect();
        assert_eq!(outcomes, [Some(1), None, Some(2), None, Some(3)]);
        let error = pool
            .map(|secret: Secret| secret.0, [Secret(1), Secret(7)])
            .expect_err("it cannot be sent");
        assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
        assert_eq!(pool.apply(square, (3,)).expect("the pool goes on"), 9);
    });
}

pub(crate) fn k149_empty_input() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let none = || std::iter::empty::<u64>();
        for size in [1, 100] {
            assert!(pool.tasks().chunk_size(size).map(square, none()).expect("mapped").is_empty());
            assert_eq!(pool.tasks().chunk_size(size).imap(square, none()).count(), 0);
            assert_eq!(pool.tasks().chunk_size(size).imap_unordered(square, none()).count(), 0);
            assert!(
                pool.tasks()
                    .chunk_size(size)
                    .map_async(square, none())
                    .join()
                    .expect("mapped")
                    .is_empty()
            );
        }
        let (tell, told) = mpsc::channel();
        pool.tasks()
            .map_async(square, none())
            .on_done(move |all| tell.send(all.is_ok_and(|all| all.is_empty())).expect("told"));
        assert_eq!(told.recv_timeout(LONG), Ok(true));
    });
}

/// Numbers from 0, and a panic in the place of one.
fn failing(at: u64) -> impl Iterator<Item = u64> {
    (0..1000).map(move |n| if n == at { panic!("no more input") } else { n })
}

pub(crate) fn k150_input_that_panics() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        for at in [0, 1, 500, 999] {
            for _ in 0..2 {
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    pool.tasks().chunk_size(10).map(square, failing(at))
                }));
                assert!(caught.is_err(), "the panic reaches the caller");
            }
        }
        /// An iterator that says something else of its length than is so.
        struct Liar(u64);
        impl Iterator for Liar {
            type Item = u64;
            fn next(&mut self) -> Option<u64> {
                self.0 += 1;
                (self.0 <= 30).then_some(self.0)
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                (5, Some(5))
            }
        }
        assert_eq!(pool.map(square, Liar(0)).expect("mapped").len(), 30);
        assert_eq!(pool.tasks().map_async(square, Liar(0)).join().expect("mapped").len(), 30);
        assert_eq!(pool.apply(square, (3,)).expect("the pool goes on"), 9);
    });
}

pub(crate) fn k151_imap_is_in_order() {
    for_each_method(|method| {
        let pool = pool(method, 3).build().expect("pool");
        let expected: Vec<_> = (0..2000).map(square).collect();
        for size in [1, 100] {
            let all =
                pool.tasks().chunk_size(size).imap(square, 0..2000).collect::<Result<Vec<_>, _>>();
            assert_eq!(all.expect("mapped"), expected);
        }
        let mut outcomes = pool.imap(square, 0..10);
        assert_eq!(
            outcomes.next_timeout(LONG).expect("in time").expect("one").expect("a value"),
            0
        );
        assert_eq!(outcomes.by_ref().last().expect("one").expect("a value"), 81);
        assert!(outcomes.next().is_none() && outcomes.next().is_none());
        let mut slow = pool.imap(nap, [60_000]);
        assert!(slow.next_timeout(Duration::from_millis(10)).is_err(), "timed out");
        drop(slow);
        // What came before the input failed is delivered before.
        let mut got = Vec::new();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for outcome in pool.tasks().chunk_size(1).imap(square, failing(100)) {
                got.push(outcome.expect("a value"));
            }
        }));
        assert!(caught.is_err());
        assert!(got.len() <= 100 && expected.starts_with(&got), "{got:?}");
    });
}

pub(crate) fn k152_imap_unordered_gives_the_same_set() {
    for_each_method(|method| {
        let pool = pool(method, 3).build().expect("pool");
        for size in [1, 53] {
            let all = pool.tasks().chunk_size(size).imap_unordered(square, 0..1000);
            let all: BTreeSet<_> = all.collect::<Result<_, _>>().expect("mapped");
            assert_eq!(all, (0..1000).map(square).collect());
        }
        let first = pool.tasks().chunk_size(1).imap_unordered(nap, [60_000, 1]).next();
        assert_eq!(first.expect("one").expect("a value"), 1, "the quick one comes first");
    });
}

pub(crate) fn k153_apply_async() {
    for_each_method(|method| {
        let pool = pool(method, 1).build().expect("pool");
        let task = pool.submit(square, (7,));
        assert_eq!(task.join().expect("a value"), 49);
        let slow = pool.submit(nap, (60_000,));
        assert!(!slow.is_ready());
        assert_eq!(slow.join_timeout(Duration::from_millis(20)).expect("the task goes on"), None);
        assert!(
            slow.try_join().expect("so it does").is_none() && !slow.wait(Duration::from_millis(1))
        );
        assert!(slow.cancel() && !slow.cancel());
        assert!(slow.join_timeout(LONG).expect_err("cancelled").is_cancelled());
        assert!(matches!(slow.try_join().expect_err("it was taken").failure(), Failure::Lost(_)));
    });
}

pub(crate) fn k154_sizes() {
    for_each_method(|method| {
        let error = pool(method, 0).build().expect_err("none");
        assert_eq!(error.to_string(), "number of processes must be at least 1");
        assert!(pool(method, 1 << 16).build().is_err());
        let pool = pool(method, 3).build().expect("pool");
        assert_eq!(pool.processes(), 3);
        let pids: BTreeSet<_> =
            pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
        assert_eq!(pids.len(), 3);
        assert_eq!(format!("{pool:?}"), "<Pool state=RUN pool_size=3>");
    });
}

pub(crate) fn k155_terminate_with_much_to_do() {
    for_each_method(|method| {
        let pool = pool(method, 3).build().expect("pool");
        let map = pool.tasks().chunk_size(1).map_async(nap, vec![60_000; 10_000]);
        pool.terminate();
        pool.join().expect("it ends");
        let outcomes = map.join_all();
        assert_eq!(outcomes.len(), 10_000);
        assert!(
            outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(TaskError::is_cancelled))
        );
    });
}

pub(crate) fn k156_the_end_of_a_scope() {
    for_each_method(|method| {
        let (tasks, pids) = pool(method, 2)
            .scope(|pool| {
                let tasks: Vec<_> = (0..20).map(|n| pool.submit(square, (n,))).collect();
                (
                    tasks,
                    pool.stats().workers.iter().filter_map(|worker| worker.pid).collect::<Vec<_>>(),
                )
            })
            .expect("scope");
        assert!(!pids.iter().any(|pid| is_running(*pid)), "the workers are gone");
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join().expect("it was done"), square(n));
        }
        let pool = pool(method, 1).build().expect("pool");
        assert_eq!(pool.join().expect_err("it runs").to_string(), "pool is still running");
        pool.close();
        let error = pool.apply(square, (1,)).expect_err("it is closed");
        assert!(error.to_string().contains("pool is not running"), "{error}");
        assert!(
            pool.map(square, 0..3).is_err() && pool.imap(square, 0..).next().expect("one").is_err()
        );
        pool.join().expect("it ends");
        assert!(pool.join_timeout(LONG).expect("it has ended"));
    });
}

pub(crate) fn k157_errors_say_where() {
    for_each_method(|method| {
        let pool = pool(method, 1).build().expect("pool");
        let line = line!() + 1;
        let target = |n: u64| -> u64 { panic!("{n} is too much") };
        let error = pool.apply(target, (5,)).expect_err("it panics");
        let panic = error.panic().expect("a panic");
        assert_eq!(panic.message(), "5 is too much");
        let location = panic.location().expect("a place");
        assert!(location.file().ends_with("pool.rs") && location.line() == line, "{location}");
        assert!(
            error.worker().is_some_and(|name| name.ends_with("PoolWorker-1"))
                && error.pid().is_some(),
            "{error}"
        );
        let error = pool.tasks().name("triple").map(picky, 0..5).expect_err("it panics");
        assert_eq!((error.task(), error.attempts()), ("triple[3]", 1));
        let error = pool.apply(misses, (5,)).expect("it returns").expect_err("an error");
        assert_eq!(error.to_string(), "5 is too much");
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
    });
}

/// Returns an error with a cause, of which serde knows nothing.
fn misses(n: u64) -> Result<(), PortableError> {
    std::fs::read("/nowhere/at/all").with_context(|| format!("{n} is too much"))?;
    Ok(())
}

pub(crate) fn k159_a_map_waits_for_all() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let started = Instant::now();
        let pause = |n: u64| {
            assert_ne!(n, 0, "{}", "x".repeat(1 << 20));
            nap(50)
        };
        let error =
            pool.tasks().chunk_size(1).map(pause, [0, 1, 2, 3]).expect_err("the first fails");
        assert_eq!(
            error.panic().expect("a panic").message().len(),
            (1 << 20) + "assertion `left != right` failed: ".len() + "\n  left: 0\n right: 0".len()
        );
        assert!(started.elapsed() >= Duration::from_millis(100), "it waits for the others");
        pool.close();
        pool.join().expect("large errors do not stand in its way");
    });
}

pub(crate) fn k160_arguments_and_results_are_let_go() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let before = crate::support::open_fds();
        for _ in 0..3 {
            let file = || multiproc::Descriptor(std::fs::File::open("/dev/null").expect("open"));
            let back = pool
                .map(|file: multiproc::Descriptor<std::fs::File>| file, (0..20).map(|_| file()));
            assert_eq!(back.expect("mapped").len(), 20);
        }
        // The pool's own thread opens a file for a moment at times.
        until("none is left open", || crate::support::open_fds().is_subset(&before));
    });
}

pub(crate) fn k161_dropping_a_running_pool_ends_it() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let task = pool.submit(nap, (60_000,));
        let pids: Vec<_> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
        drop(pool);
        assert!(!pids.iter().any(|pid| is_running(*pid)), "the workers are gone");
        assert!(task.join().expect_err("it was not done").is_cancelled());
    });
}

pub(crate) fn k162_callbacks_get_the_error() {
    for_each_method(|method| {
        let pool = pool(method, 1).build().expect("pool");
        let (tell, told) = mpsc::channel();
        let task = pool.submit(picky, (3,));
        let task = task.on_done(move |outcome| {
            tell.send(outcome.as_ref().unwrap_err().to_string()).expect("told")
        });
        let said = told.recv_timeout(LONG).expect("called");
        assert_eq!(task.join().expect_err("it fails").to_string(), said);
        // At once, if it is done already.
        let (tell, told) = mpsc::channel();
        let done = pool.submit(picky, (1,));
        assert!(done.wait(LONG));
        let done =
            done.on_done(move |outcome| tell.send(*outcome.as_ref().unwrap()).expect("told"));
        assert_eq!(told.recv_timeout(LONG), Ok(1));
        assert_eq!(done.join().expect("a value"), 1);
        // A panic in one harms nobody.
        let bad = pool.submit(picky, (1,)).on_done(|_| panic!("in a callback"));
        assert!(bad.join().is_err());
        assert_eq!(pool.apply(square, (3,)).expect("the pool goes on"), 9);
    });
}

pub(crate) fn k163_results_that_cannot_be_encoded() {
    for_each_method(|method| {
        let pool = pool(method, 2).build().expect("pool");
        let pids =
            |pool: &Pool| pool.stats().workers.iter().map(|worker| worker.pid).collect::<Vec<_>>();
        let before = pids(&pool);
        for _ in 0..20 {
            let error = pool.apply(|| Secret(7), ()).expect_err("it cannot be encoded");
            assert!(
                matches!(error.failure(), Failure::BadResult(text) if text.contains("Secret")),
                "{error}"
            );
        }
        assert_eq!(pids(&pool), before, "no worker was lost");
    });
}

pub(crate) fn k164_workers_are_replaced_after_so_many_tasks() {
    for_each_method(|method| {
        let pool = pool(method, 2).max_tasks_per_child(10).build().expect("pool");
        assert_eq!(
            pool.map(square, 0..100).expect("mapped"),
            (0..100).map(square).collect::<Vec<_>>()
        );
        let mut pids = BTreeSet::new();
        for pid in pool.tasks().chunk_size(7).imap(|_: u32| pid(), 0..60) {
            pids.insert(pid.expect("a pid"));
        }
        assert!(pids.len() >= 6, "{pids:?}");
        assert!(pool.stats().restarts() >= 10);
    });
}

pub(crate) fn k165_close_before_all_is_done() {
    for_each_method(|method| {
        let pool = pool(method, 2).max_tasks_per_child(1).build().expect("pool");
        let tasks: Vec<_> = (0..6).map(|n| pool.submit(square, (n,))).collect();
        pool.close();
        pool.join().expect("it ends");
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join().expect("it was done"), square(n));
        }
    });
}

pub(crate) fn k166_task_limits_that_cannot_be() {
    for_each_method(|method| {
        let error = pool(method, 1).max_tasks_per_child(0).build().expect_err("none at all");
        assert_eq!(error.to_string(), "max_tasks_per_child must be at least 1");
    });
}

pub(crate) fn k167_a_pool_in_a_static() {
    static POOL: std::sync::OnceLock<Pool> = std::sync::OnceLock::new();
    fn program(method: StartMethod) -> u64 {
        let pool = POOL.get_or_init(|| pool(method, 2).build().expect("pool"));
        let _left = pool.submit(nap, (60_000,));
        pool.apply(square, (6,)).expect("applied")
    }
    for_each_method(|method| {
        let child = Process::new(program, (method,)).start_method(method).start().expect("start");
        assert_eq!(child.join_timeout(LONG).expect("it ends well").expect("in time"), 36);
        assert_eq!(child.exitcode(), Some(0));
    });
}

pub(crate) fn k168_initializer() {
    fn prepare(first: u64, name: String) -> (u64, String) {
        (first, name)
    }
    fn use_it(n: u64) -> Option<u64> {
        with_worker_state(|state: &mut (u64, String)| {
            state.0 += n;
            state.0 + state.1.len() as u64
        })
    }
    for_each_method(|method| {
        let pool =
            pool(method, 1).initializer(prepare, (100, "four".to_owned())).build().expect("pool");
        assert_eq!(pool.map(use_it, [1, 2, 3]).expect("mapped"), [Some(105), Some(107), Some(110)]);
        assert_eq!(
            pool.apply(|| with_worker_state(|state: &mut u8| *state), ()).expect("applied"),
            None
        );
        assert_eq!(with_worker_state(|state: &mut (u64, String)| state.0), None);
    });
}

pub(crate) fn k169_a_worker_that_cannot_start() {
    // The third finds no descriptor.
    let open = crate::support::open_fds().len() as u64;
    let child = Process::new(
        |open: u64| {
            let limits = multiproc::Limits::new().open_files(open + 22);
            let inner = Process::new(
                || {
                    let error = Pool::new(64).expect_err("too many");
                    let lacks = error.raw_os_error() == Some(libc::EMFILE);
                    (lacks, error.to_string(), multiproc::active_children().len())
                },
                (),
            );
            inner.limits(limits).start().expect("start").join().expect("join")
        },
        (open,),
    );
    let (lacks, text, left) = child.start().expect("start").join().expect("join");
    assert!(lacks, "{text}");
    assert_eq!(left, 0, "those that had started were ended");
}

pub(crate) fn k170_very_many_workers() {
    let pool = Pool::new(100).expect("pool");
    assert_eq!(
        pool.map(square, 0..5000).expect("mapped"),
        (0..5000).map(square).collect::<Vec<_>>()
    );
    let pids: BTreeSet<_> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
    assert_eq!(pids.len(), 100);
    drop(pool);
    until("all workers are gone", || !pids.iter().any(|pid| is_running(*pid)));
}
