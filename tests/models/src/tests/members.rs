//! What stands on tables of members: semaphores, conditions, barriers, readers and writers.

use std::sync::Arc;

use super::for_each_death;
use crate::backend::Plain;
use crate::sync::barrier::{Barrier, BarrierError};
use crate::sync::condition::Condition;
use crate::sync::error::AcquireError;
use crate::sync::lock::LockGuard;
use crate::sync::rwlock::RwLock;
use crate::sync::semaphore::Semaphore;
use crate::world::{End, World};

#[test]
fn a_permit_comes_back_from_who_dies() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(1).expect("a semaphore"));
        let take = |semaphore: &Arc<Semaphore>| {
            let semaphore = Arc::clone(semaphore);
            move || drop(semaphore.acquire().expect("a permit"))
        };
        let victim = world.victim(2, dies_at, take(&semaphore));
        let other = world.process(3, take(&semaphore));
        let end = victim.join().expect("join");
        other.join().expect("join");
        assert_eq!(semaphore.value(), 1);
        end != End::Done
    });
}

#[test]
fn who_dies_over_adding_a_permit_leaves_nobody_asleep() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(0).expect("a semaphore"));
        let other = {
            let semaphore = Arc::clone(&semaphore);
            world.process(3, move || drop(semaphore.acquire().expect("a permit")))
        };
        let victim = {
            let semaphore = Arc::clone(&semaphore);
            world.victim(2, dies_at, move || semaphore.release())
        };
        let end = victim.join().expect("join");
        // If there is one, the other has to come by it without our help.
        if end != End::Done && semaphore.value() == 0 {
            semaphore.release();
        }
        other.join().expect("join");
        end != End::Done
    });
}

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

#[test]
fn a_dead_writer_is_told_of() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let lock = Arc::new(RwLock::new().expect("a lock"));
        let victim = {
            let lock = Arc::clone(&lock);
            world.victim(2, dies_at, move || drop(lock.write().expect("the lock")))
        };
        let reader = {
            let lock = Arc::clone(&lock);
            world.process(3, move || match lock.read() {
                Ok(_) | Err(AcquireError::Poisoned(_)) => {}
                Err(error) => panic!("{error}"),
            })
        };
        let end = victim.join().expect("join");
        reader.join().expect("join");
        end != End::Done
    });
}
