//! The atomics and the copying that rings and queues are written against. A model checker puts its
//! own in this place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use crate::sys::memory::copy::{
    load_onto as copy_out, store as copy_in, store_few as copy_few_in,
};

/// Stores with release, then a fence: whoever does not see the value is seen by a load
/// (sequentially consistent) that follows here.
///
/// In one instruction, which is half the price of two. (A model that knows fences only does it in
/// two.)
pub(crate) fn store_and_fence(word: &AtomicU64, value: u64) {
    word.swap(value, Ordering::SeqCst);
}
