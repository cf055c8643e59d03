//! The ring of a pipe: one who sends, one who receives, both of whom sleep.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::for_each_death;
use crate::backend::explore;
use crate::channel::pipe::ring::{CONTROL, Consumer, Kind, Other, Producer, Ring, SMALLEST};
use crate::channel::{AtomicU64, model};
use crate::sys::atomic::AtomicU32;
use crate::sys::wait::futex;
use crate::sys::wait::poll::Deadline;
use crate::world::{End, World};

/// A ring, and what its sides sleep on: a bell is segment once for each that sleeps.
pub(super) struct Pipe {
    words: Vec<AtomicU64>,
    bells: [AtomicU32; 2],
}

/// Where the sides stand at first: what comes goes on at the beginning of the data.
const START: u64 = SMALLEST as u64 - 8;

impl Pipe {
    /// Empty; the producer takes so much of it for full as if it had last looked long ago.
    pub(super) fn new(taken: u64) -> (Arc<Pipe>, Producer, Consumer) {
        let pipe = Pipe {
            words: (0..CONTROL + SMALLEST / 8).map(|_| AtomicU64::new(0)).collect(),
            bells: std::array::from_fn(|_| AtomicU32::new(0)),
        };
        [0, 16, 32, 48, 50].iter().for_each(|cell| pipe.words[*cell].touch());
        pipe.words[0].store(START, Ordering::SeqCst);
        pipe.words[16].store(START - taken, Ordering::SeqCst);
        let producer = Producer::resume(pipe.ring(), [START, 0]).expect("sound");
        let consumer = Consumer::resume(pipe.ring(), (START, false)).expect("sound");
        (Arc::new(pipe), producer, consumer)
    }

    pub(super) fn ring(&self) -> Ring<'_> {
        Ring::new(&self.words).expect("a ring")
    }

    fn ring_bell(&self, bell: usize) {
        // The kernel's, which is one step.
        futex::set_bit_and_wake(&self.bells[bell], 1);
    }

    fn sleep(&self, bell: usize) {
        while self.bells[bell].swap(0, Ordering::SeqCst) == 0 {
            futex::wait(&self.bells[bell], 0, Deadline::Never);
        }
    }

    pub(super) fn push(&self, producer: &mut Producer, kind: Kind, bytes: &[u8]) {
        let ring = self.ring();
        let room = Producer::room_for(kind, bytes.len());
        while !producer.has_room(ring, room).expect("sound") {
            producer.wish(ring, room);
            if producer.look(ring).expect("sound") {
                producer.withdraw_wish(ring);
                continue;
            }
            self.sleep(1);
        }
        if producer.push(ring, kind, 0, bytes) == Other::Sleeps {
            self.ring_bell(0);
        }
    }

    /// The next record, if there is one.
    pub(super) fn look(&self, consumer: &mut Consumer) -> Option<(Kind, Vec<u8>)> {
        let ring = self.ring();
        let record = consumer.peek(ring).expect("sound")?;
        let mut bytes = Vec::new();
        if consumer.take(ring, record, &mut bytes) == Other::Sleeps {
            self.ring_bell(1);
        }
        Some((record.kind, bytes))
    }

    pub(super) fn pull(&self, consumer: &mut Consumer) -> (Kind, Vec<u8>) {
        loop {
            if let Some(record) = self.look(consumer) {
                return record;
            }
            consumer.raise_flag(self.ring());
            if consumer.is_empty(self.ring()) {
                self.sleep(0);
            }
            consumer.lower_flag(self.ring());
        }
    }
}

#[test]
fn records_arrive_whole_and_in_order() {
    model(|| {
        explore(3, || {
            let world = World::new();
            let (pipe, mut producer, mut consumer) = Pipe::new(0);
            let sender = {
                let pipe = Arc::clone(&pipe);
                world.process(2, move || {
                    pipe.push(&mut producer, Kind::Part, &[1; 12]);
                    pipe.push(&mut producer, Kind::Last, &[2; 3]);
                })
            };
            assert_eq!(pipe.pull(&mut consumer), (Kind::Part, vec![1; 12]));
            assert!(consumer.is_inside());
            assert_eq!(pipe.pull(&mut consumer), (Kind::Last, vec![2; 3]));
            assert_eq!(pipe.look(&mut consumer), None);
            assert_eq!(sender.join().expect("join"), End::Done);
        });
    });
}

/// There is room only when the consumer has said that it took something.
#[test]
fn who_sleeps_for_room_is_woken() {
    model(|| {
        explore(3, || {
            let world = World::new();
            let (pipe, mut producer, mut consumer) = Pipe::new(SMALLEST as u64 - 16);
            let sender = {
                let pipe = Arc::clone(&pipe);
                world.process(2, move || {
                    pipe.push(&mut producer, Kind::Last, &[1; 8]);
                    pipe.push(&mut producer, Kind::Part, &[2; 8]);
                    pipe.push(&mut producer, Kind::Abort, &[]);
                })
            };
            assert_eq!(pipe.pull(&mut consumer), (Kind::Last, vec![1; 8]));
            assert_eq!(pipe.pull(&mut consumer), (Kind::Part, vec![2; 8]));
            assert_eq!(pipe.pull(&mut consumer), (Kind::Abort, vec![]));
            assert_eq!(sender.join().expect("join"), End::Done);
        });
    });
}

#[test]
fn who_dies_sending_has_sent_it_or_not() {
    model(|| {
        for_each_death(2, |dies_at| {
            let world = World::new();
            let (pipe, mut producer, mut consumer) = Pipe::new(0);
            let victim = {
                let pipe = Arc::clone(&pipe);
                world.victim(2, dies_at, move || {
                    pipe.push(&mut producer, Kind::Last, &[1; 12]);
                    pipe.push(&mut producer, Kind::Part, &[2; 8]);
                    pipe.push(&mut producer, Kind::Abort, &[]);
                })
            };
            let expected =
                [(Kind::Last, vec![1; 12]), (Kind::Part, vec![2; 8]), (Kind::Abort, vec![])];
            let mut got: Vec<_> = (0..2).filter_map(|_| pipe.look(&mut consumer)).collect();
            let end = victim.join().expect("join");
            got.extend(std::iter::from_fn(|| pipe.look(&mut consumer)));
            assert_eq!(got, expected[..got.len()]);
            assert!(end != End::Done || got.len() == 3);
            end != End::Done
        });
    });
}

/// It comes from somebody else over the socket: the sleeper's flag is up until it is told.
#[test]
fn a_packet_that_is_announced_is_seen() {
    model(|| {
        explore(3, || {
            let world = World::new();
            let (pipe, mut producer, consumer) = Pipe::new(0);
            consumer.lower_flag(pipe.ring());
            let sender = {
                let pipe = Arc::clone(&pipe);
                world.process(2, move || {
                    if producer.announce_packet(pipe.ring()) == Other::Sleeps {
                        pipe.ring_bell(0);
                    }
                })
            };
            consumer.raise_flag(pipe.ring());
            if !pipe.ring().expects_packet(0) {
                pipe.sleep(0);
                assert!(pipe.ring().expects_packet(0));
            }
            sender.join().expect("join");
        });
    });
}
