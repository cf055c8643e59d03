//! Sleeping and waking.

use std::ptr;
use std::sync::atomic::Ordering;

use super::poll::Deadline;
use crate::sys::atomic::AtomicU32;
use crate::world::{Kernel, Sleeper, step, world};

pub(crate) const MAX_WORDS: usize = 128;

pub(crate) fn wait(word: &AtomicU32, value: u32, deadline: Deadline) {
    wait_any(&[(word, value)], deadline);
}

pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> bool {
    if !step() {
        return true;
    }
    let world = world();
    let mut kernel = world.kernel.lock().expect("the kernel");
    if words.iter().any(|(word, value)| word.0.load(Ordering::Relaxed) != *value) {
        return true;
    }
    kernel.youngest += 1;
    let number = kernel.youngest;
    let words = words.iter().map(|(word, _)| address(word)).collect();
    kernel.sleepers.push(Sleeper { number, words, is_woken: false });
    world.changed.notify_all();
    let is_over = |kernel: &Kernel| match deadline {
        Deadline::Never => false,
        Deadline::Now => true,
        Deadline::At(deadline) => kernel.over.contains(&deadline),
    };
    let awake = |kernel: &Kernel| {
        kernel.sleepers.iter().any(|sleeper| sleeper.number == number && sleeper.is_woken)
    };
    while !awake(&kernel) && !is_over(&kernel) {
        kernel = world.changed.wait(kernel).expect("the kernel");
    }
    kernel.sleepers.retain(|sleeper| sleeper.number != number);
    true
}

pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    if step() { wake_by_kernel(word, count) } else { 0 }
}

pub(crate) fn set_bit_and_wake(word: &AtomicU32, bit: u32) {
    change_and_wake(word, |word| word.0.fetch_or(bit, Ordering::AcqRel));
}

pub(crate) fn clear_bit_and_wake(word: &AtomicU32, bit: u32) {
    change_and_wake(word, |word| word.0.fetch_and(!bit, Ordering::AcqRel));
}

fn change_and_wake(word: &AtomicU32, change: impl FnOnce(&AtomicU32) -> u32) {
    if !step() {
        return;
    }
    let world = world();
    let mut kernel = world.kernel.lock().expect("the kernel");
    change(word);
    wake_in(&mut kernel, word, u32::MAX);
    world.changed.notify_all();
}

/// Whoever asks, and dead or alive.
pub(crate) fn wake_by_kernel(word: &AtomicU32, count: u32) -> u32 {
    let world = world();
    let woken = wake_in(&mut world.kernel.lock().expect("the kernel"), word, count);
    world.changed.notify_all();
    woken
}

fn wake_in(kernel: &mut Kernel, word: &AtomicU32, count: u32) -> u32 {
    let address = address(word);
    let mut woken = 0;
    for sleeper in &mut kernel.sleepers {
        if woken < count && !sleeper.is_woken && sleeper.words.contains(&address) {
            sleeper.is_woken = true;
            woken += 1;
        }
    }
    woken
}

fn address(word: &AtomicU32) -> usize {
    ptr::from_ref(word).addr()
}
