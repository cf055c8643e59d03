//! Words that the kernel knows, and numbers that a lock protects. Whoever is dead changes neither.

use std::sync::atomic::Ordering;

use crate::backend::{self, Plain};
use crate::world::{is_dead, step};

#[derive(Debug)]
pub(crate) struct AtomicU32(pub(crate) backend::AtomicU32);

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> AtomicU32 {
        AtomicU32(backend::AtomicU32::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u32 {
        if is_dead() { 0 } else { self.0.load(ordering) }
    }

    pub(crate) fn store(&self, value: u32, ordering: Ordering) {
        if step() {
            self.0.store(value, ordering);
        }
    }

    pub(crate) fn swap(&self, value: u32, ordering: Ordering) -> u32 {
        if step() { self.0.swap(value, ordering) } else { 0 }
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        if step() { self.0.compare_exchange(current, new, success, failure) } else { Ok(current) }
    }
}

/// In the place of `AtomicU64` in a table: it is used with the lock held only, which the checkers
/// check.
#[derive(Debug)]
pub(crate) struct Locked(Plain, std::sync::atomic::AtomicU64);

impl Locked {
    pub(crate) fn new() -> Locked {
        Locked(Plain::new(0), std::sync::atomic::AtomicU64::new(0))
    }

    /// What was stored last, for the judge of a test, whoever holds the lock.
    pub(crate) fn peek(&self) -> u64 {
        self.1.load(Ordering::SeqCst)
    }

    pub(crate) fn load(&self, _: Ordering) -> u64 {
        if is_dead() { 0 } else { self.0.get() }
    }

    pub(crate) fn store(&self, value: u64, _: Ordering) {
        if step() {
            self.0.set(value);
            self.1.store(value, Ordering::SeqCst);
        }
    }
}
