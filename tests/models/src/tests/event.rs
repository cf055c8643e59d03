//! The event.

use std::sync::Arc;

use super::for_each_death;
use crate::backend::{Plain, explore};
use crate::sync::raw::event::{clear, is_set, set, wait};
use crate::sys::atomic::AtomicU32;
use crate::sys::wait::poll::Deadline;
use crate::world::{End, World};

fn word() -> Arc<AtomicU32> {
    Arc::new(AtomicU32::new(0))
}

#[test]
fn who_waits_sees_what_was_before_it_was_set() {
    explore(3, || {
        let world = World::new();
        let shared = Arc::new((AtomicU32::new(0), Plain::new(0)));
        let others = [2, 3].map(|tid| {
            let shared = Arc::clone(&shared);
            world.process(tid, move || {
                assert!(wait(&shared.0, Deadline::Never));
                assert_eq!(shared.1.get(), 7);
            })
        });
        shared.1.set(7);
        set(&shared.0);
        for other in others {
            assert_eq!(other.join().expect("join"), End::Done);
        }
    });
}

#[test]
fn who_dies_over_setting_it_leaves_nobody_asleep() {
    for_each_death(3, |dies_at| {
        let world = World::new();
        let word = word();
        let waiter = {
            let word = Arc::clone(&word);
            world.process(3, move || assert!(wait(&word, Deadline::Never)))
        };
        let victim = {
            let word = Arc::clone(&word);
            world.victim(2, dies_at, move || set(&word))
        };
        let end = victim.join().expect("join");
        if !is_set(&word) {
            set(&word);
        }
        waiter.join().expect("join");
        end != End::Done
    });
}

#[test]
fn who_dies_waiting_harms_nobody() {
    for_each_death(2, |dies_at| {
        let world = World::new();
        let word = word();
        let waiter = {
            let word = Arc::clone(&word);
            world.process(3, move || assert!(wait(&word, Deadline::Never)))
        };
        let victim = {
            let word = Arc::clone(&word);
            world.victim(2, dies_at, move || {
                wait(&word, Deadline::Never);
            })
        };
        set(&word);
        let end = victim.join().expect("join");
        waiter.join().expect("join");
        end != End::Done
    });
}

#[test]
fn who_waits_goes_on_however_soon_it_is_cleared() {
    explore(3, || {
        let world = World::new();
        let word = word();
        let waiter = {
            let word = Arc::clone(&word);
            world.process(2, move || assert!(wait(&word, Deadline::Never)))
        };
        // It begins to wait before or after the first round; then the second is for it.
        set(&word);
        clear(&word);
        assert!(!is_set(&word));
        set(&word);
        waiter.join().expect("join");
    });
}

#[test]
fn two_set_it_and_one_clears_it() {
    explore(3, || {
        let world = World::new();
        let word = word();
        let setter = {
            let word = Arc::clone(&word);
            world.process(2, move || set(&word))
        };
        let waiter = {
            let word = Arc::clone(&word);
            world.process(3, move || assert!(wait(&word, Deadline::Never)))
        };
        clear(&word);
        set(&word);
        setter.join().expect("join");
        waiter.join().expect("join");
        assert!(is_set(&word));
    });
}
