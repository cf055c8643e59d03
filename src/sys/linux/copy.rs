//! Copying into and out of memory that other processes write to at the same time.
//!
//! To the compiler, memory behind an ordinary reference changes by its own program only. So neither direction uses one: words
//! are copied by atomic accesses, and blocks by instructions that the compiler does not look into. What comes out may be a
//! mixture of old and new bytes; it is in the caller's own memory then, and stays what it is while it is checked.

use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::blocks;

/// Copies `bytes` to the beginning of `words`; the last word is filled up with anything.
pub(crate) fn store(words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= size_of_val(words), "the bytes do not fit");
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (words, bytes) = {
        let count = bytes.len() / blocks::BLOCK;
        // SAFETY: as many bytes are readable at the source and, as just asserted, writable (in cells) at the destination;
        // they do not overlap, as the bytes are not cells.
        unsafe { blocks::copy(words.as_ptr().cast_mut().cast(), bytes.as_ptr(), count) };
        (&words[count * blocks::BLOCK / 8..], &bytes[count * blocks::BLOCK..])
    };
    let mut chunks = bytes.chunks_exact(8);
    for (chunk, word) in chunks.by_ref().zip(words) {
        let value = <[u8; 8]>::try_from(chunk).unwrap_or_default();
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[bytes.len() / 8].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Copies the beginning of `words` to the end of `bytes`, `length` of them.
pub(crate) fn load_onto(words: &[AtomicU64], length: usize, bytes: &mut Vec<u8>) {
    assert!(length <= size_of_val(words), "there are fewer bytes");
    bytes.reserve(length);
    let spare = &mut bytes.spare_capacity_mut()[..length];
    // SAFETY: bytes of `MaybeUninit` are written only, by `load`, which writes all of them.
    let spare = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), length) };
    load(words, spare);
    // SAFETY: `length` more bytes were just written.
    unsafe { bytes.set_len(bytes.len() + length) };
}

/// Copies the beginning of `words` to all of `bytes`.
pub(crate) fn load(words: &[AtomicU64], bytes: &mut [u8]) {
    assert!(bytes.len() <= size_of_val(words), "there are fewer bytes");
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (words, bytes) = {
        let count = bytes.len() / blocks::BLOCK;
        // SAFETY: as in `store`, the other way round.
        unsafe { blocks::copy(bytes.as_mut_ptr(), words.as_ptr().cast(), count) };
        (&words[count * blocks::BLOCK / 8..], &mut bytes[count * blocks::BLOCK..])
    };
    let whole = bytes.len() / 8;
    let mut chunks = bytes.chunks_exact_mut(8);
    for (chunk, word) in chunks.by_ref().zip(words) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let last = words[whole].load(Ordering::Relaxed).to_ne_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_out_as_it_went_in() {
        for length in (0..600).chain([4096, 70_001]) {
            let words: Vec<AtomicU64> = (0..length / 8 + 2).map(|_| AtomicU64::new(u64::MAX)).collect();
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            store(&words, &bytes);
            let mut out = vec![7];
            load_onto(&words, length, &mut out);
            assert!(out[1..] == *bytes, "{length} bytes changed on the way");
            assert_eq!(words[length / 8 + 1].load(Ordering::Relaxed), u64::MAX, "{length} bytes wrote too far");
        }
    }
}
