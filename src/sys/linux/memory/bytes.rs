//! Copying bytes, at any place, into and out of memory that other processes write to.
//!
//! To the compiler, memory behind an ordinary reference changes by its own program only. So none is
//! used: cells are accessed atomically, and blocks copied by instructions that the compiler does
//! not look into. A number of 1, 2, 4 or 8 bytes that is aligned is accessed in one go: nobody sees
//! half of it. Longer runs may come out as a mixture of old and new bytes. Accesses of different
//! sizes may meet at one place; each byte is then an old or a new one, as the compiler takes every
//! access as it stands and the hardware mixes no bits. Bytes beside those that are meant are never
//! written.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::blocks;
use super::shared::Layout;

/// Copies `cells` to `bytes`, which are as many.
#[inline]
pub(crate) fn load(cells: &[AtomicU8], bytes: &mut [u8]) {
    assert!(cells.len() == bytes.len(), "the bytes are not as many as the cells");
    if let Some(one) = as_one::<AtomicU64>(cells) {
        bytes.copy_from_slice(&one.load(Ordering::Relaxed).to_ne_bytes());
    } else if let Some(one) = as_one::<AtomicU32>(cells) {
        bytes.copy_from_slice(&one.load(Ordering::Relaxed).to_ne_bytes());
    } else if let Some(one) = as_one::<AtomicU16>(cells) {
        bytes.copy_from_slice(&one.load(Ordering::Relaxed).to_ne_bytes());
    } else {
        load_run(cells, bytes);
    }
}

/// Copies `bytes` to `cells`, which are as many.
#[inline]
pub(crate) fn store(cells: &[AtomicU8], bytes: &[u8]) {
    assert!(cells.len() == bytes.len(), "the bytes are not as many as the cells");
    if let (Some(one), Ok(value)) = (as_one::<AtomicU64>(cells), bytes.try_into()) {
        one.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    } else if let (Some(one), Ok(value)) = (as_one::<AtomicU32>(cells), bytes.try_into()) {
        one.store(u32::from_ne_bytes(value), Ordering::Relaxed);
    } else if let (Some(one), Ok(value)) = (as_one::<AtomicU16>(cells), bytes.try_into()) {
        one.store(u16::from_ne_bytes(value), Ordering::Relaxed);
    } else {
        store_run(cells, bytes);
    }
}

/// The cells as one of a bigger kind, if they are as many bytes and aligned.
#[inline]
fn as_one<T: Layout>(cells: &[AtomicU8]) -> Option<&T> {
    let start = cells.as_ptr().cast::<T>();
    if cells.len() != size_of::<T>() || !start.is_aligned() {
        return None;
    }
    // SAFETY: as many bytes are there, aligned, for as long as the borrow; any bytes are a value of
    // `T`, and as it consists of atomics, changes by others are no race.
    Some(unsafe { &*start })
}

/// The cells before the first aligned word, the words, and the cells behind the last.
fn as_words(cells: &[AtomicU8]) -> (&[AtomicU8], &[AtomicU64], &[AtomicU8]) {
    // SAFETY: any eight aligned bytes are an atomic word; as both are atomics, changes by others
    // are no race.
    unsafe { cells.align_to::<AtomicU64>() }
}

/// Copies in blocks, then whole words, then single cells at the edges.
fn load_run(cells: &[AtomicU8], bytes: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (cells, bytes) = {
        let count = bytes.len() / blocks::BLOCK;
        // SAFETY: as many bytes are readable (in cells) at the source and writable at the
        // destination, as `load` asserts; they do not overlap, as the bytes are not cells.
        unsafe { blocks::copy(bytes.as_mut_ptr(), cells.as_ptr().cast(), count) };
        (&cells[count * blocks::BLOCK..], &mut bytes[count * blocks::BLOCK..])
    };
    let (before, words, behind) = as_words(cells);
    let (first, rest) = bytes.split_at_mut(before.len());
    let (middle, last) = rest.split_at_mut(words.len() * 8);
    for (byte, cell) in first.iter_mut().chain(last).zip(before.iter().chain(behind)) {
        *byte = cell.load(Ordering::Relaxed);
    }
    for (chunk, word) in middle.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
}

/// Copies the other way round.
fn store_run(cells: &[AtomicU8], bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (cells, bytes) = {
        let count = bytes.len() / blocks::BLOCK;
        // SAFETY: as in `load_run`, the other way round.
        unsafe { blocks::copy(cells.as_ptr().cast_mut().cast(), bytes.as_ptr(), count) };
        (&cells[count * blocks::BLOCK..], &bytes[count * blocks::BLOCK..])
    };
    let (before, words, behind) = as_words(cells);
    let (first, rest) = bytes.split_at(before.len());
    let (middle, last) = rest.split_at(words.len() * 8);
    for (byte, cell) in first.iter().chain(last).zip(before.iter().chain(behind)) {
        cell.store(*byte, Ordering::Relaxed);
    }
    for (chunk, word) in middle.chunks_exact(8).zip(words) {
        word.store(u64::from_ne_bytes(chunk.try_into().unwrap_or_default()), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_length_comes_out_as_it_went_in() {
        for length in (0..40).chain([255, 256, 257, 5000]) {
            for offset in 0..9 {
                let cells: Vec<AtomicU8> = (0..length + 20).map(|_| AtomicU8::new(0xee)).collect();
                let bytes: Vec<u8> = (0..=200).cycle().take(length).collect();
                store(&cells[offset..offset + length], &bytes);
                let mut out = vec![7; length];
                load(&cells[offset..offset + length], &mut out);
                assert!(out == bytes, "{length} bytes at {offset} changed on the way");
                let beside = cells[..offset].iter().chain(&cells[offset + length..]);
                assert!(
                    beside.into_iter().all(|cell| cell.load(Ordering::Relaxed) == 0xee),
                    "{length} at {offset}"
                );
            }
        }
    }
}
