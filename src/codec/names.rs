//! The names of fields and variants, as far as the message that is being written has said them.

use super::error::CodecError;
use super::shape::{Key, SLOTS, push_name};
use super::writer::Writer;

/// The names that the message has said, by slot.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) variants: [Variant; SLOTS],
    /// With the number for their fields.
    pub(super) structs: [(Key, usize); SLOTS],
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) name: usize,
    pub(super) length: usize,
    pub(super) index: u32,
    pub(super) form: u8,
}

/// Where the names are.
pub(super) enum Mode {
    Nowhere,
    /// They were said; the fields have to be those of this number.
    Known(usize),
    /// Each before its value; all of them, if they are to be learnt.
    Each(Option<Box<Block>>),
}

/// The names of a struct whose first value is being written.
#[derive(Default)]
pub(super) struct Block(pub(super) Vec<u8>);

#[cold]
pub(super) fn spell(
    out: &mut Writer<'_>,
    learnt: &mut Option<Box<Block>>,
    name: &str,
) -> Result<(), CodecError> {
    if let Some(block) = learnt {
        push_name(&mut block.0, name);
    }
    out.text(name)
}
