//! Work that goes on while everything around it fails, and what has to be true of it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiproc::{Failure, Pool};

/// Time in which a task has to get an outcome, whatever happens.
const LONGEST: Duration = Duration::from_secs(120);

/// Random numbers; the seed is told, so that a run can be had again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Dice {
        let seed = std::env::var("MULTIPROC_CLUSTER_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64;
        let seed = seed.unwrap_or(now) | 1;
        println!("MULTIPROC_CLUSTER_SEED={seed}");
        Dice(seed)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Takes from none to 40 ms, and returns what tells the task from all others.
pub(crate) fn work(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(n * 2654435761 % 41));
    n.wrapping_mul(3) + 1
}

/// Notes that it runs, in a file of its own, then takes a while.
pub(crate) fn run_once(folder: String, n: u64) -> u64 {
    let path = format!("{folder}/{n}");
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(b"x")).expect("noted");
    std::thread::sleep(Duration::from_millis(n % 31));
    n
}

/// Runs maps until it is over. Returns the number of tasks.
pub(crate) fn map_until(pool: &Pool, is_over: &AtomicBool) -> u64 {
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
pub(crate) fn once_until(pool: &Pool, is_over: &AtomicBool, folder: String) -> (u64, u64) {
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
