//! The process of one target: input after input, each noted down before it is tried.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use multiproc::fuzz::Target;

use crate::mutation::{self, Chance};

/// How often resources are counted.
const ROUND: u64 = 500;

/// How many more descriptors or mappings there may be than at the beginning.
const SLACK: usize = 64;

/// Who forges the words of locks that this thread holds. Such a lock stays mapped: the kernel may
/// know an address in it.
const KEEPS_MAPPINGS: [&str; 2] = ["handles", "locks"];

/// What is in the file: the number of the input, its length, itself.
pub(crate) const HEADER: usize = 16;

pub(crate) fn run(target: Target, seed: u64, time: Duration, file: &str) -> Result<(), String> {
    let file =
        File::options().write(true).open(file).map_err(|error| format!("{file}: {error}"))?;
    let corpus = (target.seeds)();
    let mut number = 0_u64;
    let mut attempt = |bytes: &[u8]| {
        number += 1;
        let noted = [&number.to_le_bytes(), &(bytes.len() as u64).to_le_bytes(), bytes].concat();
        file.write_all_at(&noted, 0).expect("to note the input");
        (target.run)(bytes);
        number
    };
    attempt(&[]);
    for seed in &corpus {
        attempt(seed);
    }
    let mut chance = Chance::new(seed);
    let before = resources();
    let started = Instant::now();
    while started.elapsed() < time {
        if attempt(&mutation::next(&corpus, &mut chance)) % ROUND == 0 {
            let now = resources();
            assert!(
                now.0 <= before.0 + SLACK,
                "descriptors are left behind: {} and then {}",
                before.0,
                now.0
            );
            assert!(
                KEEPS_MAPPINGS.contains(&target.name) || now.1 <= before.1 + SLACK,
                "mappings are left behind: {} and then {}",
                before.1,
                now.1
            );
        }
    }
    Ok(())
}

/// How many open files and mappings this process has.
fn resources() -> (usize, usize) {
    let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = fs::read_to_string("/proc/self/maps").map_or(0, |text| text.lines().count());
    (fds, maps)
}
