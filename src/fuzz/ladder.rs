//! The rings of a queue: any words in them, between any calls.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use super::input::Input;
use crate::channel::ladder::{Control, Ladder, Rung, Store};

const BASE: usize = 16;

struct Memory {
    rungs: Vec<Vec<AtomicU64>>,
}

impl Store for Memory {
    type Error = Infallible;

    fn words(&self, rung: usize) -> Result<&[AtomicU64], Infallible> {
        Ok(&self.rungs[rung])
    }

    fn reserve(&self, rung: usize, _: u64, to: u64) -> Result<(), Infallible> {
        assert!(to <= self.rungs[rung].len() as u64, "beyond the end of a rung");
        Ok(())
    }

    fn release(&self, rung: usize) {
        assert!(rung < self.rungs.len(), "no such rung");
    }
}

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let count = 1 + input.below(6);
    let control: Control = [const { AtomicU64::new(0) }; 32];
    let rungs: Vec<Rung> = (0..count).map(|_| [const { AtomicU64::new(0) }; 32]).collect();
    let words = |rung: usize| (0..BASE << rung).map(|_| AtomicU64::new(0)).collect();
    let memory = Memory { rungs: (0..count).map(words).collect() };
    let ladder = Ladder { control: &control, rungs: &rungs, store: &memory, base: BASE as u64 };
    while !input.is_empty() {
        match input.byte() % 8 {
            0 | 1 => {
                let bytes = input.some();
                if let Ok(place) = ladder.prepare(bytes.len()) {
                    let _ = ladder.fill(&place, 1, bytes);
                    ladder.publish(&place);
                }
            }
            2 | 3 => {
                if let Ok(Some(record)) = ladder.peek() {
                    let mut bytes = Vec::new();
                    let _ = ladder.read(&record, &mut bytes);
                    assert!(bytes.len() <= (BASE << count) * 8, "more bytes than there are");
                    ladder.take(&record);
                }
            }
            4 => control[[0, 16][input.below(2)]].store(input.word(), Ordering::Relaxed),
            5 => rungs[input.below(count)][[0, 1, 2, 3, 16, 17][input.below(6)]].store(input.word(), Ordering::Relaxed),
            6 => {
                let rung = &memory.rungs[input.below(count)];
                rung[input.below(BASE)].store(input.word(), Ordering::Relaxed);
            }
            _ => {
                let _ = ladder.count();
                if input.byte().is_multiple_of(8) {
                    ladder.clear();
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
    let forged = vec![3, 0, 3, 1, 2, 3, 5, 1, 0, 1, 3, 4, 1, 2, 1, 5, 0, 0, 3, 20, 2, 7, 0, 5, 0, 4, 3, 41, 2, 2];
    vec![grows, wraps, forged]
}
