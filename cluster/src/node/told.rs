//! What workers have told of spans and events, until it goes to the owner. What they have logged
//! counts as well for how much may wait.
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
use tokio::sync::mpsc::UnboundedSender;

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
        self.add(told.len());
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(Item { hand, job, told });
        drop(queue);
        self.news.notify_one();
    }

    fn has_room(&self) -> bool {
        // Relaxed, here and elsewhere: an estimate.
        self.bytes.load(Ordering::Relaxed) < ROOM
    }
}

impl Waiting {
    /// Enters bytes of a log record that waits elsewhere.
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Strikes out bytes of a log record that was said.
    pub(crate) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits until something was told, which may have been taken meanwhile.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn pop(&self) -> Option<Item> {
        let item = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.remove(item.told.len());
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

    /// A log record of so many bytes was said.
    pub(crate) fn logged(&self, bytes: usize) {
        self.waiting.remove(bytes);
    }

    /// The owner is done with as much.
    pub(crate) fn took(&mut self, cost: u64) {
        self.out = self.out.saturating_sub(cost);
    }

    /// Takes what is to be said now, encoded. `life_of` gives the life of a hand in which it has
    /// told something, with that; `None` if it is not to be said.
    pub(crate) fn take(
        &mut self,
        mut life_of: impl FnMut(usize, u64, Vec<u8>) -> Option<(u32, Vec<u8>)>,
    ) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        let mut batch: Option<Batch> = None;
        while self.out < wire::WINDOW {
            let Some(Item { hand, job, told }) = self.waiting.pop() else { break };
            let Some((life, told)) = life_of(hand, job, told) else { continue };
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

/// Sends log records of tasks to the owner.
pub(super) struct Forwarder {
    pub(super) records: UnboundedSender<ToOwner>,
    /// What waits is counted there, with what else workers say.
    pub(super) waiting: Arc<Waiting>,
}

impl log::Log for Forwarder {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Not those of the client, which would make more of them by being sent.
        !["async_nats", "rustls", "tokio"].iter().any(|name| metadata.target().starts_with(name))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let message = record.args().to_string();
            self.waiting.add(message.len());
            let (level, target) = (record.level() as u8, record.target().to_owned());
            let _ = self.records.send(ToOwner::Record { level, target, message });
        }
    }

    fn flush(&self) {
        // Records go with everything else.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hands, lives and numbers of messages of what was said.
    fn said(all: &[Vec<u8>]) -> Vec<(u32, u32, usize)> {
        let decoded = all.iter().map(|one| match wire::decode::<ToOwner>(one) {
            Some((ToOwner::Told { hand, life, lengths }, tail)) => {
                assert!(wire::split(&lengths, tail).is_some());
                (hand, life, lengths.len())
            }
            other => panic!("{other:?}"),
        });
        decoded.collect()
    }

    #[test]
    fn what_follows_goes_together_and_what_is_over_goes_nowhere() {
        let waiting = Arc::new(Waiting::default());
        let mut told = Told::new(Arc::clone(&waiting));
        for (hand, job) in [(0, 1), (0, 1), (1, 1), (0, 9), (0, 1)] {
            waiting.pass_on(hand, job, vec![7; 3]);
        }
        let said = said(&told.take(|_, job, told| (job < 9).then_some((4, told))));
        assert_eq!(said, [(0, 4, 2), (1, 4, 1), (0, 4, 1)]);
        assert_eq!(waiting.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(told.out, wire::cost(4, 12));
    }

    #[test]
    fn no_more_goes_out_than_the_owner_takes_nor_waits_than_there_is_room_for() {
        let waiting = Arc::new(Waiting::default());
        let mut told = Told::new(Arc::clone(&waiting));
        let mut count = 0;
        let take = |told: &mut Told| {
            let said = said(&told.take(|_, _, told| Some((1, told))));
            said.iter().map(|(_, _, count)| count).sum::<usize>()
        };
        let mut out = 0;
        while waiting.has_room() {
            waiting.pass_on(0, 1, vec![0; 1000]);
            count += 1;
            out += take(&mut told);
        }
        let (window, room) = (wire::WINDOW as usize / 1064, ROOM / 1000);
        assert_eq!((out, count), (window + 1, window + 1 + room + 1));
        assert_eq!(take(&mut told), 0);
        told.took(10 * wire::cost(1, 1000));
        assert_eq!(take(&mut told), 10);
        assert!(waiting.has_room());
        waiting.add(ROOM);
        assert!(!waiting.has_room());
        waiting.remove(ROOM);
        assert!(waiting.has_room());
        // More than was out is not believed to be.
        told.took(u64::MAX);
        assert_eq!(told.out, 0);
    }
}
