//! Pools on the nodes of a cluster on this machine, beside a pool of this machine: with the figures
//! that are aimed at, and beside Dask, Ray and Celery where Python can import them
//! (`MULTIPROC_PEERS` is a folder that pip has installed them to: `pip install --target FOLDER
//! distributed ray celery redis`; Celery needs `redis-server` as well).
//! `cargo bench -p multiproc-cluster`; `--quick` looks whether it works.

use std::process::Command;
use std::time::{Duration, Instant};

use multiproc::Pool;
use multiproc_cluster::Cluster;

/// Computes for about a millisecond.
fn compute(n: u64) -> u64 {
    let since = Instant::now();
    let mut sum = n;
    while since.elapsed() < Duration::from_millis(1) {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    sum
}

fn trivial(n: u64) -> u64 {
    n
}

/// The best of three, as others use this machine, too.
fn best(runs: u32, measure: impl Fn() -> f64) -> f64 {
    (0..runs).map(|_| measure()).fold(0.0, f64::max)
}

/// What tasks do.
#[derive(Clone, Copy)]
enum Work {
    Nothing,
    Millisecond,
}

/// Tasks in a second.
fn rate(pool: &Pool, chunk: Option<usize>, count: u64, work: Work) -> f64 {
    let tasks = match chunk {
        Some(chunk) => pool.tasks().chunk_size(chunk),
        None => pool.tasks(),
    };
    let since = Instant::now();
    let done = match work {
        Work::Nothing => tasks.imap(trivial, 0..count).filter(Result::is_ok).count(),
        Work::Millisecond => tasks.imap(compute, 0..count).filter(Result::is_ok).count(),
    };
    assert_eq!(done as u64, count, "tasks have failed");
    count as f64 / since.elapsed().as_secs_f64()
}

/// Tasks in a second that are submitted one by one, and then waited for.
fn submitted(pool: &Pool, count: u64) -> f64 {
    let since = Instant::now();
    let tasks: Vec<_> = (0..count).map(|n| pool.submit(trivial, (n,))).collect();
    let done = tasks.into_iter().filter_map(|task| task.join().ok()).count();
    assert_eq!(done as u64, count, "tasks have failed");
    count as f64 / since.elapsed().as_secs_f64()
}

/// Microseconds of one `apply` after the other: the median.
fn round_trip(pool: &Pool, count: usize) -> f64 {
    let mut times: Vec<f64> = (0..count)
        .map(|_| {
            let since = Instant::now();
            pool.apply(trivial, (1,)).expect("value");
            since.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Waits until so many workers are there, and have done something.
fn warm(pool: &Pool, workers: usize) {
    let since = Instant::now();
    let there = || pool.stats().workers.iter().filter(|worker| worker.pid.is_some()).count();
    while there() < workers {
        assert!(since.elapsed() < Duration::from_secs(60), "the nodes do not come");
        std::thread::sleep(Duration::from_millis(20));
    }
    rate(pool, None, 10_000, Work::Nothing);
}

fn line(what: &str, goal: &str, cluster: f64, local: f64) {
    println!("{what:<44} {goal:>12} {cluster:>12.0} {local:>12.0}");
}

/// Measures others, in processes of their own.
fn peers() {
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py"));
    if let Some(folder) = std::env::var_os("MULTIPROC_PEERS") {
        python.env("PYTHONPATH", folder);
    }
    println!(
        "\n{:<24} {:>12} {:>12} {:>12}",
        "others, two workers", "apply [us]", "trivial", "1 ms"
    );
    match python.output() {
        Ok(output) => {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                match *line.split('\t').collect::<Vec<_>>() {
                    [name, trip, trivial, compute] => {
                        println!("{name:<24} {trip:>12} {trivial:>12} {compute:>12}");
                    }
                    _ => println!("{}", line.replace('\t', ": ")),
                }
            }
        }
        Err(why) => println!("not measured: python3: {why}"),
    }
}

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (many, few, runs) = if is_quick { (20_000, 1_000, 1) } else { (1_000_000, 30_000, 3) };
    let cluster = Cluster::local(2, 1).expect("a cluster: is there a nats-server?");
    let there = Pool::builder().on(&cluster).build().expect("pool");
    let here = Pool::new(2).expect("pool");
    warm(&there, 2);
    warm(&here, 2);
    println!(
        "{:<44} {:>12} {:>12} {:>12}",
        "two nodes of one worker; two workers", "goal", "cluster", "here"
    );
    let both = |what: &str, goal: &str, chunk, count, work| {
        let cluster = best(runs, || rate(&there, chunk, count, work));
        let local = best(runs, || rate(&here, chunk, count, work));
        line(what, goal, cluster, local);
        cluster / local
    };
    both("trivial tasks, chunks by themselves [1/s]", "200000", None, many, Work::Nothing);
    both("trivial tasks, chunks of one [1/s]", "10000", Some(1), few, Work::Nothing);
    line(
        "trivial tasks, submitted one by one [1/s]",
        "",
        best(runs, || submitted(&there, few)),
        best(runs, || submitted(&here, few)),
    );
    let ratio = both(
        "tasks of 1 ms [1/s]",
        "",
        None,
        if is_quick { 200 } else { 4_000 },
        Work::Millisecond,
    );
    let count = if is_quick { 50 } else { 2_000 };
    line("apply, round trip [us]", "1000", round_trip(&there, count), round_trip(&here, count));
    println!("{:<44} {:>12} {ratio:>12.2}", "tasks of 1 ms, cluster : here", "0.90");
    if !is_quick {
        drop((there, here, cluster));
        peers();
    }
}
