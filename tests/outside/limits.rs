//! Durations, limits and deadlines: each does what it says, whatever its size and whatever state
//! the process is in.

use std::hint::black_box;
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use multiproc::{
    Descriptor, Failure, LimitReached, Limits, Pool, Process, SharedSlice, StartMethod, pipe,
    set_forkserver_preload, wait,
};

use crate::support::{METHODS, Test, for_each_method, is_running, send_signal, state_of, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    huge_durations_are_no_limit,
    the_least_and_the_most_of_each_limit,
    what_no_process_can_live_with_is_refused,
    only_memory_of_its_own_counts,
    recycling_counts_only_memory_of_its_own,
    limits_hold_without_the_first_thread,
    the_deadline_of_a_stopped_process_keeps_its_name,
    a_stopped_worker_holds_up_no_task,
    what_ignores_the_signal_of_a_deadline_is_killed_though_nobody_waits,
    a_task_that_stops_its_only_worker_holds_up_no_other,
];

const MIB: usize = 1 << 20;

/// What a read of 150 MiB comes to: a byte of each page.
const PAGES: usize = 150 * 256;

/// Durations that overflow some type on the way to the kernel.
fn huge() -> Vec<Duration> {
    let year = 365 * 24 * 60 * 60;
    let seconds = [
        101 * year,
        293 * year,
        585 * year,
        i64::MAX as u64,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let seconds = seconds.into_iter().map(Duration::from_secs);
    // Products with 1e9 that wrap around to less than a second.
    let wraps = [u64::MAX / 1_000_000_000 + 1, u64::MAX / 1_000_000_000].map(Duration::from_secs);
    let millis = [i32::MAX as u64 + 1, u32::MAX.into(), 1 << 32].map(Duration::from_millis);
    seconds
        .chain(wraps)
        .chain(millis)
        .chain([Duration::MAX, Duration::MAX / 2, Duration::from_nanos(u64::MAX)])
        .collect()
}

fn works() -> u32 {
    let until = Instant::now() + Duration::from_millis(5);
    while Instant::now() < until {}
    7
}

fn naps() -> u32 {
    std::thread::sleep(Duration::from_secs(600));
    7
}

fn huge_durations_are_no_limit() {
    for_each_method(|method| {
        for time in huge() {
            let child = Process::new(works, ()).start_method(method).deadline(time).grace(time);
            let child = child.limits(Limits::new().cpu_time(time)).start().expect("start");
            assert_eq!(wait(&[&child], Some(time)).expect("wait"), [0], "{method} {time:?}");
            assert_eq!(child.join_timeout(time).expect("a value"), Some(7), "{method} {time:?}");
        }
        for time in [Duration::ZERO, Duration::from_nanos(1)] {
            let child = Process::new(naps, ())
                .start_method(method)
                .deadline(time)
                .grace(time)
                .start()
                .expect("start");
            let error = child.join().expect_err("no time");
            assert_eq!(error.limit(), Some(&LimitReached::Deadline(time)), "{method}: {error}");
        }
    });
    let (mut sender, mut receiver) = pipe::<u8>().expect("pipe");
    let limits = |time| Limits::new().cpu_time(time);
    let pools: Vec<Pool> = huge()
        .into_iter()
        .map(|time| {
            Pool::builder().processes(1).deadline(time).limits(limits(time)).build().expect("pool")
        })
        .collect();
    for (time, pool) in huge().into_iter().zip(&pools) {
        sender.send_timeout(1, time).expect("send");
        assert_eq!(receiver.recv_timeout(time).expect("receive"), 1, "{time:?}");
        let task = pool.submit(works, ());
        assert_eq!(task.join_timeout(time).expect("a value"), Some(7), "{time:?}");
        let tasks = pool.tasks().deadline(time).grace(time).limits(limits(time));
        assert_eq!(tasks.apply(works, ()).expect("a value"), 7, "{time:?}");
        pool.close();
        assert!(pool.join_timeout(time).expect("join"), "{time:?}");
    }
    let pool = Pool::new(1).expect("pool");
    for time in [Duration::ZERO, Duration::from_nanos(1)] {
        let error = pool.tasks().deadline(time).grace(time).apply(naps, ()).expect_err("no time");
        assert_eq!(error.limit(), Some(&LimitReached::Deadline(time)), "{error}");
    }
}

/// Whether it could write a byte to a file without a name.
fn writes() -> u32 {
    let path = std::env::temp_dir().join(format!("multiproc-limits-{}", std::process::id()));
    let mut file = std::fs::File::create_new(&path).expect("make a file");
    std::fs::remove_file(&path).expect("remove it");
    file.write_all(b"x").expect("write");
    7
}

fn the_least_and_the_most_of_each_limit() {
    let most = Limits::new().resident(u64::MAX).address_space(u64::MAX).file_size(u64::MAX);
    let most = most.open_files(u64::MAX).processes(u64::MAX).cpu_time(Duration::MAX);
    let none = Limits::new().file_size(0).processes(0);
    for_each_method(|method| {
        let run = |limits: &Limits, process: Process<u32>| {
            process.start_method(method).limits(limits.clone()).start().expect("start").join()
        };
        assert_eq!(run(&most, Process::new(writes, ())).expect("no limit"), 7, "{method}");
        assert_eq!(run(&none, Process::new(works, ())).expect("it wants neither"), 7, "{method}");
        let error = run(&none, Process::new(writes, ())).expect_err("too long a file");
        assert_eq!(error.limit(), Some(&LimitReached::FileSize(0)), "{method}: {error}");
        for size in [0, 1] {
            let child = Process::new(works, ())
                .start_method(method)
                .stack_size(size)
                .start()
                .expect("start");
            assert_eq!(child.join().expect("a value"), 7, "{method}");
        }
        for size in [usize::MAX, usize::MAX - 4096, usize::MAX / 2] {
            let child = Process::new(works, ())
                .start_method(method)
                .stack_size(size)
                .start()
                .expect("start");
            let error = child.join().expect_err("too big a stack");
            assert!(matches!(error.failure(), Failure::NotRun(_)), "{method}: {error}");
        }
    });
    for limits in [&most, &none] {
        let pool = Pool::builder().processes(1).limits(limits.clone()).build().expect("pool");
        assert_eq!(pool.apply(works, ()).expect("a value"), 7);
    }
    let pool = Pool::builder().processes(1).limits(none.clone()).build().expect("pool");
    for tasks in
        [pool.tasks(), Pool::new(1).expect("pool").tasks().limits(none), pool.tasks().limits(most)]
    {
        let error = tasks.apply(writes, ()).expect_err("no file, or no pool");
        let is_named = error.limit() == Some(&LimitReached::FileSize(0));
        assert!(is_named || matches!(error.failure(), Failure::Cancelled(_)), "{error}");
    }
}

fn what_no_process_can_live_with_is_refused() {
    let bad = [
        Limits::new().cpu_time(Duration::ZERO),
        Limits::new().resident(0),
        Limits::new().address_space(0),
        Limits::new().open_files(0),
        Limits::new().nice(i32::MAX),
        Limits::new().nice(i32::MIN),
        Limits::new().nice(20),
        Limits::new().affinity([]),
        Limits::new().affinity([usize::MAX]),
    ];
    let pool = Pool::builder()
        .processes(1)
        .limits(Limits::new().resident(100 << 20))
        .build()
        .expect("pool");
    for limits in bad {
        for method in METHODS {
            let started =
                Process::new(works, ()).start_method(method).limits(limits.clone()).start();
            assert!(started.is_err(), "{method}: {limits:?}");
        }
        assert!(Pool::builder().processes(1).limits(limits.clone()).build().is_err(), "{limits:?}");
        let error = pool.tasks().limits(limits.clone()).apply(works, ()).expect_err("refused");
        assert!(matches!(error.failure(), Failure::NotRun(_)), "{limits:?}: {error}");
    }
    for limits in
        [Limits::new().nice(5), Limits::new().affinity([0]), Limits::new().private_dir(true)]
    {
        let error = pool.tasks().limits(limits.clone()).apply(works, ()).expect_err("a worker's");
        assert!(matches!(error.failure(), Failure::NotRun(_)), "{limits:?}: {error}");
    }
}

/// Computes for a while, so that whoever looks at its memory does.
fn computes() {
    let until = Instant::now() + Duration::from_millis(150);
    while Instant::now() < until {}
}

fn reads(slice: SharedSlice<u8>) -> usize {
    let sum = slice.iter().step_by(4096).map(|byte| usize::from(*byte)).sum();
    computes();
    sum
}

fn swells(mebibytes: usize) -> usize {
    let all: Vec<Vec<u8>> = (0..mebibytes).map(|_| black_box(vec![1; MIB])).collect();
    computes();
    all.len()
}

static LOADED: OnceLock<Vec<u8>> = OnceLock::new();

fn load() {
    let _ = LOADED.set(vec![1; 150 * MIB]);
}

fn reads_loaded() -> usize {
    let sum =
        LOADED.get().map_or(0, |all| all.iter().step_by(4096).map(|byte| usize::from(*byte)).sum());
    computes();
    sum
}

fn only_memory_of_its_own_counts() {
    let shared = SharedSlice::from_slice(&vec![1_u8; 150 * MIB]).expect("share");
    set_forkserver_preload(load).expect("preload");
    load();
    for method in METHODS {
        let limits = || Limits::new().resident(64 << 20);
        let run = |process: Process<usize>| {
            process.start_method(method).limits(limits()).start().expect("start").join()
        };
        assert_eq!(
            run(Process::new(reads, (shared.clone(),))).expect("not its own"),
            PAGES,
            "{method}"
        );
        let loaded = if method == StartMethod::Spawn { 0 } else { PAGES };
        assert_eq!(run(Process::new(reads_loaded, ())).expect("inherited"), loaded, "{method}");
        assert_eq!(run(Process::new(swells, (16,))).expect("within"), 16, "{method}");
        let error = run(Process::new(swells, (2000,))).expect_err("too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(64 << 20)), "{method}: {error}");
        let pool = Pool::builder().processes(1).start_method(method).limits(limits());
        // A pool has a thread, beside which there is no fork.
        let pool = pool.build().expect("pool");
        assert_eq!(pool.apply(reads, (shared.clone(),)).expect("not its own"), PAGES, "{method}");
        let tasks = || pool.tasks().limits(Limits::new().resident(32 << 20));
        assert_eq!(
            tasks().apply(reads, (shared.clone(),)).expect("not its own"),
            PAGES,
            "{method}"
        );
        let error = tasks().apply(swells, (2000,)).expect_err("too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(32 << 20)), "{method}: {error}");
        let error = pool.apply(swells, (2000,)).expect_err("too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(64 << 20)), "{method}: {error}");
        pool.close();
        pool.join().expect("join");
    }
}

fn naps_briefly() -> u32 {
    std::thread::sleep(Duration::from_millis(10));
    std::process::id()
}

fn recycling_counts_only_memory_of_its_own() {
    static KEPT: OnceLock<Vec<u8>> = OnceLock::new();
    // Kept, so that its pages are still there whenever the worker's memory is looked at.
    static SHARED: OnceLock<SharedSlice<u8>> = OnceLock::new();
    let shared = SharedSlice::from_slice(&vec![1_u8; 150 * MIB]).expect("share");
    let pool = Pool::builder().processes(1).max_memory_growth(32 << 20).build().expect("pool");
    let pid = || pool.apply(std::process::id, ()).expect("a pid");
    let first = pid();
    let keeps = |slice: SharedSlice<u8>| reads(SHARED.get_or_init(|| slice).clone());
    assert_eq!(pool.apply(keeps, (shared.clone(),)).expect("a value"), PAGES);
    // A pool looks at a worker's memory at the end of a task that leaves it idle, and at most every
    // 50 ms else.
    for _ in 0..20 {
        assert_eq!(
            pool.apply(naps_briefly, ()).expect("a pid"),
            first,
            "replaced for memory that is not its own"
        );
    }
    pool.apply(|| KEPT.set(vec![1; 100 * MIB]).is_ok(), ()).expect("a value");
    until("it is replaced", || pid() != first);
}

/// Ends the first thread; another one goes on.
fn without_first_thread(swells_up: bool) {
    std::thread::spawn(move || {
        if swells_up {
            swells(2000);
        }
        naps()
    });
    // SAFETY: ends this thread, which holds nothing that others need.
    #[expect(unsafe_code, reason = "there is no other way to end a first thread alone")]
    unsafe {
        libc::syscall(libc::SYS_exit, 0)
    };
}

fn limits_hold_without_the_first_thread() {
    for_each_method(|method| {
        let process =
            |swells_up: bool| Process::new(without_first_thread, (swells_up,)).start_method(method);
        let child = process(true).limits(Limits::new().resident(64 << 20)).start().expect("start");
        let error = child.join().expect_err("too much");
        assert_eq!(error.limit(), Some(&LimitReached::Resident(64 << 20)), "{method}: {error}");
        let time = Duration::from_millis(100);
        let child = process(false).deadline(time).start().expect("start");
        let pid = child.pid();
        // Nobody waits for it, nor asks.
        until("it has ended", || is_all_over(pid));
        let error = child.join().expect_err("too late");
        assert_eq!(error.limit(), Some(&LimitReached::Deadline(time)), "{method}: {error}");
    });
}

/// Whether all threads of a child have ended.
fn is_all_over(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    threads <= 1 && matches!(state_of(pid), None | Some('Z'))
}

/// Stops itself, when it has started a process that does not end by itself and has told its number.
fn stops(path: String, whole_group: bool) {
    #[expect(clippy::zombie_processes, reason = "its deadline is to end both")]
    let other = Command::new("sleep").arg("600").spawn().expect("start a program");
    std::fs::write(path, other.id().to_string()).expect("tell");
    loop {
        // SAFETY: a signal to this process, or to its group, which is its own.
        #[expect(unsafe_code, reason = "a process stops itself by a signal")]
        unsafe {
            libc::kill(if whole_group { 0 } else { libc::getpid() }, libc::SIGSTOP)
        };
    }
}

fn the_deadline_of_a_stopped_process_keeps_its_name() {
    let path = std::env::temp_dir().join(format!("multiproc-stops-{}", std::process::id()));
    let text = path.to_str().expect("text").to_owned();
    for_each_method(|method| {
        for whole_group in [false, true] {
            let _ = std::fs::remove_file(&path);
            let (time, grace) = (Duration::from_secs(1), Duration::from_millis(200));
            let child = Process::new(stops, (text.clone(), whole_group))
                .start_method(method)
                .deadline(time)
                .grace(grace);
            let child = child.start().expect("start");
            let pid = child.pid();
            let mut other = None;
            until("it has told what it started", || {
                other =
                    std::fs::read_to_string(&path).ok().and_then(|text| text.parse::<u32>().ok());
                other.is_some()
            });
            let other = other.expect("told");
            // Nobody waits for it, nor asks.
            until("both have ended", || {
                [pid, other].iter().all(|pid| matches!(state_of(*pid), None | Some('Z')))
            });
            let error = child.join().expect_err("too late");
            assert_eq!(
                error.limit(),
                Some(&LimitReached::Deadline(time)),
                "{method}, {whole_group}: {error}"
            );
        }
    });
    let _ = std::fs::remove_file(&path);
}

/// Starts a program that ignores SIGTERM, in a copy of which nobody else has started anything, and
/// waits.
fn starts_a_stubborn_one(mut to: Descriptor<PipeWriter>) {
    let stubborn =
        Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 1; done"]).spawn();
    to.0.write_all(format!("{}\n", stubborn.expect("start a program").id()).as_bytes())
        .expect("say its number");
    loop {
        std::thread::park();
    }
}

/// A leader that SIGTERM ends does not go before those who do not: nobody else would end them.
fn what_ignores_the_signal_of_a_deadline_is_killed_though_nobody_waits() {
    for_each_method(|method| {
        let (from, to) = std::io::pipe().expect("pipe");
        let child = Process::new(starts_a_stubborn_one, (Descriptor(to),)).start_method(method);
        let child = child.deadline(Duration::from_millis(500)).grace(Duration::from_millis(300));
        let child = child.start().expect("start");
        let mut line = String::new();
        BufReader::new(from).read_line(&mut line).expect("a number");
        let stubborn: u32 = line.trim().parse().expect("a number");
        until("it is killed", || !is_running(stubborn));
        let error = child.join().expect_err("its time is over");
        assert!(matches!(error.limit(), Some(LimitReached::Deadline(_))), "{method}: {error}");
    });
}

fn stops_itself() -> u32 {
    send_signal(std::process::id(), libc::SIGSTOP);
    7
}

/// In the midst of a task without a deadline, it is continued: nothing is lost, and those behind it
/// have their turn.
fn a_task_that_stops_its_only_worker_holds_up_no_other() {
    // A fork has to be alone: the pool of that method comes first.
    let pools = [StartMethod::Fork, StartMethod::Forkserver, StartMethod::Spawn]
        .map(|method| Pool::builder().processes(1).start_method(method).build().expect("pool"));
    let tasks: Vec<_> = pools
        .iter()
        .map(|pool| {
            let behind = pool.submit(stops_itself, ());
            (behind, pool.tasks().deadline(Duration::from_secs(50)).submit(|| 8_u32, ()))
        })
        .collect();
    for (stopped, other) in tasks {
        assert_eq!(stopped.join_timeout(Duration::from_secs(60)).expect("it goes on"), Some(7));
        assert_eq!(other.join_timeout(Duration::from_secs(60)).expect("it has its turn"), Some(8));
    }
}

fn a_stopped_worker_holds_up_no_task() {
    for processes in [1, 2] {
        let pool = Pool::builder().processes(processes).build().expect("pool");
        let pid = pool.apply(std::process::id, ()).expect("a pid");
        // SAFETY: a signal to a worker of this pool, which has not ended.
        #[expect(unsafe_code, reason = "stops a worker from outside")]
        unsafe {
            libc::kill(pid.cast_signed(), libc::SIGSTOP)
        };
        until("it is stopped", || state_of(pid) == Some('T'));
        let plain: Vec<_> = (0..4).map(|_| pool.submit(works, ())).collect();
        let timed: Vec<_> = (0..4)
            .map(|_| pool.tasks().deadline(Duration::from_secs(60)).submit(works, ()))
            .collect();
        for task in plain.iter().chain(&timed) {
            let value = task.join_timeout(Duration::from_secs(30)).expect("it was not begun");
            assert_eq!(value, Some(7), "{processes}: a task waits for a stopped worker");
        }
    }
}
