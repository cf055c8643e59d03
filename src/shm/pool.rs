//! Used memory that is kept warm: a page that the kernel must first give costs more than to write
//! to it.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sys::memory::exclusive::Exclusive;
use crate::sys::per_process::PerProcess;

/// Smaller memory is not worth its descriptor.
const SMALLEST: usize = 64 << 10;

/// Number of parts that are kept, and so of descriptors.
const MAX_KEPT: usize = 4;

/// Bytes that are kept, all together.
const MAX_BYTES: usize = 64 << 20;

/// A forked copy has none of its original's memory.
static POOL: PerProcess<Mutex<Vec<Exclusive>>> = PerProcess::new();

/// The contents that memory may have when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    Zeroed,
    /// It is going to be overwritten.
    Any,
}

/// Takes at least `length` bytes, of which there must be one: used memory if some will do, else
/// new.
pub(super) fn take(length: usize, contents: Contents) -> io::Result<Exclusive> {
    let Some(mut used) = find(length) else {
        return match contents {
            Contents::Zeroed => Exclusive::create(length),
            Contents::Any => Exclusive::create_to_fill(length),
        };
    };
    if contents == Contents::Zeroed {
        used.bytes_mut()[..length].fill(0);
    }
    Ok(used)
}

/// Takes the smallest used memory that will do, unless it is more than twice as long.
fn find(length: usize) -> Option<Exclusive> {
    if length < SMALLEST {
        return None;
    }
    let mut pool = POOL.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |memory: &Exclusive| (length..=length.saturating_mul(2)).contains(&memory.length());
    let (place, _) = pool
        .iter()
        .enumerate()
        .filter(|(_, memory)| fits(memory))
        .min_by_key(|(_, one)| one.length())?;
    let memory = pool.swap_remove(place);
    memory.wake();
    Some(memory)
}

/// Keeps memory that nobody else ever had for the next one, if there is room.
pub(super) fn give_back(memory: Exclusive) {
    // What came along in a forked copy is not its own, and what a forked copy has is not exclusive.
    if memory.length() < SMALLEST || memory.length() > MAX_BYTES || !memory.can_be_kept() {
        return;
    }
    let pool = POOL.get_or_init(|_| Mutex::default());
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let kept: usize = pool.iter().map(Exclusive::length).sum();
    if pool.len() < MAX_KEPT && kept + memory.length() <= MAX_BYTES {
        memory.rest();
        pool.push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_memory_comes_back_clean_and_only_if_it_fits() {
        // A size that no other test uses.
        let size = (1 << 20) + 12_345;
        let mut memory = take(size, Contents::Zeroed).expect("take");
        memory.bytes_mut().fill(7);
        give_back(memory);
        assert!(find(size + 1).is_none(), "too small");
        assert!(find(size / 2 - 1).is_none(), "far too big");
        let memory = take(size - 10, Contents::Zeroed).expect("take");
        assert_eq!(memory.length(), size, "another one");
        assert!(memory.bytes()[..size - 10].iter().all(|byte| *byte == 0), "not clean");
        give_back(memory);
        assert_eq!(take(size - 10, Contents::Any).expect("take").bytes()[size - 1], 7);
    }
}
