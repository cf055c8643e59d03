//! Words that nobody but the processes knows, and copying by words. Whoever is dead changes none.
//!
//! Outside of a model (in the files' own tests) they are the standard library's.

use std::cell::Cell;
pub(crate) use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicU64 as Plain, fence as plain_fence};

pub(crate) use crate::sys::atomic::AtomicU32;
use crate::world::{is_dead, step};

thread_local! {
    /// Loom's threads are all on this one.
    static IS_MODEL: Cell<bool> = const { Cell::new(false) };
}

/// A test that runs in a model.
pub(crate) fn model(body: impl FnOnce()) {
    IS_MODEL.set(true);
    body();
    IS_MODEL.set(false);
}

#[cfg(feature = "loom")]
mod word {
    use loom::sync::atomic::AtomicU64 as Word;

    use super::*;

    /// As long as a word is. Outside of a model, its value. In one, where all words are 0 at first,
    /// it becomes known to the checker once it is used (of a ring, that is the smaller part): then
    /// it is the address of what the checker has for it.
    #[derive(Debug)]
    pub(crate) struct AtomicU64(Plain);

    /// What the checker has for a word: the word, and another one that each access changes. For of
    /// the accesses to one word, it remembers the last only; after a thread has loaded what it is
    /// about to store, it would see no conflict with the others who have loaded it before.
    struct Checked(Word, Word);

    impl Checked {
        fn accessed(&self) -> &Word {
            self.1.swap(0, Ordering::Relaxed);
            &self.0
        }
    }

    impl AtomicU64 {
        pub(crate) const fn new(value: u64) -> AtomicU64 {
            AtomicU64(Plain::new(value))
        }

        fn checked(&self) -> Option<&Checked> {
            if !IS_MODEL.get() {
                return None;
            }
            if self.0.load(Ordering::Relaxed) == 0 {
                let made = Box::into_raw(Box::new(Checked(Word::new(0), Word::new(0))));
                self.0.store(made.expose_provenance() as u64, Ordering::Relaxed);
            }
            let made = std::ptr::with_exposed_provenance::<Checked>(
                self.0.load(Ordering::Relaxed) as usize
            );
            // SAFETY: made above; it goes with the word.
            Some(unsafe { &*made })
        }

        /// Makes it known now, as something that all see.
        pub(crate) fn touch(&self) {
            self.checked();
        }

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            match self.checked() {
                Some(_) if is_dead() => 0,
                Some(checked) => checked.accessed().load(ordering),
                None => self.0.load(ordering),
            }
        }

        pub(crate) fn store(&self, value: u64, ordering: Ordering) {
            match self.checked() {
                Some(checked) if step() => checked.accessed().store(value, ordering),
                Some(_) => {}
                None => self.0.store(value, ordering),
            }
        }

        pub(crate) fn swap(&self, value: u64, ordering: Ordering) -> u64 {
            match self.checked() {
                Some(checked) if step() => checked.accessed().swap(value, ordering),
                Some(_) => 0,
                None => self.0.swap(value, ordering),
            }
        }

        pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
            match self.checked() {
                Some(checked) if step() => checked.accessed().fetch_add(value, ordering),
                Some(_) => 0,
                None => self.0.fetch_add(value, ordering),
            }
        }

        pub(crate) fn fetch_update(
            &self,
            set: Ordering,
            fetch: Ordering,
            f: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            match self.checked() {
                Some(checked) if step() => checked.accessed().fetch_update(set, fetch, f),
                Some(_) => Err(0),
                None => self.0.fetch_update(set, fetch, f),
            }
        }
    }

    impl Drop for AtomicU64 {
        fn drop(&mut self) {
            let made = *self.0.get_mut() as usize;
            if IS_MODEL.get() && made != 0 {
                // SAFETY: made by `checked`, and nobody has the word any more.
                drop(unsafe {
                    Box::from_raw(std::ptr::with_exposed_provenance_mut::<Checked>(made))
                });
            }
        }
    }

    pub(crate) fn fence(ordering: Ordering) {
        if IS_MODEL.get() { loom::sync::atomic::fence(ordering) } else { plain_fence(ordering) }
    }
}

#[cfg(not(feature = "loom"))]
mod word {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct AtomicU64(Plain);

    impl AtomicU64 {
        pub(crate) const fn new(value: u64) -> AtomicU64 {
            AtomicU64(Plain::new(value))
        }

        pub(crate) fn touch(&self) {}

        pub(crate) fn load(&self, ordering: Ordering) -> u64 {
            if is_dead() { 0 } else { self.0.load(ordering) }
        }

        pub(crate) fn store(&self, value: u64, ordering: Ordering) {
            if step() {
                self.0.store(value, ordering);
            }
        }

        pub(crate) fn swap(&self, value: u64, ordering: Ordering) -> u64 {
            if step() { self.0.swap(value, ordering) } else { 0 }
        }

        pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
            if step() { self.0.fetch_add(value, ordering) } else { 0 }
        }

        pub(crate) fn fetch_update(
            &self,
            set: Ordering,
            fetch: Ordering,
            f: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            if step() { self.0.fetch_update(set, fetch, f) } else { Err(0) }
        }
    }

    pub(crate) fn fence(ordering: Ordering) {
        plain_fence(ordering);
    }
}

pub(crate) use word::*;

pub(crate) fn store_and_fence(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
    fence(Ordering::SeqCst);
}

pub(crate) fn copy_in(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

pub(crate) fn copy_few_in(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    for (place, byte) in (at..).zip(bytes) {
        let word = &words[place / 8];
        let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
        value[place % 8] = *byte;
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

pub(crate) fn copy_out(words: &[AtomicU64], length: usize, onto: &mut Vec<u8>) {
    let before = onto.len();
    for word in &words[..length.div_ceil(8)] {
        onto.extend(word.load(Ordering::Relaxed).to_ne_bytes());
    }
    onto.truncate(before + length);
}

impl AtomicU32 {
    pub(crate) fn fetch_max(&self, value: u32, ordering: Ordering) -> u32 {
        if step() { self.0.fetch_max(value, ordering) } else { 0 }
    }
}

/// A word that is not worth checking.
#[derive(Debug)]
pub(crate) struct Unchecked;

impl Unchecked {
    pub(crate) fn load(&self, _: Ordering) -> u64 {
        0
    }

    pub(crate) fn store(&self, _: u64, _: Ordering) {}
}
