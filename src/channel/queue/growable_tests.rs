//! Growable rings, whatever is put, in any order, and whatever is written into them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;

use super::*;

struct Memory {
    segments: Vec<Vec<AtomicU64>>,
    released: Cell<u32>,
}

impl Store for Memory {
    type Error = Infallible;

    fn words(&self, segment: usize) -> Result<&[AtomicU64], Infallible> {
        Ok(&self.segments[segment])
    }

    fn reserve(&self, segment: usize, from: u64, to: u64) -> Result<(), Infallible> {
        assert!(from < to && to <= self.segments[segment].len() as u64);
        Ok(())
    }

    fn release(&self, _: usize) {
        self.released.set(self.released.get() + 1);
    }
}

struct Cells {
    control: Control,
    segments: Vec<RingSegment>,
    memory: Memory,
}

const BASE: usize = 16;

impl Cells {
    fn new(segments: usize) -> Cells {
        Cells {
            control: [const { AtomicU64::new(0) }; 32],
            segments: (0..segments).map(|_| [const { AtomicU64::new(0) }; 32]).collect(),
            memory: Memory {
                segments: (0..segments)
                    .map(|i| (0..BASE << i).map(|_| AtomicU64::new(0)).collect())
                    .collect(),
                released: Cell::new(0),
            },
        }
    }

    fn growable(&self) -> GrowableRing<'_, Memory> {
        GrowableRing {
            control: &self.control,
            segments: &self.segments,
            store: &self.memory,
            base: BASE as u64,
        }
    }
}

fn put(growable: &GrowableRing<'_, Memory>, bytes: &[u8]) -> Result<(), RingError<Infallible>> {
    let place = growable.prepare(bytes.len())?;
    growable.fill(&place, 3, growable.next_number(), [b"", bytes])?;
    growable.publish(&place);
    Ok(())
}

fn get(growable: &GrowableRing<'_, Memory>) -> Option<Vec<u8>> {
    let record = growable.peek().expect("sound")?;
    assert_eq!(record.descriptors, 3);
    let mut bytes = Vec::new();
    growable.read(&record, &mut bytes).expect("sound");
    growable.take(&record);
    Some(bytes)
}

#[test]
fn it_is_a_queue_whatever_the_lengths_and_the_order() {
    let cells = Cells::new(6);
    let growable = cells.growable();
    let mut expected = VecDeque::new();
    // A small generator of numbers that look like none.
    let mut state = 12_345_u64;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..if cfg!(miri) { 500 } else { 50_000_u32 } {
        let fills = random(1000) < if round / 100 % 2 == 0 { 600 } else { 400 };
        if fills {
            let bytes: Vec<u8> = (0..random(100)).map(|_| random(256) as u8).collect();
            match put(&growable, &bytes) {
                Ok(()) => expected.push_back(bytes),
                Err(RingError::Full) => {}
                Err(fault) => panic!("{fault:?}"),
            }
        } else {
            assert_eq!(get(&growable), expected.pop_front());
        }
        assert_eq!(growable.count().expect("sound"), expected.len() as u64);
    }
    while let Some(bytes) = expected.pop_front() {
        assert_eq!(get(&growable), Some(bytes));
    }
    assert_eq!(get(&growable), None);
}

#[test]
fn it_grows_and_comes_down_again() {
    let cells = Cells::new(4);
    let growable = cells.growable();
    for i in 0..20_u8 {
        put(&growable, &[i; 20]).expect("room");
    }
    assert!(growable.current(PUT).expect("sound") > 0);
    for i in 0..20_u8 {
        assert_eq!(get(&growable), Some(vec![i; 20]));
    }
    put(&growable, &[7]).expect("room");
    assert_eq!(growable.current(PUT).expect("sound"), 0);
    assert_eq!(get(&growable), Some(vec![7]));
    assert_eq!(growable.current(GET).expect("sound"), 0);
    // What never fits in low segments goes to one where it does.
    put(&growable, &[9; 1000]).expect("room");
    assert_eq!(get(&growable), Some(vec![9; 1000]));
    assert!(matches!(put(&growable, &[0; 2000]), Err(RingError::Full)));
}

#[test]
fn one_who_died_after_the_note_is_followed() {
    let cells = Cells::new(3);
    let growable = cells.growable();
    put(&growable, &[1]).expect("room");
    growable.go(0, 1);
    cells.control[PUT].store(0, Ordering::Relaxed);
    put(&growable, &[2]).expect("room");
    assert_eq!(
        (get(&growable), get(&growable), get(&growable)),
        (Some(vec![1]), Some(vec![2]), None)
    );
}

#[test]
fn positions_may_be_the_last_there_are() {
    let cells = Cells::new(1);
    let growable = cells.growable();
    cells.segments[0][HEAD].store(u64::MAX, Ordering::Relaxed);
    cells.segments[0][SEEN_TAIL].store(advance(u64::MAX, 2), Ordering::Relaxed);
    cells.memory.segments[0][15].store(3 << 56 | 5, Ordering::Relaxed);
    assert_eq!(get(&growable), Some(vec![0; 5]));
}

#[test]
fn garbage_is_an_error_or_a_record_and_never_a_panic_or_a_loop() {
    let mut state = 99_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match state >> 62 {
            0 => 0,
            1 => state >> 58,
            2 => state >> 33,
            _ => state,
        }
    };
    for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
        let cells = Cells::new(3);
        let growable = cells.growable();
        put(&growable, &[1; 30]).expect("room");
        for _ in 0..3 {
            let places = [TAIL, NEXT, RESERVED, SEEN_HEAD, HEAD, SEEN_TAIL];
            let place = places[random() as usize % places.len()];
            cells.segments[random() as usize % 3][place].store(random(), Ordering::Relaxed);
        }
        if random() % 4 == 0 {
            cells.control[[PUT, GET][random() as usize % 2]].store(random(), Ordering::Relaxed);
        }
        if random() % 4 == 0 {
            cells.memory.segments[0][0].store(random(), Ordering::Relaxed);
        }
        let _ = growable.count();
        cells.segments.iter().for_each(|segment| {
            // The tests' store insists on honest places.
            segment[RESERVED].store(0, Ordering::Relaxed);
        });
        if let Ok(place) = growable.prepare(10) {
            let _ = growable.fill(&place, 0, 0, [&[2; 8], &[2; 2]]);
            growable.publish(&place);
        }
        for _ in 0..5 {
            if let Ok(Some(record)) = growable.peek() {
                let mut bytes = Vec::new();
                let _ = growable.read(&record, &mut bytes);
                growable.take(&record);
            }
        }
    }
}
