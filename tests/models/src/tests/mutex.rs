//! The mutex.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::for_each_death;
use crate::backend::{Plain, explore};
use crate::sync::raw::mutex::{NotTaken, Taken, lock, unlock};
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust::{RobustCell, WAITERS};
use crate::world::{End, World};

struct Counter {
    cell: RobustCell,
    count: Plain,
}

fn counter() -> Arc<Counter> {
    Arc::new(Counter { cell: RobustCell::new(), count: Plain::new(0) })
}

fn add(counter: &Counter) {
    lock(&counter.cell, Deadline::Never).expect("the lock");
    counter.count.set(counter.count.get() + 1);
    unlock(&counter.cell);
}

#[test]
fn one_at_a_time() {
    explore(3, || {
        let world = World::new();
        let counter = counter();
        let others = [2, 3].map(|tid| {
            let counter = Arc::clone(&counter);
            world.process(tid, move || add(&counter))
        });
        add(&counter);
        for other in others {
            assert_eq!(other.join().expect("join"), End::Done);
        }
        add(&counter);
        assert_eq!(counter.count.get(), 4);
    });
}

#[test]
fn who_dies_anywhere_holds_nobody_up() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let counter = counter();
        let victim = {
            let counter = Arc::clone(&counter);
            world.victim(2, dies_at, move || add(&counter))
        };
        let other = {
            let counter = Arc::clone(&counter);
            world.process(3, move || add(&counter))
        };
        add(&counter);
        let end = victim.join().expect("join");
        assert_eq!(other.join().expect("join"), End::Done);
        add(&counter);
        end != End::Done
    });
}

#[test]
fn the_death_of_a_holder_is_told_once() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let counter = counter();
        let victim = {
            let counter = Arc::clone(&counter);
            world.victim(2, dies_at, move || add(&counter))
        };
        let taken = lock(&counter.cell, Deadline::Never).expect("the lock");
        unlock(&counter.cell);
        let end = victim.join().expect("join");
        let taken = [taken, lock(&counter.cell, Deadline::Never).expect("the lock")];
        let told = taken.iter().filter(|taken| **taken == Taken::FromDead).count();
        assert_eq!(told, usize::from(matches!(end, End::Died { marked: 1, .. })));
        end != End::Done
    });
}

/// Two sleep; the one who is woken dies or not, somebody else is faster; the other must not sleep
/// on.
#[test]
fn a_wake_up_is_not_lost_with_who_dies() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let counter = counter();
        lock(&counter.cell, Deadline::Never).expect("the lock");
        let victim = {
            let counter = Arc::clone(&counter);
            world.victim(2, dies_at, move || add(&counter))
        };
        let other = {
            let counter = Arc::clone(&counter);
            world.process(3, move || add(&counter))
        };
        unlock(&counter.cell);
        add(&counter);
        let end = victim.join().expect("join");
        assert_eq!(other.join().expect("join"), End::Done);
        end != End::Done
    });
}

/// The mark of sleepers goes away when nobody sleeps, not when somebody has come meanwhile.
#[test]
fn the_mark_stays_with_who_sleeps() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let counter = counter();
        lock(&counter.cell, Deadline::Never).expect("the lock");
        // As one leaves it who slept and gave up.
        counter.cell.word.swap(WAITERS | 1, Ordering::SeqCst);
        let victim = {
            let counter = Arc::clone(&counter);
            world.victim(2, dies_at, move || add(&counter))
        };
        let others = [3, 4].map(|tid| {
            let counter = Arc::clone(&counter);
            world.process(tid, move || add(&counter))
        });
        unlock(&counter.cell);
        add(&counter);
        let end = victim.join().expect("join");
        for other in others {
            assert_eq!(other.join().expect("join"), End::Done);
        }
        end != End::Done
    });
}

/// The same with one who gives up.
#[test]
fn a_wake_up_is_not_lost_with_who_gives_up() {
    explore(2, || {
        let world = World::new();
        let counter = counter();
        let deadline = Deadline::At(1);
        lock(&counter.cell, Deadline::Never).expect("the lock");
        let hasty = {
            let counter = Arc::clone(&counter);
            world.process(2, move || match lock(&counter.cell, deadline) {
                Ok(_) => {
                    unlock(&counter.cell);
                }
                Err(why) => assert_eq!(why, NotTaken::Busy),
            })
        };
        let other = {
            let counter = Arc::clone(&counter);
            world.process(3, move || add(&counter))
        };
        unlock(&counter.cell);
        lock(&counter.cell, Deadline::Never).expect("the lock");
        deadline.come();
        unlock(&counter.cell);
        hasty.join().expect("join");
        assert_eq!(other.join().expect("join"), End::Done);
    });
}

#[test]
fn nobody_waits_for_itself() {
    explore(1, || {
        let _world = World::new();
        let cell = RobustCell::new();
        lock(&cell, Deadline::Never).expect("the lock");
        assert_eq!(lock(&cell, Deadline::Never), Err(NotTaken::Own));
        unlock(&cell);
        assert_eq!(lock(&cell, Deadline::Now), Ok(Taken::Clean));
    });
}
