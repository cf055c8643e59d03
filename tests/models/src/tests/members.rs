//! What stands on tables of members: conditions, barriers.

use std::sync::Arc;

use super::for_each_death;
use crate::backend::Plain;
use crate::sync::barrier::{Barrier, BarrierError};
use crate::sync::condition::Condition;
use crate::sync::error::AcquireError;
use crate::sync::lock::LockGuard;
use crate::world::{End, World};

struct Tokens {
    condition: Condition,
    tokens: Plain,
}

impl Tokens {
    fn lock(&self) -> LockGuard<'_> {
        self.condition.acquire().or_else(AcquireError::recover).expect("the lock")
    }

    fn take(&self) {
        let mut guard = self.lock();
        while self.tokens.get() == 0 {
            match self.condition.wait(&mut guard) {
                Ok(()) | Err(AcquireError::Poisoned(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.tokens.set(self.tokens.get() - 1);
    }

    fn give(&self) {
        let _guard = self.lock();
        self.tokens.set(self.tokens.get() + 1);
        self.condition.notify_one();
    }
}

#[test]
fn a_notification_is_passed_on_by_who_dies() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let shared = Arc::new(Tokens {
            condition: Condition::new().expect("a condition"),
            tokens: Plain::new(0),
        });
        let take = || {
            let shared = Arc::clone(&shared);
            move || shared.take()
        };
        let victim = world.victim(2, dies_at, take());
        let other = world.process(3, take());
        world.settle(2);
        shared.give();
        // If it died while it waited, the other has to come by the token without our help.
        if !matches!(world.first_end(), (2, End::Died { members: 1, .. })) {
            shared.give();
        }
        let end = victim.join().expect("join");
        other.join().expect("join");
        end != End::Done
    });
}

#[test]
fn who_dies_over_a_notification_keeps_nobody_from_the_next() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let shared = Arc::new(Tokens {
            condition: Condition::new().expect("a condition"),
            tokens: Plain::new(0),
        });
        let other = {
            let shared = Arc::clone(&shared);
            world.process(3, move || shared.take())
        };
        let victim = {
            let shared = Arc::clone(&shared);
            world.victim(2, dies_at, move || shared.give())
        };
        let end = victim.join().expect("join");
        if end != End::Done {
            shared.give();
        }
        other.join().expect("join");
        end != End::Done
    });
}

#[test]
fn a_barrier_breaks_when_somebody_dies() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let barrier = Arc::new(Barrier::new(2).expect("a barrier"));
        let victim = {
            let barrier = Arc::clone(&barrier);
            world.victim(2, dies_at, move || {
                let _ = barrier.wait();
            })
        };
        let other = {
            let barrier = Arc::clone(&barrier);
            world.process(3, move || match barrier.wait() {
                Ok(_) | Err(BarrierError::Broken) => {}
                Err(error) => panic!("{error}"),
            })
        };
        let end = victim.join().expect("join");
        if matches!(end, End::Died { members: 0, .. }) {
            // It had not come, or had gone.
            barrier.abort();
        }
        other.join().expect("join");
        end != End::Done
    });
}
