//! Values with descriptors in them, from any bytes with any descriptors.

use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::descriptors;
use super::input::Input;
use crate::codec;
use crate::{
    Address, Barrier, BoundedSemaphore, Condition, Connection, Descriptor, Event, JoinableQueue,
    Lock, Queue, QueueReceiver, QueueSender, RLock, ReadOnly, RwLock, Semaphore, ShareableList,
    SharedArray, SharedMemory, SharedSlice,
};

const MOMENT: Duration = Duration::from_micros(20);

/// Byte 0: which type; then descriptors, then the value.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let count = input.below(5);
    let fds = (0..count).filter_map(|_| descriptors::one(&mut input)).collect();
    let (bytes, fds) = (input.rest(), codec::table(fds));
    macro_rules! value {
        ($type:ty, $use:expr) => {
            if let Ok(value) = codec::decode::<$type>(bytes, fds) {
                cross_again(&value);
                let with: fn($type) = $use;
                with(value);
            }
        };
    }
    match kind % 24 {
        0 => value!(SharedSlice<u8>, |slice| {
            let _ = slice.first().copied().max(slice.last().copied());
        }),
        1 => value!(SharedSlice<u64>, |slice| {
            let _ = slice.first().copied().max(slice.last().copied());
        }),
        2 => value!(SharedSlice<[u8; 3]>, |slice| {
            let _ = slice.slice(slice.len() / 2..).last().copied();
        }),
        3 => value!(SharedMemory, |memory| {
            let mut byte = [0];
            memory.read_at(memory.len() - 1, &mut byte).expect("inside");
            memory.write_at(0, &byte).expect("inside");
            assert!(memory.read_at(memory.len(), &mut byte).is_err());
            let _ =
                (memory.name().map(str::len), memory.unlink().is_ok(), memory.read_only().is_ok());
        }),
        4 => value!(SharedMemory<ReadOnly>, |memory| {
            let mut byte = [0];
            memory.read_at(memory.len() - 1, &mut byte).expect("inside");
            let _ = memory.array::<u16>(2, 1).map(|array| array.get(0));
        }),
        5 => value!(SharedArray<u32>, |array| {
            let _ = (array.try_get(0), array.try_get(array.len().wrapping_sub(1)));
            if !array.is_empty() {
                array.set(array.len() - 1, 7);
            }
        }),
        6 => value!(SharedArray<[u8; 5], ReadOnly>, |array| {
            let _ = (array.try_get(0), array.try_get(array.len().wrapping_sub(1)));
        }),
        7 => value!(ShareableList, |list| {
            let _ = (list.get(0).is_ok(), list.get(-1).is_ok(), list.set(0, 7).is_ok());
        }),
        8 => value!(Lock, |lock| {
            drop(lock.try_acquire());
            let _ = (lock.acquire_timeout(MOMENT).is_ok(), format!("{lock:?}"));
        }),
        9 => value!(RLock, |lock| {
            let (_first, _second) = (lock.acquire_timeout(MOMENT), lock.try_acquire());
            let _ = format!("{lock:?}");
        }),
        10 => value!(Semaphore, |semaphore| {
            let _permit = semaphore.acquire_timeout(MOMENT);
            semaphore.release();
        }),
        11 => value!(BoundedSemaphore, |semaphore| {
            drop(semaphore.acquire_timeout(MOMENT));
            let _ = (semaphore.release().is_ok(), semaphore.value());
        }),
        12 => value!(RwLock, |lock| {
            drop(lock.read_timeout(MOMENT));
            drop(lock.write_timeout(MOMENT));
        }),
        13 => value!(Condition, |condition| {
            condition.notify_all();
            let _ = format!("{condition:?}");
        }),
        14 => value!(Barrier, |barrier| {
            let _ = (barrier.wait_timeout(MOMENT).is_ok(), barrier.n_waiting());
            barrier.reset();
        }),
        15 => value!(Event, |event| {
            let _ = event.wait_timeout(MOMENT);
            event.set();
            event.clear();
        }),
        16 => value!(Queue<String>, |queue| {
            let _ = (queue.len(), queue.poll_ready(), queue.get_timeout(MOMENT).is_ok());
            let _ = (queue.put_timeout("text".to_owned(), MOMENT).is_ok(), queue.try_get().is_ok());
        }),
        17 => value!(JoinableQueue<u32>, |queue| {
            let _ = (queue.put_timeout(1, MOMENT).is_ok(), queue.get_timeout(MOMENT).is_ok());
            let _ = (queue.task_done().is_ok(), queue.join_timeout(MOMENT));
        }),
        18 => value!(Connection<String>, |mut connection| {
            let _ = (
                connection.poll(Some(Duration::ZERO)).is_ok(),
                connection.recv_timeout(MOMENT).is_ok(),
            );
            let _ = connection.try_send("text".to_owned()).is_ok();
        }),
        19 => value!(Descriptor<std::fs::File>, |file| drop(file.metadata())),
        20 => value!(Vec<(Option<Descriptor>, Address)>, |many| drop(many)),
        21 => value!(QueueSender<String>, |sender| {
            let _ =
                (sender.put_timeout("text".to_owned(), MOMENT).is_ok(), sender.is_disconnected());
        }),
        22 => value!(QueueReceiver<String>, |receiver| {
            let _ = (receiver.get_timeout(MOMENT).is_ok(), crate::wait(&[&receiver], Some(MOMENT)));
        }),
        _ => value!(Vec<Vec<Option<String>>>, |many| drop(many)),
    }
}

/// A value that came can go on to the next process.
fn cross_again<T: Serialize + DeserializeOwned + Debug>(value: &T) {
    if let Ok(parcel) = codec::encode(value) {
        drop(codec::decode::<T>(&parcel.bytes, parcel.fds));
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // The number of the type, the kinds of descriptors that fit, and the value.
    let mut seeds = Vec::new();
    let mut seed = |kind: u8, fds: &[(u8, &[u8])], value: &[u8]| {
        let mut bytes = vec![kind, u8::try_from(fds.len()).unwrap_or(0)];
        for (kind, contents) in fds {
            bytes.extend([*kind, u8::try_from(contents.len()).unwrap_or(0)]);
            bytes.extend(*contents);
        }
        bytes.extend(value);
        seeds.push(bytes);
    };
    let some = [7; 40];
    for kind in 0..3 {
        seed(kind, &[(4, &some)], &[1, 0, 0, 3]);
        seed(kind, &[(4, &some)], &[1, 0, 8, 4]);
        seed(kind, &[], &[0]);
    }
    seed(3, &[(6, &some)], &[0, 0]);
    seed(3, &[(7, &some)], &[0, 1, 1, b'n', 2, b'm', b'm']);
    seed(4, &[(9, &some)], &[0, 0]);
    seed(5, &[(6, &some)], &[0, 0, 8, 8]);
    seed(6, &[(9, &some)], &[0, 0, 5, 7]);
    seed(7, &[(6, &[b"mp list1".as_slice(), &[0; 16]].concat())], &[0, 0]);
    seed(8, &[(10, &[1, 2])], &[0, 1]);
    seed(9, &[(10, &[])], &[0, 0]);
    for kind in [10, 12] {
        seed(kind, &[(11, &[0; 64])], &[0]);
    }
    seed(11, &[(11, &[0; 64])], &[0, 3]);
    seed(13, &[(10, &[]), (11, &[0; 64])], &[0, 0, 1]);
    seed(14, &[(11, &[0; 64])], &[0, 2, 0]);
    seed(14, &[(11, &[0; 64])], &[0, 1, 1, 3, 4]);
    seed(15, &[(10, &[])], &[0]);
    seed(16, &[(8, &[]), (2, &[]), (13, &[1])], &[0, 1, 2, 255, 1]);
    seed(17, &[(8, &[]), (2, &[]), (13, &[1]), (11, &[0; 64])], &[0, 1, 2, 4, 3]);
    seed(
        18,
        &[(3, &[]), (0, &[])],
        &[0, 0, 6, 0, 0, 0, 4, 3, b'a', 1, 1, 0, 2, 9, 9, 0, 0, 128, 8],
    );
    seed(18, &[(3, &[])], &[0, 0, 0, 0, 0, 0, 1, 1, 2, 200, 1, 100, 9]);
    seed(19, &[(12, &[])], &[0]);
    let address = "tcp://127.0.0.1:80".parse::<Address>().expect("an address");
    let value = codec::encode(&vec![(None::<Descriptor>, address)]).expect("a value").bytes;
    seed(20, &[(1, &[]), (13, &[])], &value);
    seed(21, &[], &codec::encode(&vec![vec![Some("text")], vec![None]]).expect("a value").bytes);
    seeds
}
