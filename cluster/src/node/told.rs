//! What workers have told of spans and events, until it goes to the owner.
//!
//! The owner passes it on to its subscriber, which may be slower than workers tell. So there is a
//! window: the owner says what it is done with ([`ToStation::Took`](crate::wire::ToStation)), and
//! no more than [`wire::WINDOW`] is on its way. What does not fit waits here, and if that is much,
//! the pool leaves the rest with its workers, which wait for a moment and then leave it out, as
//! they do on the owner's machine.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use multiproc::station::PassOn;
use tokio::sync::Notify;

use super::bench::Bench;
use crate::wire::{self, ToOwner};

/// Bytes that wait here, beside what the pool takes from its workers at once.
const ROOM: usize = 1 << 20;

/// Bytes that go in one message, unless the first is longer.
const MESSAGE: usize = 64 << 10;

/// One thing that a worker has told.
struct Item {
    hand: usize,
    job: u64,
    told: Vec<u8>,
}

/// What waits, between the pool's thread and the station's.
#[derive(Default)]
pub(crate) struct Waiting {
    queue: Mutex<VecDeque<Item>>,
    bytes: AtomicUsize,
    news: Notify,
}

impl PassOn for Waiting {
    fn pass_on(&self, hand: usize, job: u64, told: Vec<u8>) {
        // Relaxed: an estimate.
        self.bytes.fetch_add(told.len(), Ordering::Relaxed);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(Item { hand, job, told });
        drop(queue);
        self.news.notify_one();
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < ROOM
    }
}

impl Waiting {
    /// Waits until something was told, which may have been taken meanwhile.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn pop(&self) -> Option<Item> {
        let item = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.bytes.fetch_sub(item.told.len(), Ordering::Relaxed);
        Some(item)
    }
}

/// What one hand has told, about to be said.
struct Batch {
    hand: usize,
    life: u32,
    told: Vec<Vec<u8>>,
    bytes: usize,
}

/// What goes to the owner, within the window.
pub(crate) struct Told {
    waiting: Arc<Waiting>,
    /// What is on its way to the owner's subscriber, by its [cost](wire::cost).
    out: u64,
}

impl Told {
    pub(crate) fn new(waiting: Arc<Waiting>) -> Told {
        Told { waiting, out: 0 }
    }

    /// The owner is done with as much.
    pub(crate) fn took(&mut self, cost: u64) {
        self.out = self.out.saturating_sub(cost);
    }

    /// Takes what is to be said now, encoded.
    pub(crate) fn take(&mut self, bench: &mut Bench) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        let mut batch: Option<Batch> = None;
        while self.out < wire::WINDOW {
            let Some(Item { hand, job, told }) = self.waiting.pop() else { break };
            let Some((life, told)) = bench.life_that_tells(hand, job, told) else { continue };
            let fits = |batch: &Batch| {
                (batch.hand, batch.life) == (hand, life) && batch.bytes + told.len() <= MESSAGE
            };
            if !batch.as_ref().is_some_and(fits) {
                said.extend(batch.take().map(say));
            }
            self.out += wire::cost(1, told.len());
            let batch =
                batch.get_or_insert_with(|| Batch { hand, life, told: Vec::new(), bytes: 0 });
            batch.bytes += told.len();
            batch.told.push(told);
        }
        said.extend(batch.map(say));
        said
    }

    /// Encodes what a hand told before it was taken.
    pub(crate) fn say_early(&mut self, hand: usize, life: u32, told: Vec<Vec<u8>>) -> Vec<u8> {
        let bytes = told.iter().map(Vec::len).sum();
        self.out += wire::cost(told.len(), bytes);
        say(Batch { hand, life, told, bytes })
    }
}

/// Encodes what a hand has told.
fn say(batch: Batch) -> Vec<u8> {
    let Batch { hand, life, told, .. } = batch;
    let lengths = told.iter().map(|one| u32::try_from(one.len()).unwrap_or(u32::MAX)).collect();
    let hand = u32::try_from(hand).unwrap_or(u32::MAX);
    let tail: Vec<&[u8]> = told.iter().map(Vec::as_slice).collect();
    wire::encode(&ToOwner::Told { hand, life, lengths }, &tail)
}
