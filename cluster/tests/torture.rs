//! Kills at random: nodes and the broker, while maps run. Every task has exactly one outcome, and
//! the right one. `MULTIPROC_CLUSTER_ROUNDS` is the dial: kills of nodes; one in ten is the
//! broker's. It needs `nats-server`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiproc::{Failure, Pool};
use multiproc_cluster::Cluster;

/// Kills in a short run.
const ROUNDS: u32 = 6;

/// Time in which a task has to get an outcome, whatever happens.
const LONGEST: Duration = Duration::from_secs(120);

/// Random numbers; the seed is told, so that a run can be had again.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let seed = std::env::var("MULTIPROC_CLUSTER_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64;
        let seed = seed.unwrap_or(now) | 1;
        println!("MULTIPROC_CLUSTER_SEED={seed}");
        Dice(seed)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Takes from none to 40 ms, and returns what tells the task from all others.
fn work(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(n * 2654435761 % 41));
    n.wrapping_mul(3) + 1
}

/// Notes that it runs, in a file of its own, then takes a while.
fn run_once(folder: String, n: u64) -> u64 {
    let path = format!("{folder}/{n}");
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(b"x")).expect("noted");
    std::thread::sleep(Duration::from_millis(n % 31));
    n
}

#[test]
fn every_task_has_one_outcome_whatever_is_killed() {
    let rounds = std::env::var("MULTIPROC_CLUSTER_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u32 = rounds.unwrap_or(ROUNDS);
    let cluster = Cluster::local(3, 1).expect("a cluster: is there a nats-server?");
    let folder = std::env::temp_dir().join(format!("torture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    let is_over = AtomicBool::new(false);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    std::thread::scope(|scope| {
        let maps = scope.spawn(|| map_until(&pool, &is_over));
        let text = folder.display().to_string();
        let once = scope.spawn(|| once_until(&pool, &is_over, text));
        kill_at_random(&cluster, rounds);
        is_over.store(true, Ordering::SeqCst);
        let tasks = maps.join().expect("maps");
        let (done, lost) = once.join().expect("tasks that run once");
        println!("{rounds} kills: {tasks} tasks done; once: {done} done, {lost} lost");
        assert!(tasks > 0 && done > 0);
    });
    std::fs::remove_dir_all(folder).expect("removed");
}

/// Runs maps until it is over. Returns the number of tasks.
fn map_until(pool: &Pool, is_over: &AtomicBool) -> u64 {
    let mut first = 0;
    while !is_over.load(Ordering::SeqCst) {
        let count = 200;
        let since = Instant::now();
        let mut seen: HashMap<u64, u32> = HashMap::new();
        for outcome in pool.tasks().imap_unordered(work, first..first + count) {
            match outcome {
                Ok(value) => *seen.entry(value).or_default() += 1,
                // A task may be killed along with its node several times in a row.
                Err(error) if matches!(error.failure(), Failure::NodeLost(_)) => {
                    assert!(error.attempts() > 3, "{error}");
                    *seen.entry(u64::MAX).or_default() += 1;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(since.elapsed() < LONGEST, "a map does not end");
        }
        let lost = seen.remove(&u64::MAX).unwrap_or(0);
        assert_eq!(seen.len() as u64 + u64::from(lost), count, "outcomes");
        for (value, times) in seen {
            assert_eq!(times, 1, "{value} came several times");
            let n = (value - 1) / 3;
            assert!(value == n * 3 + 1 && (first..first + count).contains(&n), "{value}");
        }
        first += count;
    }
    first
}

/// Runs tasks that are to run once until it is over. Returns how many were done, and lost.
fn once_until(pool: &Pool, is_over: &AtomicBool, folder: String) -> (u64, u64) {
    let (mut done, mut lost) = (0, 0);
    for n in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let outcome = pool.tasks().once().apply(run_once, (folder.clone(), n));
        let runs = std::fs::read(format!("{folder}/{n}")).map_or(0, |bytes| bytes.len());
        match outcome {
            Ok(value) => {
                assert_eq!((value, runs), (n, 1));
                done += 1;
            }
            Err(error) if matches!(error.failure(), Failure::NodeLost(_)) => {
                assert!(runs <= 1, "task {n} ran {runs} times");
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (done, lost)
}

/// Kills nodes, which others replace, and now and then the broker, which comes back empty.
fn kill_at_random(cluster: &Cluster, rounds: u32) {
    let mut dice = Dice::new();
    let mut alive = vec![1, 2, 3];
    let mut next = 4;
    for round in 1..=rounds {
        std::thread::sleep(Duration::from_millis(300 + dice.roll(1200)));
        if round % 10 == 5 {
            cluster.tell_minder("stop server").expect("told");
            std::thread::sleep(Duration::from_millis(dice.roll(800)));
            cluster.tell_minder("start server").expect("told");
            continue;
        }
        let at = usize::try_from(dice.roll(alive.len() as u64)).expect("small");
        let node: u32 = alive.swap_remove(at);
        // With its stations, or its daemon alone.
        let how = if dice.roll(2) == 0 { "kill" } else { "end" };
        cluster.tell_minder(&format!("{how} node {node}")).expect("told");
        cluster.tell_minder("start node").expect("told");
        alive.push(next);
        next += 1;
    }
}
