//! Readers and writers.

use std::sync::Arc;

use super::for_each_death;
use crate::backend::Plain;
use crate::sync::error::AcquireError;
use crate::sync::rwlock::{ReadGuard, RwLock, WriteGuard};
use crate::world::{End, World};

/// A lock with what it protects, which the checkers watch.
struct Protected {
    lock: RwLock,
    number: Plain,
}

impl Protected {
    fn new() -> Arc<Protected> {
        Arc::new(Protected { lock: RwLock::new().expect("a lock"), number: Plain::new(0) })
    }

    fn read(&self) -> ReadGuard<'_> {
        self.lock.read().or_else(AcquireError::recover).expect("the lock")
    }

    fn write(&self) -> WriteGuard<'_> {
        self.lock.write().or_else(AcquireError::recover).expect("the lock")
    }

    fn look(&self) -> u64 {
        let _guard = self.read();
        self.number.get()
    }

    fn add(&self) {
        let _guard = self.write();
        self.number.set(self.number.get() + 1);
    }
}

fn look(shared: &Arc<Protected>) -> impl FnOnce() + Send + 'static {
    let shared = Arc::clone(shared);
    move || {
        shared.look();
    }
}

fn add(shared: &Arc<Protected>) -> impl FnOnce() + Send + 'static {
    let shared = Arc::clone(shared);
    move || shared.add()
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

#[test]
fn nobody_reads_while_another_writes() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let shared = Protected::new();
        let victim = world.victim(2, dies_at, add(&shared));
        let reader = world.process(3, look(&shared));
        let end = victim.join().expect("join");
        reader.join().expect("join");
        assert!(shared.look() == 1 || end != End::Done);
        end != End::Done
    });
}

#[test]
fn a_reader_that_dies_lets_writers_in() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let shared = Protected::new();
        let victim = world.victim(2, dies_at, look(&shared));
        let writer = world.process(3, add(&shared));
        let end = victim.join().expect("join");
        writer.join().expect("join");
        assert_eq!(shared.look(), 1);
        assert!(!shared.lock.is_poisoned(), "poisoned by a reader");
        end != End::Done
    });
}

#[test]
fn two_writers_take_turns_whoever_dies() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let shared = Protected::new();
        let victim = world.victim(2, dies_at, add(&shared));
        let writer = world.process(3, add(&shared));
        let reader = world.process(4, look(&shared));
        let end = victim.join().expect("join");
        writer.join().expect("join");
        reader.join().expect("join");
        assert!(shared.look() == 2 || end != End::Done);
        end != End::Done
    });
}

#[test]
fn who_reads_twice_does_not_wait_for_a_writer() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let shared = Protected::new();
        let victim = {
            let shared = Arc::clone(&shared);
            world.victim(2, dies_at, move || {
                let outer = shared.read();
                let inner = shared.read();
                drop(outer);
                shared.number.get();
                drop(inner);
            })
        };
        let writer = world.process(3, add(&shared));
        let end = victim.join().expect("join");
        writer.join().expect("join");
        assert_eq!(shared.look(), 1);
        end != End::Done
    });
}
