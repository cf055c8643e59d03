//! The names of fields and variants, as far as the message that is being written has said them.
//!
//! The writer and the reader each keep 32 slots; a head says which one. Both replace a slot at the
//! same byte of the message, so they always agree on what is in it.

use super::error::CodecError;
use super::shape::{Key, SLOTS, push_name};
use super::writer::Writer;

/// The names that the message has said, by slot.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) variants: [Variant; SLOTS],
    /// With the number (`mix`) for their fields: a reference is right only for a value with just
    /// these.
    pub(super) structs: [(Key, usize); SLOTS],
}

/// A variant by the place and length of its name in the program, its position in the enum and its
/// form. By place and not by text: it is compared for each value of a list.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) name: usize,
    pub(super) length: usize,
    pub(super) index: u32,
    pub(super) form: u8,
}

/// Where the names of the struct that is being written are.
pub(super) enum Mode {
    /// Left out: a type of the library.
    Nowhere,
    /// They were said; the fields have to be those of this number.
    Known(usize),
    /// Each before its value; all of them, if they are to be learnt.
    Each(Option<Box<Block>>),
}

/// The names of a struct whose first value is being written, as they are to be written in front of
/// the next one.
#[derive(Default)]
pub(super) struct Block(pub(super) Vec<u8>);

/// Writes the name of a field in front of its value, and adds it to what is being learnt.
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
