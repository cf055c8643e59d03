//! The storage of a queue, with one who puts and one who gets, of whom any may die between two
//! stores.

use std::sync::Arc;

use super::for_each_death;
use crate::backend::explore;
use crate::channel::queue::growable::{Control, GrowableRing, RingError, RingSegment, Store};
use crate::channel::{AtomicU64, model};
use crate::world::{End, World};

struct Memory {
    control: Control,
    growable: Vec<RingSegment>,
    segments: Vec<Vec<AtomicU64>>,
}

impl Store for Memory {
    type Error = ();

    fn words(&self, segment: usize) -> Result<&[AtomicU64], ()> {
        Ok(&self.segments[segment])
    }

    fn reserve(&self, _: usize, _: u64, _: u64) -> Result<(), ()> {
        Ok(())
    }

    fn release(&self, _: usize) {}
}

/// Two records fit into the lowest of the segments. There is one more than are in use at a time.
const BASE: u64 = 4;
const RUNGS: usize = 3;

fn memory() -> Arc<Memory> {
    let memory = Memory {
        control: [const { AtomicU64::new(0) }; 32],
        growable: (0..RUNGS).map(|_| [const { AtomicU64::new(0) }; 32]).collect(),
        segments: (0..RUNGS)
            .map(|segment| (0..BASE << segment).map(|_| AtomicU64::new(0)).collect())
            .collect(),
    };
    [0, 2, 16].iter().for_each(|cell| memory.control[*cell].touch());
    memory
        .growable
        .iter()
        .for_each(|segment| [0, 1, 2, 3, 16, 17].iter().for_each(|cell| segment[*cell].touch()));
    memory.segments.iter().flatten().for_each(AtomicU64::touch);
    Arc::new(memory)
}

fn growable(memory: &Memory) -> GrowableRing<'_, Memory> {
    GrowableRing { control: &memory.control, segments: &memory.growable, store: memory, base: BASE }
}

/// False if there is no room.
fn put(memory: &Memory, number: u8) -> bool {
    let growable = growable(memory);
    match growable.prepare(8) {
        Ok(place) => {
            growable.fill(&place, 0, 0, [&[], &[number; 8]]).expect("memory");
            growable.publish(&place);
            true
        }
        Err(RingError::Full) => false,
        Err(fault) => panic!("{fault:?}"),
    }
}

fn get(memory: &Memory) -> Option<u8> {
    let growable = growable(memory);
    let record = growable.peek().expect("sound")?;
    let mut bytes = Vec::new();
    growable.read(&record, &mut bytes).expect("memory");
    assert!(bytes.len() == 8 && bytes.iter().all(|byte| *byte == bytes[0]), "half a record");
    growable.take(&record);
    Some(bytes[0])
}

#[test]
fn it_grows_and_comes_down_while_somebody_gets() {
    model(|| {
        explore(2, || {
            let world = World::new();
            let memory = memory();
            let producer = {
                let memory = Arc::clone(&memory);
                world.process(2, move || {
                    (1..=4).for_each(|number| assert!(put(&memory, number), "no room"))
                })
            };
            // As many as are there already.
            let mut got: Vec<u8> = (0..4).filter_map(|_| get(&memory)).collect();
            assert_eq!(producer.join().expect("join"), End::Done);
            assert_eq!(growable(&memory).count().expect("sound"), 4 - got.len() as u64);
            got.extend(std::iter::from_fn(|| get(&memory)));
            assert_eq!(got, [1, 2, 3, 4]);
            // It is empty, and the lowest segment the first choice again.
            assert!(put(&memory, 5));
            assert_eq!((get(&memory), get(&memory)), (Some(5), None));
        });
    });
}

#[test]
fn rungs_are_used_anew_while_somebody_gets() {
    model(|| {
        explore(2, || {
            let world = World::new();
            let memory = memory();
            (0..3).for_each(|number| assert!(put(&memory, number)));
            let producer = {
                let memory = Arc::clone(&memory);
                world.process(2, move || {
                    let _ = (3..6).all(|number| put(&memory, number));
                })
            };
            let mut got: Vec<u8> = (0..5).filter_map(|_| get(&memory)).collect();
            producer.join().expect("join");
            got.extend(std::iter::from_fn(|| get(&memory)));
            assert!(got.iter().copied().eq(0..got.len() as u8), "{got:?}");
            assert!(got.len() >= 5, "there was room for five at least: {got:?}");
        });
    });
}

#[test]
fn who_dies_putting_has_put_it_or_not() {
    model(|| {
        for_each_death(2, |dies_at| {
            let world = World::new();
            let memory = memory();
            let victim = {
                let memory = Arc::clone(&memory);
                world.victim(2, dies_at, move || {
                    (1..=4).for_each(|number| assert!(put(&memory, number)))
                })
            };
            let mut got: Vec<u8> = (0..3).filter_map(|_| get(&memory)).collect();
            let end = victim.join().expect("join");
            // Whoever comes next goes on where it was.
            assert!(put(&memory, 9));
            got.extend(std::iter::from_fn(|| get(&memory)));
            assert_eq!(got.pop(), Some(9));
            assert!(got.iter().copied().eq(1..=got.len() as u8), "{got:?}");
            assert!(end != End::Done || got.len() == 4);
            end != End::Done
        });
    });
}

#[test]
fn who_dies_getting_leaves_the_rest() {
    model(|| {
        for_each_death(2, |dies_at| {
            let world = World::new();
            let memory = memory();
            (1..=3).for_each(|number| assert!(put(&memory, number)));
            let victim = {
                let memory = Arc::clone(&memory);
                world.victim(2, dies_at, move || {
                    (0..3).for_each(|_| assert!(get(&memory).is_some()))
                })
            };
            let more = (4..=5).take_while(|number| put(&memory, *number)).count() as u8;
            let end = victim.join().expect("join");
            let rest: Vec<u8> = std::iter::from_fn(|| get(&memory)).collect();
            // The last ones, without a gap.
            assert!(rest.iter().copied().eq(4 + more - rest.len() as u8..4 + more), "{rest:?}");
            assert!(rest.len() >= usize::from(more) || end == End::Done);
            end != End::Done
        });
    });
}
