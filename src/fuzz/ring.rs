//! The ring of a pipe: any words in it, between any calls of either side.

use std::sync::atomic::{AtomicU64, Ordering};

use super::input::Input;
use crate::channel::pipe::ring::{CONTROL, Consumer, Kind, Producer, Ring, SMALLEST};

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let words: Vec<AtomicU64> = (0..CONTROL + SMALLEST / 8).map(|_| AtomicU64::new(0)).collect();
    let Some(ring) = Ring::new(&words) else { panic!("the smallest ring is none") };
    let (mut producer, mut consumer) = (Producer::new(), Consumer::new(ring));
    while !input.is_empty() {
        match input.byte() % 8 {
            0..=2 => {
                let kind = [Kind::Part, Kind::Last, Kind::Abort][input.below(3)];
                let bytes = input.some();
                let bytes = &bytes[..bytes.len().min(ring.longest())];
                if producer.has_room(ring, Producer::room_for(kind, bytes.len())) == Ok(true) {
                    let _ = producer.push(ring, kind, 1, bytes);
                }
            }
            3 | 4 => {
                if let Ok(Some(record)) = consumer.peek(ring) {
                    let mut bytes = Vec::new();
                    let _ = consumer.take(ring, record, &mut bytes);
                    assert!(bytes.len() <= SMALLEST, "more bytes than there are");
                }
            }
            // Where the two sides are, and anywhere.
            5 => words[input.below(CONTROL)].store(input.word(), Ordering::Relaxed),
            6 => words[input.below(words.len())].store(input.word(), Ordering::Relaxed),
            _ => {
                // One side goes to another process.
                if let Ok(moved) = Producer::resume(ring, producer.state()) {
                    producer = moved;
                }
                if let Ok(moved) = Consumer::resume(ring, consumer.state()) {
                    consumer = moved;
                }
                if input.byte().is_multiple_of(4)
                    && let Ok(forged) = Consumer::resume(ring, (input.word(), true))
                {
                    consumer = forged;
                }
            }
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let push = |kind: u8, length: u8| [vec![0, kind, length], vec![7; length.into()]].concat();
    let mut honest = Vec::new();
    (0..60).for_each(|step| honest.extend([push(step % 3, step * 4), vec![3, 3]].concat()));
    let mut moved = push(0, 40);
    moved.extend([7, 1, 3, 7, 0, 1, 8]);
    moved.extend(push(1, 9));
    let forged = [push(1, 30), vec![5, 0, 1, 64, 3, 5, 16, 1, 8, 3, 6, 40, 3, 9, 3]].concat();
    vec![honest, moved, forged]
}
