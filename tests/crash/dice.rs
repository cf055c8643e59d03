//! Dice that fall the same way again if asked to.
#![expect(unsafe_code, reason = "sets variables for the tests, in a process of one thread")]

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

const SEED: &str = "MULTIPROC_CRASH_SEED";
const ROUNDS: &str = "MULTIPROC_CRASH_ROUNDS";

/// What the dial says if nobody touched it.
const FEW: u32 = 25;

/// The test that this process is, and how many rounds it makes.
static OWN: OnceLock<(String, u32)> = OnceLock::new();

/// How many rounds each test is to make.
pub(crate) fn rounds() -> u32 {
    std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(FEW)
}

/// Called first: in the runner, settles the seed of all tests and prints it; in a test, remembers
/// which one it is.
pub(crate) fn settle(batch: u32) {
    let test = std::env::var("SUITE_TEST").unwrap_or_default();
    if test.is_empty() && std::env::var(SEED).is_err() {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_micros());
        // SAFETY: the first thing in main, before any other thread.
        unsafe { std::env::set_var(SEED, (now % 1_000_000_007).to_string()) };
    }
    if test.is_empty() {
        println!("{ROUNDS}={} {SEED}={}", rounds(), seed());
    }
    let _ = OWN.set((test, batch));
}

fn seed() -> u64 {
    std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// How many rounds this test is to make.
pub(crate) fn own_rounds() -> u32 {
    OWN.get().map_or(FEW, |(_, rounds)| *rounds)
}

/// Dice (xorshift64*).
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    /// This test's own, in some round.
    pub(crate) fn of_round(round: u32) -> Dice {
        let name = OWN.get().map_or("", |(name, _)| name.as_str());
        // FNV-1a over what tells this round from all others.
        let bytes = name.bytes().chain(seed().to_le_bytes()).chain(round.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Dice::new(hash)
    }

    /// Of a seed.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed.max(1)))
    }

    /// A seed for other dice.
    pub(crate) fn seed(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        (self.seed() >> 16) % end
    }

    /// One of several.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("a place")]
    }

    /// Lets up to `longest` pass: the dice's moment.
    pub(crate) fn pause(&self, longest: Duration) {
        let nanoseconds = u64::try_from(longest.as_nanos()).expect("a short time");
        std::thread::sleep(Duration::from_nanos(self.below(nanoseconds.max(1))));
    }
}
