//! Lists in shared memory: any bytes as a list, and any bytes written to one between calls.

use super::input::Input;
use crate::codec;
use crate::sys::memory::shared::SharedFile;
use crate::{Item, ShareableList, SharedMemory};

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let list = if input.byte() & 1 == 0 {
        let (more, contents) = (input.below(3), input.some());
        let Ok(memory) = SharedMemory::new(contents.len() + 8 * more + 1) else { return };
        memory.write_at(0, contents).expect("inside");
        let parcel = codec::encode(&memory).expect("a handle");
        match codec::decode::<ShareableList>(&parcel.bytes, parcel.fds) {
            Ok(list) => list,
            Err(_) => return,
        }
    } else {
        honest()
    };
    while !input.is_empty() {
        let index = input.below(12) as isize - 6;
        match input.byte() % 8 {
            0 | 1 => {
                let (offset, word) = (input.below(list.memory().len() / 8 + 1) * 8, input.word());
                let _ = list.memory().write_at(offset, &word.to_le_bytes());
            }
            2 => drop(list.get(index)),
            3 => drop(list.set(index, input.some())),
            4 => drop(list.set(index, 7)),
            5 => {
                let _ = (list.to_vec().is_ok(), list.count("text").is_ok(), format!("{list:?}"));
            }
            6 => drop(list.copy()),
            _ => drop(list.format()),
        }
    }
}

fn honest() -> ShareableList {
    let items =
        [Item::from("a text"), 7.into(), 2.5.into(), ().into(), vec![1, 2, 3].into(), true.into()];
    ShareableList::new(items).expect("a list")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let parcel = codec::encode(&honest()).expect("a list");
    let memory = SharedFile::open(parcel.fds[0].clone()).expect("its memory");
    let mut bytes = vec![0; memory.length()];
    let mapped: SharedMemory = codec::decode(&parcel.bytes, parcel.fds).expect("its memory");
    mapped.read_at(0, &mut bytes).expect("inside");
    let length = u8::try_from(bytes.len()).unwrap_or(255);
    let calls = [
        6, 2, 3, 3, 4, b'a', b'b', b'c', b'd', 1, 4, 0, 5, 0, 6, 0, 7, 6, 0, 12, 3, 1, 6, 2, 6, 4,
        6, 2,
    ];
    vec![[&[0, 0, length], bytes.as_slice(), &calls].concat(), [&[1], calls.as_slice()].concat()]
}
