//! Copying into and out of words that other processes write to at the same time.
//!
//! What comes out may be a mixture of old and new bytes; it is in the caller's own memory then, and
//! stays what it is while it is checked.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::bytes;

/// The first bytes of `words`.
///
/// # Panics
/// There are fewer than `length`: a mistake of ours.
#[inline]
fn cells(words: &[AtomicU64], length: usize) -> &[AtomicU8] {
    // SAFETY: a word is eight cells of a byte, of which any bytes are a value; both consist of
    // atomics, so changes by others are no race.
    let (_, cells, _) = unsafe { words.align_to::<AtomicU8>() };
    &cells[..length]
}

/// Copies `bytes` to the beginning of `words`.
#[inline]
pub(crate) fn store(words: &[AtomicU64], bytes: &[u8]) {
    bytes::store(cells(words, bytes.len()), bytes);
}

/// Copies `bytes` to the `at`th and the following bytes of `words`: one by one, which is faster for
/// a few that were just written one by one.
#[inline]
pub(crate) fn store_few(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    for (cell, byte) in cells(words, at + bytes.len())[at..].iter().zip(bytes) {
        cell.store(*byte, Ordering::Relaxed);
    }
}

/// Copies the beginning of `words` to the end of `bytes`, `length` of them.
pub(crate) fn load_onto(words: &[AtomicU64], length: usize, bytes: &mut Vec<u8>) {
    let cells = cells(words, length);
    bytes.reserve(length);
    let spare = &mut bytes.spare_capacity_mut()[..length];
    // SAFETY: bytes of `MaybeUninit` are written only, by `load`, which writes all of them.
    let spare = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), length) };
    bytes::load(cells, spare);
    // SAFETY: `length` more bytes were just written.
    unsafe { bytes.set_len(bytes.len() + length) };
}

/// Copies the beginning of `words` to all of `bytes`.
#[inline]
pub(crate) fn load(words: &[AtomicU64], bytes: &mut [u8]) {
    bytes::load(cells(words, bytes.len()), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_out_as_it_went_in() {
        for length in (0..600).chain([4096, 70_001]) {
            let words: Vec<AtomicU64> =
                (0..length / 8 + 2).map(|_| AtomicU64::new(u64::MAX)).collect();
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            store(&words, &bytes);
            let mut out = vec![7];
            load_onto(&words, length, &mut out);
            assert!(out[1..] == *bytes, "{length} bytes changed on the way");
            for (at, few) in bytes.chunks(5).enumerate() {
                store_few(&words, at * 5, few);
            }
            load(&words, &mut out[1..]);
            assert!(out[1..] == *bytes, "{length} bytes changed on the way, few at a time");
            assert_eq!(
                words[length / 8 + 1].load(Ordering::Relaxed),
                u64::MAX,
                "{length} bytes wrote too far"
            );
        }
    }
}
