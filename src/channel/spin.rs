//! Looking again and again for a short while before sleeping: worth it if the other side is about
//! to act on another processor.

use std::time::{Duration, Instant};

use crate::sys::process::threads;

/// The longest and the shortest time to look.
const LONGEST: Duration = Duration::from_micros(20);
const SHORTEST: Duration = Duration::from_nanos(600);

/// Time that a future looks at the most. To be woken would take longer, and others that its
/// executor has are kept waiting meanwhile.
pub(crate) const BRIEFLY: Duration = LONGEST;

/// To sleep and to be woken takes about as long: who was woken sooner might as well have gone on
/// looking.
const NAP: Duration = Duration::from_micros(60);

/// Two sides that answer each other at once, but sleep meanwhile, wait for each other's waking:
/// about so long, or less. Neither would ever look long enough to find out. So every eighth time
/// one looks until the other must be awake.
const TWO_NAPS: Duration = Duration::from_micros(200);
const PROBE: Duration = Duration::from_micros(80);
const EVERY: u32 = 8;

/// The most pauses between two looks. Each look takes a cache line away from who is about to write
/// to it: a stream of small messages takes half as long again without them, a round trip a little
/// less.
const PAUSES: u32 = 8;

/// The time to look for something before sleeping, which follows from what it was good for before.
#[derive(Clone, Debug)]
pub(crate) struct Spin {
    budget: Duration,
    /// The number of short sleeps in a row.
    naps: u32,
    /// Where this thread was when it asked, and how often it might have asked.
    own: u64,
    asked: u32,
}

impl Spin {
    pub(crate) const fn new() -> Spin {
        Spin { budget: Duration::from_nanos(4800), naps: 0, own: 0, asked: 0 }
    }

    /// This thread's processor, as it is written into a ring: 0 there is nowhere. It is asked for
    /// now and then only.
    pub(crate) fn own_cpu(&mut self) -> u64 {
        // A thread seldom moves, and the question costs as much as a short message.
        if self.asked.is_multiple_of(16) {
            self.own = threads::cpu() + 1;
        }
        self.asked = self.asked.wrapping_add(1);
        self.own
    }

    /// Looks until it is so, or long enough; then it gives the time when it began. `peer` is where
    /// the other side was seen; on our own processor it could not act meanwhile.
    pub(crate) fn until(
        &mut self,
        own: u64,
        peer: u64,
        is_so: impl FnMut() -> bool,
    ) -> Result<(), Instant> {
        self.until_within(Duration::MAX, own, peer, is_so)
    }

    /// `until`, for no longer than `limit`.
    pub(crate) fn until_within(
        &mut self,
        limit: Duration,
        own: u64,
        peer: u64,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<(), Instant> {
        // The other side would run only after we sleep.
        if peer == 0 || peer == own {
            return Err(Instant::now());
        }
        // Every eighth nap is looked through, to find out if both sides only wait for each other's
        // waking.
        let is_probe = self.naps > 0 && self.naps.is_multiple_of(EVERY);
        let most = if is_probe { PROBE } else { self.budget }.min(limit);
        let mut pauses = 1_u32;
        // The clock costs as much as some looks: not for what is there at once.
        let mut started = None;
        loop {
            // Eight looks for each look at the clock.
            for _ in 0..8 {
                if is_so() {
                    self.budget = (self.budget * 2).min(LONGEST);
                    self.naps = 0;
                    return Ok(());
                }
                for _ in 0..pauses {
                    std::hint::spin_loop();
                }
                // More and more pauses, so that what is there at once is seen at once.
                pauses = (pauses * 2).min(PAUSES);
            }
            let started = *started.get_or_insert_with(Instant::now);
            if started.elapsed() >= most {
                return Err(started);
            }
        }
    }

    /// It did not help, and what was awaited came so much later.
    pub(crate) fn slept(&mut self, took: Duration) {
        self.asked = 0;
        self.naps = if took < TWO_NAPS { self.naps.wrapping_add(1) } else { 0 };
        // A short nap says that looking longer would have helped; a long one, that it was in vain.
        self.budget = if took < NAP {
            (self.budget * 2).min(LONGEST)
        } else {
            (self.budget / 2).max(SHORTEST)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_looks_for_what_cannot_come() {
        let mut spin = Spin::new();
        assert!(spin.until(1, 1, || unreachable!("on the same processor")).is_err());
        assert!(spin.until(1, 0, || unreachable!("nowhere")).is_err());
    }

    #[test]
    fn the_time_follows_from_what_it_was_good_for() {
        let mut spin = Spin::new();
        for _ in 0..20 {
            assert!(spin.until(1, 2, || false).is_err());
            spin.slept(Duration::from_secs(1));
        }
        assert_eq!(spin.budget, SHORTEST);
        for _ in 0..20 {
            assert!(spin.until(1, 2, || true).is_ok());
        }
        assert_eq!(spin.budget, LONGEST);
        // Two sides that wake each other again and again look longer once in a while.
        let looked = |spin: &mut Spin| {
            let started = Instant::now();
            assert!(spin.until(1, 2, || false).is_err());
            spin.slept(PROBE);
            started.elapsed()
        };
        let long = (0..2 * EVERY).filter(|_| looked(&mut spin) >= PROBE).count();
        assert!(long >= 1, "it never looked longer");
    }
}
