//! Bytes as a source of decisions. When they are used up, all is zero.

use crate::sys::wait::robust;

#[derive(Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number below `most`, which is not zero.
    pub(super) fn below(&mut self, most: usize) -> usize {
        let number =
            if most <= 256 { usize::from(self.byte()) } else { self.raw() as usize & 0xffff };
        number % most
    }

    /// As many bytes as there are, up to `most`.
    pub(super) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Some bytes: a length, then these.
    pub(super) fn some(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.bytes(length.into())
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    fn raw(&mut self) -> u64 {
        let mut word = [0; 8];
        let bytes = self.bytes(2);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// A word of shared memory, more often one that means something than not.
    pub(super) fn word(&mut self) -> u64 {
        let kind = self.byte();
        let small = u64::from(self.byte());
        let flags = (small & 3) << 30;
        match kind % 8 {
            0 => 0,
            1 => small,
            2 => u64::MAX - small,
            3 => 1 << (small % 64),
            // A lock that this thread holds, or one that nobody does who could release it.
            4 => u64::from(robust::tid()) | flags,
            5 => 0x3fff_fff0 | flags,
            6 => small << 40 | self.raw(),
            _ => {
                let mut word = [0; 8];
                let bytes = self.bytes(8);
                word[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(word)
            }
        }
    }
}
