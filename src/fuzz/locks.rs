//! Locks and their like, to the memory of which somebody writes anything, between calls and during
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::input::Input;
use crate::codec;
use crate::sync::outstanding::Outstanding;
use crate::sys::memory::shared::{Shared, SharedFile};
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust::{self, OWNER};
use crate::{Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, RwLock, Semaphore};

const MOMENT: Duration = Duration::from_micros(20);

/// Number of calls at most: each may wait for a moment, and longer for a table that somebody keeps
/// locked.
const CALLS: usize = 24;

/// Byte 0: what it is; byte 1: whether somebody writes all the time; then the calls.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 10;
    let is_raced = input.byte() & 15 == 0;
    // One that is held all the while, with a list that leads from ours to theirs.
    let outer = Lock::new().expect("a lock");
    let _held = outer.try_acquire();
    match kind {
        0 => {
            let lock = Lock::new().expect("a lock");
            let mut guards = Vec::new();
            with(&lock, is_raced, &mut input, |_, call, _| match call {
                0 => guards.extend(lock.try_acquire().ok()),
                1 => guards.extend(lock.acquire_timeout(MOMENT).ok()),
                2 => drop(guards.pop()),
                3 if !guards.is_empty() => std::mem::forget(guards.swap_remove(0)),
                _ => {
                    let _ = (lock.locked(), lock.is_poisoned(), format!("{lock}"));
                    lock.clear_poison();
                }
            });
        }
        1 => {
            let lock = RLock::new().expect("a lock");
            let mut guards = Vec::new();
            with(&lock, is_raced, &mut input, |_, call, _| match call {
                0 => guards.extend(lock.try_acquire().ok()),
                1 => guards.extend(lock.acquire_timeout(MOMENT).ok()),
                2 => drop(guards.pop()),
                3 if !guards.is_empty() => drop(guards.swap_remove(0)),
                _ => drop(format!("{lock}")),
            });
        }
        2 => {
            let semaphore = Semaphore::new(2).expect("a semaphore");
            let mut permits = Vec::new();
            with(&semaphore, is_raced, &mut input, |_, call, _| match call {
                0 => permits.extend(semaphore.try_acquire().ok()),
                1 => permits.extend(semaphore.acquire_timeout(MOMENT).ok()),
                2 => drop(permits.pop()),
                3 => permits.pop().into_iter().for_each(crate::Permit::forget),
                4 => semaphore.release(),
                _ => drop(format!("{semaphore}")),
            });
        }
        3 => {
            let semaphore = BoundedSemaphore::new(2).expect("a semaphore");
            let mut permits = Vec::new();
            with(&semaphore, is_raced, &mut input, |_, call, _| match call {
                0 => permits.extend(semaphore.try_acquire().ok()),
                1 => permits.extend(semaphore.acquire_timeout(MOMENT).ok()),
                2 if !permits.is_empty() => drop(permits.swap_remove(0)),
                3 => drop(semaphore.release()),
                _ => drop(format!("{semaphore}")),
            });
        }
        4 => {
            let lock = RwLock::new().expect("a lock");
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            with(&lock, is_raced, &mut input, |_, call, _| match call {
                0 => reads.extend(lock.try_read().ok()),
                1 => reads.extend(lock.read_timeout(MOMENT).ok()),
                2 => writes.extend(lock.try_write().ok()),
                3 => writes.extend(lock.write_timeout(MOMENT).ok()),
                4 => drop(reads.pop()),
                5 => drop(writes.pop()),
                _ => {
                    let _ = (lock.is_poisoned(), format!("{lock}"));
                    lock.clear_poison();
                }
            });
        }
        5 => {
            let lock = Lock::new().expect("a lock");
            let condition = Condition::with_lock(&lock).expect("a condition");
            let word = memory_of(&lock);
            // Its own table is written to, not its lock: to come back, a wait needs the lock,
            // however long that takes.
            with(&condition, is_raced, &mut input, |_, call, input| match call {
                0 | 1 => {
                    if let Ok(mut guard) = lock.try_acquire() {
                        assert_eq!(
                            word.at::<AtomicU32>(0).load(Ordering::Relaxed) & OWNER,
                            robust::tid()
                        );
                        let _ = condition.wait_timeout(&mut guard, MOMENT);
                    }
                }
                2 => condition.notify(input.below(3)),
                3 => condition.notify_all(),
                _ => drop(format!("{condition}")),
            });
        }
        6 => {
            let barrier = Barrier::new(1 + u32::from(input.byte() & 3)).expect("a barrier");
            with(&barrier, is_raced, &mut input, |_, call, _| match call {
                0 | 1 => drop(barrier.wait_timeout(MOMENT)),
                2 => barrier.abort(),
                3 => barrier.reset(),
                _ => drop(format!("{barrier}")),
            });
        }
        7 => {
            let event = Event::new().expect("an event");
            with(&event, is_raced, &mut input, |_, call, _| match call {
                0 | 1 => {
                    let _ = event.wait_timeout(MOMENT);
                }
                2 => event.set(),
                3 => event.clear(),
                _ => drop(format!("{event}")),
            });
        }
        8 => {
            let outstanding = Outstanding::new().expect("a table");
            with(&outstanding, is_raced, &mut input, |_, call, _| match call {
                0 | 1 => {
                    let _ = outstanding.add();
                }
                2 => {
                    let _ = outstanding.remove();
                }
                3 => {
                    let _ = outstanding.wait_empty(Deadline::after(MOMENT), || true);
                }
                _ => {
                    let _ = outstanding.count();
                }
            });
        }
        _ => {
            let locks = Lock::many(12).expect("locks");
            let mut guards = Vec::new();
            with(&locks[0], is_raced, &mut input, |_, call, input| match call {
                0..=2 => guards.extend(locks[input.below(12)].try_acquire().ok()),
                3 if !guards.is_empty() => {
                    let place = input.below(guards.len());
                    drop(guards.swap_remove(place));
                }
                _ => drop(guards.pop()),
            });
        }
    }
}

/// The memory of an object, as another process has it: the last that it brings.
fn memory_of(object: &impl Serialize) -> Arc<Shared> {
    let parcel = codec::encode(object).expect("a handle");
    let file = SharedFile::open(parcel.fds.last().expect("memory").clone()).expect("memory");
    Arc::new(file.map_all().expect("memory"))
}

fn with(
    object: &impl Serialize,
    is_raced: bool,
    input: &mut Input<'_>,
    mut call: impl FnMut(&Shared, u8, &mut Input<'_>),
) {
    let memory = memory_of(object);
    let mut calls = |input: &mut Input<'_>| {
        for _ in 0..CALLS {
            if input.is_empty() {
                return;
            }
            match input.byte() % 12 {
                number @ 0..=6 => call(&memory, number, input),
                _ => write(&memory, place(&memory, input), input.word()),
            }
        }
    };
    if !is_raced {
        return calls(input);
    }
    let writes: Vec<_> = (0..8).map(|_| (place(&memory, input), input.word())).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                writes.iter().for_each(|(place, word)| write(&memory, *place, *word));
            }
        });
        calls(input);
        is_over.store(true, Ordering::Relaxed);
    });
}

/// A place in one of the first cells: a word of 4 bytes.
fn place(memory: &Shared, input: &mut Input<'_>) -> usize {
    let most = (memory.length() / 4).min(16 * 6);
    // More often the first words of a cell than its middle.
    let place = input.below(256);
    if place < 64 { (place % 6 * 16).min(most - 1) } else { place % most }
}

fn write(memory: &Shared, place: usize, word: u64) {
    if word > u64::from(u32::MAX) && place.is_multiple_of(2) && place * 4 + 8 <= memory.length() {
        memory.at::<AtomicU64>(place * 4).store(word, Ordering::Relaxed);
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "any word will do")]
        memory.at::<AtomicU32>(place * 4).store(word as u32, Ordering::Relaxed);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let calls = [
        0, 7, 0, 0, 0, 0, 2, 1, 7, 0, 4, 2, 1, 2, 7, 0, 5, 1, 1, 0, 3, 4, 5, 7, 65, 2, 9, 0, 6, 3,
        0, 4, 2,
    ];
    let honest = [0, 1, 2, 3, 0, 4, 2, 5, 6, 0, 0, 1, 2, 2, 3, 4];
    let writes: Vec<u8> = (0..8).flat_map(|step| [step * 7, step, step]).collect();
    (0..10)
        .flat_map(|kind| {
            [
                [&[kind, 1], calls.as_slice()].concat(),
                [&[kind, 1], honest.as_slice()].concat(),
                [&[kind, 0], writes.as_slice(), &honest].concat(),
            ]
        })
        .collect()
}
