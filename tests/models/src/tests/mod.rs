//! What must hold in every order of steps, whoever dies at which.

mod event;
mod gate;
mod growable;
mod members;
mod mutex;
mod permits;
mod pool;
mod queue;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::backend::{dial, explore};

/// Runs `body` once for every step at which a process can die, which it is given; and once without
/// a death.
///
/// `body` says whether its victim died.
fn for_each_death(preemptions: usize, body: fn(usize) -> bool) {
    let (mut all, mut survived) = (0, 0);
    // Miri takes its time for each step.
    let stride = if cfg!(miri) { 1 + dial("MULTIPROC_MODELS_STRIDE", 6) } else { 1 };
    for dies_at in (1..).step_by(stride) {
        let died = Arc::new(AtomicBool::new(false));
        let (seen, runs) = (Arc::clone(&died), Arc::new(AtomicUsize::new(0)));
        let ran = Arc::clone(&runs);
        explore(preemptions, move || {
            ran.fetch_add(1, Ordering::SeqCst);
            if body(dies_at) {
                seen.store(true, Ordering::SeqCst);
            }
        });
        all += runs.load(Ordering::SeqCst);
        survived = if died.load(Ordering::SeqCst) { 0 } else { survived + 1 };
        // One order alone says little: the process may have come to a short way through.
        if survived == if cfg!(feature = "loom") { 1 } else { 2 } {
            println!("{dies_at} deaths, {all} runs");
            assert!(dies_at > 1 || cfg!(not(feature = "loom")), "nobody died anywhere");
            return;
        }
    }
}
