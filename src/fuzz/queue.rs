//! A whole queue, to the memory of which somebody writes anything at any place, between calls and
//! during them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::descriptors;
use super::input::Input;
use crate::codec::{self, Carried};
use crate::sys::ipc::socket;
use crate::sys::memory::shared::{Shared, SharedFile};
use crate::{Descriptor, Queue};

const MOMENT: Duration = Duration::from_micros(20);

/// Text (serde copies it at once, which it does not do with bytes) and descriptors.
type Value = (String, Vec<Descriptor>);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where things lie: the locks and alarms, the cells for all, the flags, the cells of two segments,
/// the first records.
const PLACES: [usize; 23] = [
    0, 64, 128, 192, 256, 384, 512, 640, 768, 896, 1024, 1032, 1040, 1048, 1152, 1160, 1280, 1288,
    1296, 1304, 1408, 1416, 8192,
];

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let way = input.byte();
    let most = match way & 0x18 {
        0x10 => 3,
        0x18 => 0,
        _ => u64::MAX,
    };
    let Some((queue, memory)) = queue(1 + usize::from(way) % 3, most) else {
        return;
    };
    if way & 0xe0 != 0x20 {
        return calls(&queue, &memory, &mut input);
    }
    let writes: Vec<(usize, u64)> = (0..8).map(|_| (place(&mut input), input.word())).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for (place, word) in &writes {
                    memory.at::<AtomicU64>(*place).store(*word, Ordering::Relaxed);
                }
            }
        });
        calls(&queue, &memory, &mut input);
        is_over.store(true, Ordering::Relaxed);
    });
}

fn place(input: &mut Input<'_>) -> usize {
    let place = PLACES[input.below(PLACES.len())];
    place + 8 * (input.below(64) / 60)
}

fn calls(queue: &Queue<Value>, memory: &Shared, input: &mut Input<'_>) {
    // Each may wait for a moment, and more than that for a lock that somebody keeps.
    for _ in 0..24 {
        if input.is_empty() {
            return;
        }
        match input.byte() % 16 {
            0..=3 => memory.at::<AtomicU64>(place(input)).store(input.word(), Ordering::Relaxed),
            4 | 5 => drop(queue.try_put((text(input.some()), Vec::new()))),
            6 => {
                let fds = (0..input.below(3))
                    .filter_map(|_| descriptors::one(input))
                    .map(Descriptor)
                    .collect();
                drop(queue.try_put((text(input.some()), fds)));
            }
            7 => drop(queue.put_timeout(("7".repeat(1000 * input.below(900)), Vec::new()), MOMENT)),
            8..=10 => drop(queue.try_get()),
            11 => drop(queue.get_timeout(MOMENT)),
            12 => {
                let _ = (
                    queue.len(),
                    queue.is_full(),
                    queue.is_empty(),
                    queue.is_shut_down(),
                    format!("{queue:?}"),
                );
            }
            13 => {
                let _ = (queue.poll_ready(), queue.room().poll_ready());
            }
            14 => {
                let parcel = codec::encode(queue).expect("a queue");
                drop(codec::decode::<Queue<Value>>(&parcel.bytes, parcel.fds));
            }
            _ if input.byte() & 7 == 0 => queue.shutdown(),
            _ => {}
        }
    }
}

/// A queue with few segments, and its memory as another process has it.
fn queue(segments: usize, most: u64) -> Option<(Queue<Value>, Shared)> {
    let memory = SharedFile::create("fuzz", 8192 + (256 << 10) * ((1 << segments) - 1)).ok()?;
    let (put_end, get_end) = socket::pair().ok()?;
    let room = match most {
        u64::MAX => None,
        _ => socket::pair().ok().map(|(one, other)| (Carried::from(one), Carried::from(other))),
    };
    let memory_fd = Carried(Arc::clone(memory.fd()));
    let crossing = (memory_fd, Carried::from(put_end), Carried::from(get_end), most, room);
    let parcel = codec::encode(&crossing).expect("descriptors");
    Some((codec::decode(&parcel.bytes, parcel.fds).ok()?, memory.map_all().ok()?))
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let put = |length: u8| [vec![4, length], vec![length; length.into()]].concat();
    let mut plain = vec![1];
    (0..8).for_each(|step| plain.extend(put(step * 20)));
    plain.extend([12, 13, 8, 8, 8, 8, 8, 8, 8, 8, 8, 11]);
    let grows = vec![2, 7, 130, 2, 7, 130, 2, 7, 130, 2, 7, 130, 2, 12, 8, 8, 8, 8, 8];
    let bounded = [
        vec![0x10],
        put(1),
        put(2),
        put(3),
        put(4),
        vec![8, 7, 1, 0, 8, 8, 8, 8, 14, 15, 0, 8, 4, 1, 1],
    ]
    .concat();
    let carries = vec![0, 6, 2, 0, 0, 1, 0, 3, 1, 2, 3, 8, 6, 1, 4, 2, 1, 1, 0, 8];
    let forged =
        [put(9), vec![0, 10, 0, 3, 5, 8, 0, 16, 0, 3, 41, 8, 0, 0, 0, 4, 2], put(9), vec![8, 13]]
            .concat();
    let raced: Vec<u8> =
        (0..8).flat_map(|step| [step * 3, 0, step, step * 9, 1, 1, 1, 1, 1, 1, 1]).collect();
    vec![
        plain.clone(),
        [&[0x18], &bounded[1..]].concat(),
        grows,
        bounded,
        carries,
        [vec![0], forged.clone()].concat(),
        [vec![0x20], raced, forged, plain].concat(),
    ]
}
