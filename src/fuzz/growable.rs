//! The rings of a queue: any words in them, between any calls.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use super::input::Input;
use crate::channel::queue::growable::{Control, GrowableRing, RingSegment, Store};

const BASE: usize = 16;

struct Memory {
    segments: Vec<Vec<AtomicU64>>,
}

impl Store for Memory {
    type Error = Infallible;

    fn words(&self, segment: usize) -> Result<&[AtomicU64], Infallible> {
        Ok(&self.segments[segment])
    }

    fn reserve(&self, segment: usize, _: u64, to: u64) -> Result<(), Infallible> {
        assert!(to <= self.segments[segment].len() as u64, "beyond the end of a segment");
        Ok(())
    }

    fn release(&self, segment: usize) {
        assert!(segment < self.segments.len(), "no such segment");
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let count = 1 + input.below(6);
    let control: Control = [const { AtomicU64::new(0) }; 32];
    let segments: Vec<RingSegment> =
        (0..count).map(|_| [const { AtomicU64::new(0) }; 32]).collect();
    let words = |segment: usize| (0..BASE << segment).map(|_| AtomicU64::new(0)).collect();
    let memory = Memory { segments: (0..count).map(words).collect() };
    let growable =
        GrowableRing { control: &control, segments: &segments, store: &memory, base: BASE as u64 };
    while !input.is_empty() {
        match input.byte() % 8 {
            0 | 1 => {
                let bytes = input.some();
                if let Ok(place) = growable.prepare(bytes.len()) {
                    let _ = growable.fill(&place, 1, growable.next_number(), [bytes, &[]]);
                    growable.publish(&place);
                }
            }
            2 | 3 => {
                if let Ok(Some(record)) = growable.peek() {
                    let mut bytes = Vec::new();
                    let _ = growable.read(&record, &mut bytes);
                    assert!(bytes.len() <= (BASE << count) * 8, "more bytes than there are");
                    growable.take(&record);
                }
            }
            4 => control[[0, 16][input.below(2)]].store(input.word(), Ordering::Relaxed),
            5 => segments[input.below(count)][[0, 1, 2, 3, 16, 17][input.below(6)]]
                .store(input.word(), Ordering::Relaxed),
            6 => {
                let segment = &memory.segments[input.below(count)];
                segment[input.below(BASE)].store(input.word(), Ordering::Relaxed);
            }
            _ => {
                let _ = growable.count();
                if input.byte().is_multiple_of(8) {
                    growable.clear();
                }
            }
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let put = |length: u8| [vec![0, length], vec![7; length.into()]].concat();
    let mut grows = vec![4];
    (0..40).for_each(|_| grows.extend(put(20)));
    grows.extend([2; 45]);
    grows.extend(put(100));
    grows.extend([2, 7, 1, 2]);
    let mut wraps = vec![1];
    (0..30).for_each(|step| wraps.extend([put(step * 3), vec![2]].concat()));
    let forged = vec![
        3, 0, 3, 1, 2, 3, 5, 1, 0, 1, 3, 4, 1, 2, 1, 5, 0, 0, 3, 20, 2, 7, 0, 5, 0, 4, 3, 41, 2, 2,
    ];
    vec![grows, wraps, forged]
}
