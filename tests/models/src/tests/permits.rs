//! Semaphores.

use std::sync::Arc;

use super::for_each_death;
use crate::sync::semaphore::Semaphore;
use crate::world::{End, World};

fn take(semaphore: &Arc<Semaphore>) -> impl FnOnce() + Send + 'static {
    let semaphore = Arc::clone(semaphore);
    move || drop(semaphore.acquire().expect("a permit"))
}

#[test]
fn a_permit_comes_back_from_who_dies() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(1).expect("a semaphore"));
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
        let other = world.process(3, take(&semaphore));
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

#[test]
fn who_is_woken_and_dies_passes_the_permit_on() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(0).expect("a semaphore"));
        let victim = world.victim(2, dies_at, take(&semaphore));
        let other = world.process(3, take(&semaphore));
        world.settle(2);
        semaphore.release();
        let end = victim.join().expect("join");
        other.join().expect("join");
        assert_eq!(semaphore.value(), 1);
        end != End::Done
    });
}

#[test]
fn who_is_woken_by_a_release_and_dies_passes_the_permit_on() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(1).expect("a semaphore"));
        let permit = semaphore.acquire().expect("a permit");
        let victim = world.victim(2, dies_at, take(&semaphore));
        let other = world.process(3, take(&semaphore));
        world.settle(2);
        drop(permit);
        let end = victim.join().expect("join");
        other.join().expect("join");
        assert_eq!(semaphore.value(), 1);
        end != End::Done
    });
}

#[test]
fn two_permits_are_for_two() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(1).expect("a semaphore"));
        let victim = {
            let semaphore = Arc::clone(&semaphore);
            world.victim(2, dies_at, move || {
                drop(semaphore.acquire().expect("a permit"));
                semaphore.release();
            })
        };
        let other = world.process(3, take(&semaphore));
        let end = victim.join().expect("join");
        other.join().expect("join");
        let value = semaphore.value();
        assert!(value == 2 || value == 1 && end != End::Done, "{value} permits");
        end != End::Done
    });
}

#[test]
fn a_permit_that_is_forgotten_is_forgotten_once() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(2).expect("a semaphore"));
        let victim = {
            let semaphore = Arc::clone(&semaphore);
            world.victim(2, dies_at, move || semaphore.acquire().expect("a permit").forget())
        };
        let other = world.process(3, take(&semaphore));
        let end = victim.join().expect("join");
        other.join().expect("join");
        let value = semaphore.value();
        assert!(value == 1 || value == 2 && end != End::Done, "{value} permits");
        // All that are there can be had, and no more.
        let permits = || semaphore.try_acquire().ok();
        let held: Vec<_> = std::iter::from_fn(permits).collect();
        assert_eq!(held.len() as u64, value);
        drop(held);
        // What was taken out can be put back.
        semaphore.release();
        assert_eq!(semaphore.value(), value + 1);
        end != End::Done
    });
}

#[test]
fn permits_for_which_there_are_no_cells_are_counted() {
    for_each_death(1, |dies_at| {
        let world = World::new();
        let semaphore = Arc::new(Semaphore::new(20).expect("a semaphore"));
        let victim = {
            let semaphore = Arc::clone(&semaphore);
            world.victim(2, dies_at, move || {
                semaphore.acquire().expect("a permit").forget();
                semaphore.release();
            })
        };
        let end = victim.join().expect("join");
        let value = semaphore.value();
        assert!(value == 20 || value == 19 && end != End::Done, "{value} permits");
        end != End::Done
    });
}
