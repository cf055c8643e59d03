//! The hands of a station: what each has, runs and has done.
//!
//! A hand begins one chunk at a time; the others wait here, where they can be taken back. So what a
//! hand has begun is exact at any moment, and everything behind that was not begun.
//!
//! The pool's own thread, which hears what came of a chunk, has the hand begin the next one at
//! once; the station's thread is told, and passes on what has come meanwhile. Both lock the bench.
//! What came of tasks and how many have begun is taken under one lock, as they have to agree.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use multiproc::elsewhere::Memory;
use multiproc::station::{Chunk, Standing, Station};
use tokio::sync::Notify;

use super::larder::Larder;
use crate::key::{Digest, Id};
use crate::wire::{self, Named, Status, ToOwner};

/// What is kept of what a hand tells before it is taken, at the most.
const KEPT_EARLY: usize = 64;

/// A hand.
#[derive(Default)]
struct Slot {
    life: u32,
    /// Number of tasks that it has begun in this life.
    begun: u64,
    /// How it stands, in all of its lives; its memory of when it was weighed last.
    standing: Standing,
    /// Time that it had spent on tasks before this life, and number of times that its worker had
    /// been replaced. That is known with the first outcome: a worker that was killed at the end of
    /// a life may be replaced in the next.
    busy_before: Duration,
    restarts_before: Option<u64>,
    /// What the owner knows of it in this life.
    told: Standing,
    /// Chunks that it has not begun.
    waiting: VecDeque<(Vec<u8>, Vec<Named>)>,
    running: Option<Running>,
    /// The number of the first chunk that it has begun in this life, in what it tells of tasks.
    first: Option<u64>,
    /// What it has told before it was taken.
    early: Vec<Vec<u8>>,
    /// True once its owner has given it something, and has not dropped it.
    is_taken: bool,
}

impl Slot {
    /// How it stands, as its owner is told.
    fn in_this_life(&self) -> Standing {
        let Standing { busy, restarts, resident } = self.standing;
        let before = self.restarts_before.unwrap_or(restarts);
        Standing {
            busy: busy.saturating_sub(self.busy_before),
            restarts: restarts.saturating_sub(before),
            resident,
        }
    }
}

/// A chunk that runs.
struct Running {
    chunk: Chunk,
    serial: u64,
}

/// All hands.
pub(crate) struct Bench {
    /// Itself, for what is called when something came of a chunk.
    own: Weak<Mutex<Bench>>,
    station: Station,
    larder: Larder,
    slots: Vec<Slot>,
    serial: u64,
    /// Tasks begun by all hands in all lives.
    begun: u64,
    /// Tells the station's thread that there is news.
    is_news: Arc<Notify>,
    /// Messages of each hand that were not told yet; an empty list tells only how it stands.
    news: BTreeMap<usize, Vec<Vec<u8>>>,
    /// True once hands begin nothing more.
    is_draining: bool,
    /// Why a chunk makes no sense, if one did not.
    failure: Option<String>,
}

/// Locks a bench. Nothing waits while it is locked.
pub(crate) fn lock(bench: &Mutex<Bench>) -> MutexGuard<'_, Bench> {
    bench.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    /// The hands of a station, without anything to do. `is_news` is told when something came.
    pub(crate) fn new(
        station: Station,
        hands: usize,
        larder: Larder,
        is_news: Arc<Notify>,
    ) -> Arc<Mutex<Bench>> {
        let slots = std::iter::repeat_with(Slot::default).take(hands).collect();
        Arc::new_cyclic(|own| {
            Mutex::new(Bench {
                own: Weak::clone(own),
                station,
                larder,
                slots,
                serial: 0,
                begun: 0,
                is_news,
                news: BTreeMap::new(),
                is_draining: false,
                failure: None,
            })
        })
    }

    /// Has hands begin nothing more.
    pub(crate) fn close(&mut self) {
        self.is_draining = true;
    }

    /// Takes the reason for which a chunk makes no sense, if one did not.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Returns the number of hands that run something.
    pub(crate) fn running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.running.is_some()).count()
    }

    /// Says how the hands stand.
    pub(crate) fn status(&self, session: Id) -> Status {
        let busy: Duration = self.slots.iter().map(|slot| slot.standing.busy).sum();
        let waiting: usize = self.slots.iter().map(|slot| slot.waiting.len()).sum();
        Status {
            session,
            begun: self.begun,
            busy: u64::try_from(busy.as_micros()).unwrap_or(u64::MAX),
            running: u32::try_from(self.running()).unwrap_or(u32::MAX),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        }
    }

    /// Gives a hand a chunk. A life that is new to it ends the one before.
    ///
    /// # Errors
    /// The chunk makes no sense here.
    pub(crate) fn give(
        &mut self,
        hand: u32,
        life: u32,
        request: &[u8],
        memories: Vec<Named>,
    ) -> Result<(), String> {
        let number = hand as usize;
        let Some(slot) = self.slots.get_mut(number) else {
            return Err(format!("there is no hand {hand}"));
        };
        if slot.life != life {
            clear(slot);
            let (early, standing) = (std::mem::take(&mut slot.early), slot.standing);
            let busy_before = standing.busy;
            *slot = Slot { life, early, standing, busy_before, ..Slot::default() };
            self.news.remove(&number);
        }
        slot.is_taken = true;
        memories.iter().for_each(|named| self.larder.want(*named));
        slot.waiting.push_back((request.to_vec(), memories));
        self.begin(number)
    }

    /// Takes in memory that came, and has hands begin what waited for it.
    ///
    /// # Errors
    /// It cannot be had here, or a chunk makes no sense.
    pub(crate) fn keep(
        &mut self,
        digest: Digest,
        came: Result<Memory, String>,
    ) -> Result<(), String> {
        self.larder.keep(digest, came?);
        (0..self.slots.len()).try_for_each(|number| self.begin(number))
    }

    /// Forgets memory.
    pub(crate) fn forget(&mut self, digest: &Digest) {
        self.larder.forget(digest);
    }

    /// Has a hand begin its next chunk, if it runs none, and what the chunk refers to is here.
    fn begin(&mut self, number: usize) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(number) else { return Ok(()) };
        if slot.running.is_some() {
            return Ok(());
        }
        let memories = slot.waiting.front().and_then(|(_, names)| self.larder.take(names));
        let Some(memories) = memories else { return Ok(()) };
        let Some((request, _)) = slot.waiting.pop_front() else { return Ok(()) };
        self.serial += 1;
        let (serial, own) = (self.serial, Weak::clone(&self.own));
        let said = move |messages, is_last, standing| {
            // It is gone only when the process is about to be.
            let Some(bench) = own.upgrade() else { return };
            lock(&bench).hear(number, serial, messages, is_last, standing);
        };
        let chunk = self.station.run(number, &request, &memories, said)?;
        slot.begun += u64::from(chunk.count());
        slot.first = slot.first.or(Some(chunk.number()));
        self.begun += u64::from(chunk.count());
        slot.running = Some(Running { chunk, serial });
        self.news.entry(number).or_default();
        Ok(())
    }

    /// Takes in what came of the chunk with this number, in the pool's own thread.
    fn hear(
        &mut self,
        hand: usize,
        serial: u64,
        messages: Vec<Vec<u8>>,
        is_last: bool,
        standing: Standing,
    ) {
        let Some(slot) = self.slots.get_mut(hand) else { return };
        // Of a chunk that was killed.
        if slot.running.as_ref().is_none_or(|running| running.serial != serial) {
            return;
        }
        slot.restarts_before.get_or_insert(standing.restarts);
        slot.standing = Standing { resident: slot.standing.resident, ..standing };
        self.news.entry(hand).or_default().extend(messages);
        if is_last {
            slot.running = None;
            if !self.is_draining
                && let Err(reason) = self.begin(hand)
            {
                self.failure = Some(reason);
            }
        }
        self.is_news.notify_one();
    }

    /// Forgets what a hand has not begun. Returns what its owner is told.
    pub(crate) fn recall(&mut self, hand: u32, life: u32) -> Option<ToOwner> {
        let slot = self.slots.get_mut(hand as usize)?;
        let begun = if slot.life == life {
            slot.waiting.clear();
            slot.begun
        } else {
            // A life in which it was given nothing.
            0
        };
        Some(ToOwner::Recalled { hand, life, begun })
    }

    /// Kills what a hand runs, and forgets the rest. Returns what its owner is told.
    pub(crate) fn drop_hand(&mut self, hand: u32, life: u32) -> Option<ToOwner> {
        let slot = self.slots.get_mut(hand as usize)?;
        let mut begun = 0;
        if slot.life == life {
            clear(slot);
            begun = slot.begun;
            slot.is_taken = false;
        }
        Some(ToOwner::Dropped { hand, life, begun })
    }

    /// Forgets what no hand has begun, and returns what is told of the hands that are done.
    pub(crate) fn drain(&mut self) -> Vec<ToOwner> {
        let mut told = Vec::new();
        for (hand, slot) in (0_u32..).zip(&mut self.slots) {
            slot.waiting.clear();
            if slot.running.is_none() && std::mem::take(&mut slot.is_taken) {
                told.push(ToOwner::Dropped { hand, life: slot.life, begun: slot.begun });
            }
        }
        told
    }

    /// Returns the life that something belongs to which the worker of a hand has told in the job
    /// of this number; `None` if it is over, and if none has begun, which is kept for the first.
    pub(crate) fn life_that_tells(
        &mut self,
        hand: usize,
        job: u64,
        told: Vec<u8>,
    ) -> Option<(u32, Vec<u8>)> {
        let slot = self.slots.get_mut(hand)?;
        if job == 0 && !slot.is_taken {
            // Of an initializer, and few.
            if slot.early.len() < KEPT_EARLY {
                slot.early.push(told);
            }
            return None;
        }
        // A worker that was killed at the end of a life may be heard in the next.
        let is_now = job == 0 || slot.first.is_some_and(|first| job >= first);
        is_now.then_some((slot.life, told))
    }

    /// Takes what a hand has told before it was taken.
    pub(crate) fn take_early(&mut self, hand: u32) -> Vec<Vec<u8>> {
        self.slots.get_mut(hand as usize).map_or(Vec::new(), |slot| std::mem::take(&mut slot.early))
    }

    /// Takes what is to be told of the hands, encoded. Without `all`, only of those of which
    /// something came: that others have begun can wait.
    pub(crate) fn news(&mut self, all: bool) -> Vec<Vec<u8>> {
        let mut told = Vec::new();
        let slots = &self.slots;
        self.news.retain(|number, messages| {
            if messages.is_empty() && !all {
                return true;
            }
            let Some(slot) = slots.get(*number) else { return false };
            let lengths = messages.iter().map(|one| u32::try_from(one.len()).unwrap_or(u32::MAX));
            let heard = ToOwner::Heard {
                hand: u32::try_from(*number).unwrap_or(u32::MAX),
                life: slot.life,
                begun: slot.begun,
                busy: u64::try_from(slot.in_this_life().busy.as_micros()).unwrap_or(u64::MAX),
                lengths: lengths.collect(),
            };
            let tail: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            told.push(wire::encode(&heard, &tail));
            false
        });
        told
    }

    /// Looks how the hands stand, and takes what their owner does not know, encoded.
    pub(crate) fn standings(&mut self) -> Vec<Vec<u8>> {
        let mut told = Vec::new();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            slot.standing = self.station.standing(number, slot.is_taken);
            let standing = slot.in_this_life();
            if slot.is_taken && slot.told != standing {
                slot.told = standing;
                told.push(wire::encode(
                    &ToOwner::Stands {
                        hand: u32::try_from(number).unwrap_or(u32::MAX),
                        life: slot.life,
                        busy: u64::try_from(standing.busy.as_micros()).unwrap_or(u64::MAX),
                        restarts: u32::try_from(standing.restarts).unwrap_or(u32::MAX),
                        resident: standing.resident,
                    },
                    &[],
                ));
            }
        }
        told
    }

    /// Returns whether there is news that can wait.
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }
}

/// Kills what a hand runs, and forgets the rest.
fn clear(slot: &mut Slot) {
    slot.waiting.clear();
    if let Some(running) = slot.running.take() {
        running.chunk.kill();
    }
}
