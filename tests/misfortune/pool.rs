//! Pools: whatever their tasks do, each task has one outcome, the right one, and nothing hangs.
#![expect(unsafe_code, reason = "tasks do what C code does")]

use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use multiproc::{
    Descriptor, Failure, LimitReached, Limits, Pool, Process, ProcessMap, Retry, SharedMemory,
    Signal, current_task,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::common::{self, in_copy, part, program};
use crate::support::{descendants_of, is_running, open_fds, send_signal, until};

const LONG: Duration = Duration::from_secs(60);

fn square(n: u64) -> u64 {
    n * n
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Ends its worker in one of the ways there are.
fn end(how: u32) -> u32 {
    match how {
        1 => std::process::exit(3),
        2 => std::process::abort(),
        // SAFETY: no preconditions.
        3 => unsafe { libc::raise(libc::SIGKILL) },
        // SAFETY: none: the fault is what is wanted.
        4 => unsafe { std::ptr::without_provenance_mut::<i32>(8).read_volatile() },
        5 => deeper(0),
        6 => panic!("as asked"),
        7 => std::process::exit(0),
        _ => return how,
    };
    unreachable!()
}

fn deeper(n: u64) -> i32 {
    let here = std::hint::black_box([n; 500]);
    if here[0] == u64::MAX { 0 } else { deeper(here[0] + 1) + 1 }
}

fn pids(pool: &Pool) -> Vec<u32> {
    pool.stats().workers.iter().filter_map(|worker| worker.pid).collect()
}

pub(crate) fn every_end_of_a_task_is_told_apart() {
    let pool = Pool::new(2).expect("pool");
    let mut outcomes: Vec<_> = pool.tasks().chunk_size(8).imap(end, 0..8).collect();
    assert_eq!(outcomes.remove(0).expect("a value"), 0);
    let failures: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.expect_err("it fails").into_failure()).collect();
    assert!(matches!(failures[0], Failure::Exited(3)), "{failures:?}");
    for (failure, signal) in
        failures[1..5].iter().zip([Signal::ABRT, Signal::KILL, Signal::SEGV, Signal::SEGV])
    {
        assert!(
            matches!(failure, Failure::Signalled { signal: was, .. } if *was == signal),
            "{failure:?}"
        );
    }
    assert!(
        matches!(&failures[5], Failure::Panicked(panic) if panic.message() == "as asked"),
        "{failures:?}"
    );
    assert!(matches!(failures[6], Failure::Exited(0)), "{failures:?}");
    assert_eq!(pool.map(end, [0; 100]).expect("the pool goes on").len(), 100);
}

pub(crate) fn a_killed_worker_takes_its_task_only() {
    let pool = Pool::new(2).expect("pool");
    let victim = pool.submit(|| (std::process::id(), nap(60_000)), ());
    let sibling = pool.submit(nap, (300,));
    let behind: Vec<_> = (0..20).map(|n| pool.submit(square, (n,))).collect();
    until("both run", || pool.stats().running == 2);
    // Whichever has the long one.
    let longest = || {
        let slow = pids(&pool);
        slow.into_iter().find(|pid| !sibling.is_ready() && is_running(*pid))
    };
    until("the short one is done", || sibling.is_ready() || longest().is_none());
    for (n, task) in (0..).zip(behind) {
        assert_eq!(task.join().expect("it was done by the other"), square(n));
    }
    let busy: Vec<_> = pids(&pool).into_iter().filter(|pid| is_running(*pid)).collect();
    busy.iter().for_each(|pid| send_signal(*pid, libc::SIGKILL));
    let error = victim.join().expect_err("it was killed");
    assert_eq!(error.signal(), Some(Signal::KILL), "{error}");
    assert_eq!(sibling.join().expect("a value"), 300);
    assert_eq!(pool.apply(square, (5,)).expect("the pool goes on"), 25);
}

pub(crate) fn handles_joined_in_any_order_or_never() {
    let pool = Pool::new(1).expect("pool");
    let big = |n: u8| vec![n; 300_000];
    let tasks: Vec<_> = (0..30_u8).map(|n| pool.submit(big, (n,))).collect();
    for (n, task) in (0..30_u8).zip(tasks).collect::<Vec<_>>().into_iter().rev() {
        assert_eq!(task.join().expect("a value"), big(n));
    }
    // The pool first.
    let tasks: Vec<_> = (0..30_u8).map(|n| pool.submit(big, (n,))).collect();
    let _never = pool.tasks().map_async(big, 0..30);
    pool.close();
    assert!(pool.join_timeout(LONG).expect("closed"), "it waits for nobody");
    assert!(tasks.into_iter().all(|task| task.join().is_ok()));
}

pub(crate) fn big_arguments_for_a_worker_that_is_held() {
    let pool = Pool::new(1).expect("pool");
    let held = pool.submit(nap, (200,));
    let started = Instant::now();
    let big: Vec<_> = (0..4_u8)
        .map(|n| pool.submit(|bytes: Vec<u8>| bytes.len(), (vec![n; 3_000_000],)))
        .collect();
    drop(held);
    assert!(big.into_iter().all(|task| task.join().expect("a value") == 3_000_000));
    assert!(started.elapsed() < LONG);
    let echoed = pool.apply(|bytes: Vec<u8>| bytes, (vec![7_u8; 20_000_000],)).expect("a value");
    assert!(echoed.len() == 20_000_000 && echoed.iter().all(|byte| *byte == 7));
}

#[derive(Debug, Serialize)]
struct Sealed(u8);

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sealed, D::Error> {
        match u8::deserialize(deserializer)? {
            7 => Err(serde::de::Error::custom("sealed")),
            n => Ok(Sealed(n)),
        }
    }
}

pub(crate) fn tasks_whose_values_cannot_be_decoded() {
    let pool = Pool::new(2).expect("pool");
    for _ in 0..5 {
        let error = pool.apply(|| Sealed(7), ()).expect_err("it cannot be decoded here");
        assert!(matches!(error.failure(), Failure::BadResult(_)), "{error}");
        let error = pool.apply(|sealed: Sealed| sealed.0, (Sealed(7),)).expect_err("nor there");
        assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    }
    let mixed = [1, 7, 2].map(Sealed);
    let all: Vec<_> =
        pool.tasks().chunk_size(3).imap(|sealed: Sealed| sealed.0, mixed).map(Result::ok).collect();
    assert_eq!(all, [Some(1), None, Some(2)]);
}

pub(crate) fn tasks_with_descriptors() {
    let pool = Pool::new(2).expect("pool");
    let mut file = common::scratch();
    let writes = |file: Descriptor<File>, text: String| {
        let mut file = file.into_inner();
        file.write_all(text.as_bytes()).expect("write");
        Descriptor(file)
    };
    let copy = || Descriptor(file.try_clone().expect("duplicate"));
    let back = pool
        .tasks()
        .starmap(writes, [(copy(), "a".to_owned()), (copy(), "b".to_owned())])
        .expect("mapped");
    assert_eq!(back.len(), 2);
    file.write_all(b"c").expect("write");
    assert_eq!(file.metadata().expect("stat").len(), 3, "all write to one file");
}

fn count(counts: &SharedMemory, number: usize) -> u32 {
    counts.atomics::<AtomicU32>()[number].fetch_add(1, Ordering::SeqCst)
}

fn seen(counts: &SharedMemory, number: usize) -> u32 {
    counts.atomics::<AtomicU32>()[number].load(Ordering::SeqCst)
}

/// Counts each run of a task.
fn counted((counts, number, milliseconds): (SharedMemory, usize, u64)) -> usize {
    count(&counts, number);
    nap(milliseconds);
    number
}

pub(crate) fn innocent_tasks_run_once_whatever_is_cancelled_beside() {
    let pool =
        Pool::builder().processes(2).grace(Duration::from_millis(200)).build().expect("pool");
    const COUNT: usize = 60;
    for round in 0..25_u64 {
        let counts = SharedMemory::new(4 * COUNT).expect("memory");
        let tasks: Vec<_> = (0..COUNT)
            .map(|n| pool.submit(counted, ((counts.clone(), n, (n as u64 * 7 + round) % 3),)))
            .collect();
        nap(round % 5);
        let cancelled: BTreeSet<_> = (0..COUNT)
            .filter(|n| (*n as u64 + round).is_multiple_of(9) && tasks[*n].cancel())
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            let runs = || seen(&counts, n);
            match task.join() {
                Ok(number) => {
                    assert!(number == n && !cancelled.contains(&n), "{n} of round {round}");
                    assert_eq!(runs(), 1, "{n} of round {round}");
                }
                Err(error) => {
                    assert!(
                        error.is_cancelled() && cancelled.contains(&n),
                        "{n} of round {round}: {error}"
                    );
                    assert!(runs() <= 1, "{n} of round {round}");
                }
            }
        }
    }
}

pub(crate) fn deadlines_hit_the_late_only() {
    let pool = Pool::new(2).expect("pool");
    let deadline = Duration::from_millis(150);
    for size in [1, 4, 12] {
        let naps = [1, 2, 60_000, 3, 4, 5, 60_000, 6, 60_000, 7, 8, 9];
        let tasks = pool.tasks().deadline(deadline).chunk_size(size);
        let outcomes: Vec<_> = tasks.imap(nap, naps).collect();
        for (nap, outcome) in naps.into_iter().zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == nap && nap < 60_000),
                Err(error) => {
                    assert_eq!(error.limit(), Some(&LimitReached::Deadline(deadline)), "{error}");
                    assert_eq!(nap, 60_000, "{error}");
                }
            }
        }
    }
    let strict = Pool::builder().processes(1).deadline(deadline).build().expect("pool");
    assert!(strict.apply(nap, (60_000,)).expect_err("late").limit().is_some());
    assert_eq!(strict.tasks().deadline(LONG).apply(nap, (200,)).expect("it was given longer"), 200);
    let left =
        pool.tasks().deadline(LONG).apply(|| current_task().and_then(|task| task.time_left()), ());
    assert!(left.expect("a value").is_some_and(|left| left <= LONG));
}

pub(crate) fn a_task_that_ignores_sigterm_is_killed() {
    let pool = Pool::new(1).expect("pool");
    let tasks = pool.tasks().deadline(Duration::from_millis(50)).grace(Duration::from_millis(100));
    let stubborn = || {
        // SAFETY: a system call that is given no memory of others.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        nap(60_000)
    };
    let error = tasks.apply(stubborn, ()).expect_err("it takes too long");
    assert!(matches!(error.limit(), Some(LimitReached::Deadline(_))), "{error}");
    assert_eq!(pool.apply(square, (5,)).expect("the pool goes on"), 25);
}

pub(crate) fn what_a_late_task_started_ends_with_it() {
    let pool = Pool::new(1).expect("pool");
    let file = common::scratch();
    let seen = Descriptor(file.try_clone().expect("duplicate"));
    let starts = |file: Descriptor<File>| {
        #[expect(clippy::zombie_processes, reason = "it is to be ended with us")]
        let child = Command::new("sleep").arg("1000").spawn().expect("start");
        let orphan = Command::new("sh")
            .args(["-c", "(setsid sleep 1000 >/dev/null 2>&1 & echo $!)"])
            .output();
        let orphan = String::from_utf8(orphan.expect("start").stdout).expect("a number");
        writeln!(file.into_inner(), "{} {}", child.id(), orphan.trim()).expect("write");
        nap(60_000)
    };
    let error = pool
        .tasks()
        .deadline(Duration::from_millis(1500))
        .apply(starts, (seen,))
        .expect_err("late");
    assert!(error.limit().is_some(), "{error}");
    let text = crate::limits::read_back(file);
    let started: Vec<u32> =
        text.split_whitespace().map(|pid| pid.parse().expect("a number")).collect();
    assert_eq!(started.len(), 2, "{text}");
    until("all are gone", || !started.iter().any(|pid| is_running(*pid)));
}

pub(crate) fn a_worker_stopped_by_somebody() {
    let pool = Pool::new(1).expect("pool");
    pool.apply(square, (1,)).expect("it is up");
    let deadline = Duration::from_millis(200);
    // While it is at a task, and while it is idle.
    let task = pool.tasks().deadline(deadline).submit(nap, (60_000,));
    until("it runs", || pool.stats().running == 1);
    pids(&pool).iter().for_each(|pid| send_signal(*pid, libc::SIGSTOP));
    assert!(task.join().expect_err("it takes too long").limit().is_some());
    pool.apply(square, (1,)).expect("another one");
    pids(&pool).iter().for_each(|pid| send_signal(*pid, libc::SIGSTOP));
    let task = pool.tasks().deadline(deadline).submit(square, (4,));
    assert_eq!(task.join_timeout(LONG).expect("it was done by another"), Some(16));
}

pub(crate) fn retries() {
    fn flaky(counts: SharedMemory, good_at: u32) -> u32 {
        let before = count(&counts, 0);
        if before + 1 < good_at { end(1 + before % 6) } else { before + 1 }
    }
    let pool = Pool::new(1).expect("pool");
    let counts = || SharedMemory::new(4).expect("memory");
    assert_eq!(
        pool.tasks().retry(Retry::times(5)).apply(flaky, (counts(), 6)).expect("at last"),
        6
    );
    let error = pool
        .tasks()
        .retry(Retry::times(2))
        .apply(flaky, (counts(), 6))
        .expect_err("not often enough");
    assert_eq!(error.attempts(), 3, "{error}");
    let exits = Retry::times(5).only(|failure| matches!(failure, Failure::Exited(_)));
    let error =
        pool.tasks().retry(exits).apply(flaky, (counts(), 6)).expect_err("not after a signal");
    assert!(error.attempts() == 2 && error.signal() == Some(Signal::ABRT), "{error}");
    // In a chunk, the others are not run again.
    let total = counts();
    let once = |(counts, n): (SharedMemory, u32)| {
        count(&counts, 0);
        assert_ne!(n, 3);
        n
    };
    let items = (0..6).map(|n| (total.clone(), n));
    let all: Vec<_> = pool.tasks().retry(Retry::times(2)).chunk_size(6).imap(once, items).collect();
    assert_eq!(all.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert_eq!(seen(&total, 0), 5 + 3);
}

pub(crate) fn initializers_that_fail() {
    let pool = Pool::builder()
        .processes(2)
        .initializer(|| assert_eq!(1, 2, "no good"), ())
        .build()
        .expect("pool");
    let task = pool.submit(square, (1,));
    let error = task.join_timeout(LONG).expect_err("no worker comes up");
    assert!(matches!(error.failure(), Failure::NotRun(why) if why.contains("no good")), "{error}");
    let error = pool.apply(square, (1,)).expect_err("it has given up");
    assert!(error.to_string().contains("no good"), "{error}");
    pool.close();
    assert!(pool.join_timeout(LONG).expect("over"));
}

pub(crate) fn an_endless_input_is_pulled_as_needed() {
    let pool = Pool::new(2).expect("pool");
    let pulled = std::cell::Cell::new(0_u64);
    let inputs = (0..).inspect(|n| pulled.set(*n));
    let mut outcomes = pool.imap(nap, inputs.map(|n| 10 + n % 2));
    assert!(outcomes.next().expect("one").is_ok());
    assert!(pulled.get() < 10, "{} were pulled for one", pulled.get());
    drop(outcomes);
    // Short ones are pulled by the thousand, but not without limit.
    let mut outcomes = pool.imap(square, (0..).inspect(|n| pulled.set(*n)));
    let taken = outcomes.by_ref().take(100_000).filter(Result::is_ok).count() as u64;
    assert!(pulled.get() < taken + 2_000_000, "{} were pulled for {taken}", pulled.get());
}

pub(crate) fn pools_in_workers_and_in_daemons() {
    fn nested(depth: u32) -> u32 {
        if depth == 0 {
            1
        } else {
            Pool::new(2).expect("pool").map(nested, [depth - 1; 2]).expect("mapped").iter().sum()
        }
    }
    assert_eq!(Pool::new(2).expect("pool").apply(nested, (3,)).expect("a value"), 8);
    let daemon = Process::new(|| Pool::new(1).expect_err("a daemon").to_string(), ()).daemon(true);
    let text = daemon.start().expect("start").join().expect("join");
    assert_eq!(text, "daemonic processes are not allowed to have children");
}

pub(crate) fn a_program_killed_with_its_pool_busy_or_idle() {
    match part().as_deref() {
        Some(which) => {
            let pool = Pool::new(3).expect("pool");
            pool.map(square, 0..10).expect("mapped");
            let _tasks: Vec<_> = (0..6)
                .map(|_| pool.submit(nap, (if which == "busy" { 60_000 } else { 0 },)))
                .collect();
            println!("ready");
            std::io::stdout().flush().expect("flush");
            nap(60_000);
        }
        None => {
            for (part, signal) in [
                ("busy", libc::SIGKILL),
                ("idle", libc::SIGKILL),
                ("busy", libc::SIGINT),
                ("busy", libc::SIGTERM),
            ] {
                let mut command = program("a_program_killed_with_its_pool_busy_or_idle", part);
                let mut child =
                    command.stdout(std::process::Stdio::piped()).spawn().expect("start");
                let mut line = String::new();
                let out = child.stdout.take().expect("a pipe");
                std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)
                    .expect("read");
                let workers = descendants_of(child.id());
                assert!(workers.len() >= 3, "{workers:?}");
                send_signal(child.id(), signal);
                child.wait().expect("wait");
                until("no worker is left", || !workers.iter().any(|pid| is_running(*pid)));
            }
        }
    }
}

pub(crate) fn a_copy_of_a_program_with_a_pool() {
    let pool = Pool::new(1).expect("pool");
    let task = pool.submit(nap, (100,));
    let (map, mut begun) = (pool.tasks().map_async(nap, [100; 3]), pool.imap(nap, [100; 3]));
    let lost = pool.tasks().map_async(nap, [100; 3]);
    assert!(begun.next_timeout(Duration::ZERO).is_err());
    in_copy(|| {
        let error = pool.apply(square, (1,)).expect_err("it is not ours");
        assert!(error.to_string().contains("of which this one is a copy"), "{error}");
        assert!(!task.cancel() && pool.join().is_err());
        task.join_timeout(LONG).expect_err("it is not ours");
        task.try_join().expect_err("it is not ours");
        assert_eq!(lost.join_all().iter().filter(|outcome| outcome.is_err()).count(), 3);
        begun.next().expect("once").expect_err("it is not ours");
        assert!(begun.next().is_none());
        pool.terminate();
    });
    assert_eq!(task.join().expect("it went on"), 100);
    assert_eq!(map.join().expect("so did they"), [100; 3]);
    assert_eq!(begun.filter(Result::is_ok).count(), 3);
}

/// The copy that a task makes of its worker ends with the task, and hurts nobody.
pub(crate) fn a_task_that_returns_twice() {
    fn forks(n: u64) -> u64 {
        // SAFETY: the copy uses nothing but its own memory.
        if n % 10 == 3 && unsafe { libc::fork() } == 0 { 1000 + n } else { n }
    }
    let pool = Pool::new(2).expect("pool");
    for chunk in [1, 7] {
        let all: Vec<u64> = pool.tasks().chunk_size(chunk).map(forks, 0..100).expect("all well");
        assert!(all.into_iter().eq(0..100), "one of a copy");
    }
    let outcome = pool.apply(
        |()| {
            // SAFETY: as above.
            assert_ne!(unsafe { libc::fork() }, 0, "as asked, of the copy");
        },
        ((),),
    );
    outcome.expect("the panic is the copy's own affair");
}

/// What this worker shares with its pool beside their messages.
fn own_words() -> *mut u64 {
    static START: AtomicUsize = AtomicUsize::new(0);
    if START.load(Ordering::Relaxed) == 0 {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("read");
        let line =
            maps.lines().find(|line| line.contains("multiproc-pool")).expect("a line for it");
        let start = line.split_once('-').expect("a range").0;
        START.store(usize::from_str_radix(start, 16).expect("a number"), Ordering::Relaxed);
    }
    std::ptr::with_exposed_provenance_mut(START.load(Ordering::Relaxed))
}

pub(crate) fn hostile_tasks() {
    let pool =
        Pool::builder().processes(1).grace(Duration::from_millis(100)).build().expect("pool");
    let deadline = Duration::from_millis(500);
    let closes = || {
        for fd in 3..200 {
            // SAFETY: a system call that is given no memory of others.
            unsafe { libc::close(fd) };
        }
        1
    };
    let writes = || {
        let garbage = [0x5a_u8; 3000];
        for fd in 3..200 {
            // SAFETY: sends bytes of ours, to descriptors that are open or not.
            unsafe {
                libc::send(
                    fd,
                    garbage.as_ptr().cast(),
                    garbage.len(),
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
        }
        1
    };
    // All memory that is shared, rings and all.
    let scribbles = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("read");
        for line in maps.lines().filter(|line| line.contains("rw-s")) {
            let (start, end) =
                line.split_once(' ').expect("a range").0.split_once('-').expect("a range");
            let (start, end) = (
                usize::from_str_radix(start, 16).unwrap(),
                usize::from_str_radix(end, 16).unwrap(),
            );
            for at in (start..end).step_by(8) {
                let word = std::ptr::with_exposed_provenance_mut::<u64>(at);
                // SAFETY: mapped and writable, as the system says; all of it is atomics for whoever
                // reads it.
                unsafe { word.write_volatile(at as u64 ^ 0x9e37_79b9_7f4a_7c15) };
            }
        }
        1
    };
    // SAFETY: a system call that is given no memory of others.
    // Says of itself that it has not begun, again and again; and that it began just now, or will.
    let denies = || loop {
        for (at, value) in [(0, 0), (16, u64::MAX)] {
            // SAFETY: within the first page of it.
            unsafe { own_words().add(at).write_volatile(value) };
        }
    };
    let lies = || loop {
        // SAFETY: within the first page of it.
        unsafe { own_words().add(16).write_volatile(u64::MAX) };
    };
    let liars: [multiproc::Task<()>; 2] = [
        pool.tasks().deadline(deadline).submit(denies, ()),
        pool.tasks().deadline(deadline).submit(lies, ()),
    ];
    for liar in liars {
        liar.join_timeout(LONG).expect_err("it is killed");
    }
    // SAFETY: no preconditions.
    let stops = || unsafe { libc::raise(libc::SIGSTOP) };
    for round in 0..3 {
        for task in [
            pool.tasks().deadline(deadline).submit(closes, ()),
            pool.tasks().deadline(deadline).submit(writes, ()),
            pool.tasks().deadline(deadline).submit(scribbles, ()),
            pool.tasks().deadline(deadline).submit(stops, ()),
        ] {
            assert!(!matches!(task.join_timeout(LONG), Ok(None)), "round {round}");
        }
        let next = pool.tasks().retry(Retry::times(3)).submit(square, (3,));
        assert_eq!(next.join_timeout(LONG).expect("the pool goes on"), Some(9));
    }
}

/// Waits for a future, with nothing but the standard library.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(LONG),
        }
    }
}

pub(crate) fn handles_are_futures() {
    let pool = Pool::new(2).expect("pool");
    assert_eq!(block_on(pool.submit(nap, (20,))).expect("a value"), 20);
    assert!(block_on(pool.submit(end, (2,))).is_err());
    assert_eq!(block_on(pool.tasks().map_async(square, 0..1000)).expect("mapped").len(), 1000);
    let mut outcomes = pool.imap(square, 0..1000);
    let all = block_on(async {
        let mut all = Vec::new();
        while let Some(outcome) = outcomes.next_async().await {
            all.push(outcome.expect("a value"));
        }
        all
    });
    assert_eq!(all, (0..1000).map(square).collect::<Vec<_>>());
}

pub(crate) fn records_of_workers_reach_the_logger() {
    static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    struct Ears;
    impl log::Log for Ears {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            HEARD.lock().expect("lock").push(format!(
                "{} {} {}",
                record.level(),
                record.target(),
                record.args()
            ));
        }
        fn flush(&self) {}
    }
    log::set_logger(&Ears).expect("no other");
    log::set_max_level(log::LevelFilter::Info);
    let pool = Pool::builder().processes(1).name("talker").build().expect("pool");
    let talks = |n: u32| {
        log::debug!("not wanted");
        log::warn!(target: "the task", "number {n}");
        std::thread::spawn(|| log::info!("{}", "long ".repeat(20_000))).join().expect("join");
        assert_ne!(n, 1);
        if n == 2 {
            std::process::abort()
        }
    };
    for n in 0..3 {
        let _ = pool.apply(talks, (n,));
    }
    let heard = |what: &str| HEARD.lock().expect("lock").iter().any(|line| line.starts_with(what));
    for n in 0..3 {
        until("it was heard", || heard(&format!("WARN the task [talker-1] number {n}")));
    }
    until("a long one was cut", || heard("INFO misfortune::pool [talker-1] long long"));
    let task = "ERROR multiproc::task [talker-1] task misfortune::pool::records_of_workers";
    until("the panic was heard", || heard(task));
    assert!(!heard("DEBUG"));
}

pub(crate) fn panic_texts_name_the_task() {
    if part().is_some() {
        let pool = Pool::builder().processes(1).name("decoder").build().expect("pool");
        let _ = pool.tasks().name("picture").apply(|| -> u8 { panic!("no such colour") }, ());
        let _ = pool.apply(end, (6,));
        return;
    }
    let text = common::success(&mut program("panic_texts_name_the_task", "program"));
    assert!(text.contains("Process decoder-1, task picture:"), "{text}");
    assert!(
        text.contains("Process decoder-1, task misfortune::pool::end:")
            && text.contains("as asked"),
        "{text}"
    );
}

pub(crate) fn pools_leave_nothing_behind() {
    fn grows(leak: bool) -> u32 {
        if leak {
            std::mem::forget(std::hint::black_box(vec![1_u8; 8 << 20]));
        }
        std::process::id()
    }
    drop(Pool::new(1).expect("pool"));
    let before = open_fds();
    for _ in 0..20 {
        let pool = Pool::new(2).expect("pool");
        pool.map(square, 0..100).expect("mapped");
        let _ = pool.apply(end, (2,));
    }
    assert_eq!(open_fds(), before);
    let pool = Pool::builder().processes(1).max_memory_growth(20 << 20).build().expect("pool");
    let seen: BTreeSet<_> = (0..12).map(|_| pool.apply(grows, (true,)).expect("a value")).collect();
    assert!(seen.len() >= 3, "{seen:?}");
    // Also if there is always more to do.
    let seen: BTreeSet<_> = pool.imap(grows, [true; 40]).collect::<Result<_, _>>().expect("mapped");
    assert!(seen.len() >= 2, "{seen:?}");
    let one = pool.apply(grows, (false,)).expect("a value");
    assert!(
        (0..12).all(|_| pool.apply(grows, (false,)).expect("a value") == one),
        "it does not grow"
    );
}

pub(crate) fn a_pool_used_by_many_threads() {
    let pool = Pool::new(2).expect("pool");
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..20 {
                    let from = thread * 1000 + round;
                    assert_eq!(
                        pool.map(square, from..from + 50).expect("mapped")[7],
                        square(from + 7)
                    );
                    assert_eq!(pool.apply(square, (from,)).expect("a value"), square(from));
                    let _ = pool.imap(square, 0..).nth(3);
                }
            });
        }
    });
    let all: Vec<_> =
        (0..10_u64).process_map(square).expect("pool").collect::<Result<_, _>>().expect("mapped");
    assert_eq!(all, (0..10).map(square).collect::<Vec<_>>());
    assert_eq!((0..10_u64).process_map_unordered(square).expect("pool").count(), 10);
}

/// Counts how often the pool's own thread has slept.
fn sleeps_of_supervisor() -> Option<u64> {
    let mut threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let status = threads.find_map(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        status.starts_with("Name:\tmultiproc-pool").then_some(status)
    })?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line?.trim().parse().ok()
}

/// The pool's thread sleeps on while a thread that waits hears the answers.
pub(crate) fn who_waits_hears_workers_itself() {
    const TASKS: u64 = 300;
    let pool = Pool::new(2).expect("pool");
    assert_eq!(pool.map(square, 0..10).expect("mapped").len(), 10);
    // It may not have run before, and then has no name yet.
    until("the pool's thread runs", || sleeps_of_supervisor().is_some());
    let before = sleeps_of_supervisor().expect("it runs");
    for n in 0..TASKS {
        assert_eq!(pool.apply(square, (n,)).expect("applied"), n * n);
    }
    let slept = sleeps_of_supervisor().expect("it runs") - before;
    assert!(slept < TASKS / 2, "it was woken {slept} times for {TASKS} tasks");
}

/// Threads wait in all ways at once: one leads, with a limit or not, the others follow. Nobody
/// waits for ever, whoever hears whose answer.
pub(crate) fn who_leads_and_who_follows() {
    let pool = Pool::new(3).expect("pool");
    let called = Arc::new(AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (pool, called) = (&pool, Arc::clone(&called));
            scope.spawn(move || {
                for n in 0..150 {
                    match (n + thread) % 5 {
                        0 => assert_eq!(pool.apply(square, (n,)).expect("applied"), n * n),
                        1 => {
                            let task = pool.submit(nap, (1,));
                            let patience = Duration::from_micros(n * 10);
                            let early = task.join_timeout(patience).expect("no failure");
                            assert_eq!(early.map_or_else(|| task.join(), Ok).expect("napped"), 1);
                        }
                        2 => {
                            let called = Arc::clone(&called);
                            let task = pool.submit(square, (n,)).on_done(move |_| {
                                called.fetch_add(1, Ordering::Relaxed);
                            });
                            assert_eq!(task.join().expect("done"), n * n);
                        }
                        3 => {
                            let squares = pool.tasks().chunk_size(1).map(square, 0..n % 9);
                            assert_eq!(squares.expect("mapped").len() as u64, n % 9);
                        }
                        // The worker dies of it: only the pool's thread learns of that.
                        _ if n % 50 == 4 => assert!(pool.apply(end, (3,)).is_err()),
                        _ => {
                            let task = pool.submit(nap, (60_000,));
                            assert!(task.cancel() && task.join().is_err());
                        }
                    }
                }
            });
        }
    });
    assert_eq!(called.load(Ordering::Relaxed), 6 * 30);
    assert_eq!(pool.apply(square, (4,)).expect("applied"), 16);
}

pub(crate) fn many_tasks_in_the_queue() {
    /// What a queued task takes at most, besides its arguments, in bytes.
    const EACH: u64 = 512;
    const COUNT: u64 = 300_000;
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").expect("read");
        text.split(' ').nth(1).expect("a number").parse::<u64>().expect("a number") * 4096
    };
    let pool = Pool::new(1).expect("pool");
    let _held = pool.submit(nap, (60_000,));
    let before = resident();
    let tasks: Vec<_> = (0..COUNT).map(|n| pool.submit(square, (n,))).collect();
    let grown = resident() - before;
    assert!(grown < COUNT * EACH, "{} bytes each", grown / COUNT);
    pool.terminate();
    assert!(tasks.into_iter().all(|task| task.join().is_err_and(|error| error.is_cancelled())));
}

pub(crate) fn limits_of_processes_and_tasks() {
    fn swell(megabytes: usize) -> usize {
        (0..megabytes).map(|_| std::hint::black_box(vec![1_u8; 1 << 20])).collect::<Vec<_>>().len()
    }
    fn spin() {
        loop {
            std::hint::black_box(());
        }
    }
    fn write(bytes: usize) {
        File::create("file").expect("make").write_all(&vec![1; bytes]).expect("write");
    }
    let millis = Duration::from_millis;
    for method in crate::support::METHODS {
        let run = |limits: Limits, n: usize| {
            Process::new(swell, (n,))
                .limits(limits)
                .start_method(method)
                .start()
                .expect("start")
                .join()
        };
        let error = run(Limits::new().address_space(800 << 20), 4000).expect_err("too much");
        assert_eq!(
            error.limit(),
            Some(&LimitReached::AddressSpace(800 << 20)),
            "{method}: {error}"
        );
        let error = run(Limits::new().resident(80 << 20), 4000).expect_err("too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(80 << 20)), "{method}: {error}");
        assert_eq!(run(Limits::new().resident(200 << 20), 20).expect("it is enough"), 20);
        let child =
            Process::new(spin, ()).limits(Limits::new().cpu_time(millis(50))).start_method(method);
        let error = child.start().expect("start").join().expect_err("too long");
        assert_eq!(error.limit(), Some(&LimitReached::CpuTime(millis(50))), "{method}: {error}");
        let limits = Limits::new().file_size(5000).private_dir(true);
        let child = Process::new(write, (6000,)).limits(limits.clone()).start_method(method);
        let error = child.start().expect("start").join().expect_err("too long a file");
        assert_eq!(error.limit(), Some(&LimitReached::FileSize(5000)), "{method}: {error}");
        let big = Process::new(|| vec![1_u8; 1 << 20], ()).limits(limits).start_method(method);
        assert_eq!(big.start().expect("start").join().expect("a result is no file").len(), 1 << 20);
        let child = Process::new(nap, (60_000,)).deadline(millis(50)).start_method(method);
        let error = child.start().expect("start").join().expect_err("too late");
        assert_eq!(error.limit(), Some(&LimitReached::Deadline(millis(50))), "{method}: {error}");
        let surroundings = || {
            let here = std::env::current_dir().expect("a directory");
            assert!(
                here.read_dir().expect("read").next().is_none() && std::env::temp_dir() == here
            );
            // SAFETY: a system call that is given no memory of others.
            (
                here.display().to_string(),
                unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
                multiproc::cpu_count(),
            )
        };
        let limits = Limits::new().nice(7).affinity([0]).private_dir(true);
        let child = Process::new(surroundings, ())
            .limits(limits)
            .start_method(method)
            .start()
            .expect("start");
        let (here, nice, processors) = child.join().expect("a value");
        assert_eq!((nice, processors), (7, 1));
        assert!(!std::path::Path::new(&here).exists(), "{here} is left");
        let child =
            Process::new(spin, ()).limits(Limits::new().affinity([1000])).start_method(method);
        let error = child.start().expect("start").join().expect_err("no such processor");
        assert!(matches!(error.failure(), Failure::NotRun(why) if why.contains("1000")), "{error}");
        assert!(
            Process::new(spin, ())
                .limits(Limits::new().affinity([]))
                .start_method(method)
                .start()
                .is_err()
        );
        // One that nobody waits for ends all the same.
        let alone = Process::new(nap, (60_000,))
            .deadline(millis(50))
            .start_method(method)
            .start()
            .expect("start");
        until("it has ended", || !alone.is_alive());
        assert!(alone.join().expect_err("too late").limit().is_some());
        // One that undoes its timers is ended by who waits for it.
        let undoes = || {
            // SAFETY: numbers, for which zero is one.
            let mut none: libc::itimerspec = unsafe { std::mem::zeroed() };
            for timer in 0..8_usize {
                // SAFETY: the kernel reads one structure that is alive.
                unsafe { libc::syscall(libc::SYS_timer_settime, timer, 0, &raw mut none, 0) };
            }
            nap(60_000)
        };
        let child =
            Process::new(undoes, ()).deadline(millis(50)).grace(millis(50)).start_method(method);
        assert!(child.start().expect("start").join().expect_err("too late").limit().is_some());
    }
    let pool = Pool::builder()
        .processes(1)
        .limits(Limits::new().cpu_time(millis(200)))
        .build()
        .expect("pool");
    let spins = |milliseconds: u64| {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < until {}
        milliseconds
    };
    assert!(pool.map(spins, [60; 8]).is_ok(), "each task has its own time");
    let error = pool.apply(spins, (60_000,)).expect_err("too long");
    assert_eq!(error.limit(), Some(&LimitReached::CpuTime(millis(200))), "{error}");
    let small = || pool.tasks().limits(Limits::new().resident(60 << 20));
    assert!(matches!(
        small().apply(swell, (500,)).expect_err("too much").limit(),
        Some(LimitReached::Resident(_))
    ));
    assert_eq!(small().apply(swell, (5,)).expect("it is enough"), 5);
    assert_eq!(pool.apply(swell, (100,)).expect("it was the task's limit"), 100);
}

/// What a task may use is never more than what its worker may, and goes with the task.
pub(crate) fn limits_of_tasks_go_with_them() {
    fn writes(path: String) -> bool {
        std::fs::write(path, vec![7; 5000]).is_ok()
    }
    fn eats(bytes: usize) -> usize {
        std::hint::black_box(vec![1_u8; bytes])
            .iter()
            .step_by(4096)
            .map(|byte| usize::from(*byte))
            .sum()
    }
    fn fills(bytes: usize) -> usize {
        let eaten = eats(bytes);
        let until = Instant::now() + Duration::from_secs(30);
        let held = std::hint::black_box(vec![2_u8; bytes]);
        while Instant::now() < until {}
        eaten + held.len()
    }
    let path = std::env::temp_dir().join(format!("multiproc-task-limits-{}", std::process::id()));
    let path = path.to_str().expect("text").to_owned();
    let limits =
        Limits::new().file_size(4096).resident(64 << 20).cpu_time(Duration::from_millis(200));
    let pool = Pool::builder().processes(1).limits(limits).build().expect("pool");
    let more = Limits::new().file_size(1 << 20).resident(1 << 30).cpu_time(Duration::from_secs(20));
    let less = Limits::new().file_size(1024);
    let reached = |error: multiproc::TaskError| error.limit().cloned();
    pool.tasks().limits(less).apply(square, (1,)).expect("well within");
    let error = pool.apply(writes, (path.clone(),)).expect_err("the worker's limit");
    assert_eq!(reached(error), Some(LimitReached::FileSize(4096)));
    let error = pool
        .tasks()
        .limits(more.clone())
        .apply(writes, (path.clone(),))
        .expect_err("the worker's limit");
    assert_eq!(reached(error), Some(LimitReached::FileSize(4096)));
    let error =
        pool.tasks().limits(Limits::new().resident(1 << 30).cpu_time(Duration::from_secs(20)));
    let error = error.apply(fills, (100 << 20,)).expect_err("the worker's limits");
    assert!(matches!(
        reached(error),
        Some(LimitReached::Resident(0x400_0000) | LimitReached::CpuTime(_))
    ));
    let _ = std::fs::remove_file(path);
    // One that is lifted is not named afterwards.
    let pool = Pool::new(1).expect("pool");
    pool.tasks()
        .limits(Limits::new().address_space(8 << 30))
        .apply(square, (1,))
        .expect("well within");
    let error = pool
        .apply(|| Vec::<u8>::with_capacity(1 << 50).capacity(), ())
        .expect_err("nobody has as much");
    assert!(error.limit().is_none() && error.signal() == Some(Signal::ABRT), "{error}");
}
