//! A message that is being written: how deep it is, which names it has said, whether it is whole.
//!
//! What a `Serialize` does wrong is found here and in `serializer`, as it would not be found where
//! the message is decoded: it announces a count and writes another number of items, or it swallows
//! the error of a part and goes on. The message is refused then.
//!
//! In a list, the second value of a type refers to the names of the first one (`shape`). The writer
//! and the reader each keep 32 slots; a head says which one. Both replace a slot at the same byte
//! of the message, so they always agree on what is in it.

use serde::ser::Serialize;

use super::budget;
use super::error::CodecError;
use super::shape::{
    DEFINES, EACH, Form, IN_FRONT, Key, Lookup, Names, SLOTS, look_up, push_name, slot_for,
};
use super::writer::Writer;

/// Writes one message.
pub(super) struct Encoder<'a> {
    pub(super) out: Writer<'a>,
    pub(super) names: Names,
    /// Levels of lists, maps, options and enums that are open. The same limit holds as for
    /// decoding: a value that no child could decode is refused where it is sent.
    pub(super) depth: u32,
    /// Number of lists and maps that are open. Outside of any, names are not kept: each comes once.
    pub(super) lists: u32,
    /// A part of the value could not be written, whatever the type around it made of the error.
    is_spoilt: bool,
    /// The names that this message has written and may refer to; none unless it has lists.
    kept: Option<Box<Kept>>,
}

impl<'a> Encoder<'a> {
    /// Begins a message behind what `out` holds.
    #[inline(always)]
    pub(super) fn new(out: Writer<'a>, names: Names) -> Encoder<'a> {
        Encoder { out, names, depth: 0, lists: 0, is_spoilt: false, kept: None }
    }

    /// Writes the value of the message.
    #[inline(always)]
    pub(super) fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        value.serialize(&mut *self)?;
        // The bytes of the part are there, and the reader would take them for something else.
        if self.is_spoilt {
            return Err(CodecError::text(
                "a part of it could not be encoded, which its Serialize did not tell",
            ));
        }
        Ok(())
    }

    /// Writes a part of the value, and notes if it failed.
    #[inline(always)]
    pub(super) fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        let done = value.serialize(&mut *self);
        // A `Serialize` may go on after an error of a part.
        if done.is_err() {
            self.is_spoilt = true;
        }
        done
    }

    /// Goes one level deeper, if that may be.
    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), CodecError> {
        self.depth += 1;
        budget::check(self.depth)
    }

    /// Writes the head of a variant, and goes one level deeper; the caller comes back when what is
    /// in it is written.
    #[inline]
    pub(super) fn variant(
        &mut self,
        index: u32,
        name: &'static str,
        form: Form,
    ) -> Result<(), CodecError> {
        self.enter()?;
        if self.names == Names::Never {
            return self.out.number(index.into());
        }
        if self.lists > 0 && self.names == Names::Once {
            return self.variant_in_list(index, name, form);
        }
        self.out.variant(IN_FRONT, form as u8, index, name)
    }

    /// In a list: a slot that holds exactly this variant is referred to, in one byte.
    #[inline]
    fn variant_in_list(
        &mut self,
        index: u32,
        name: &'static str,
        form: Form,
    ) -> Result<(), CodecError> {
        let variant =
            Variant { name: name.as_ptr() as usize, length: name.len(), index, form: form as u8 };
        // The reader does not compute slots: the head names them.
        let slot = slot_for(variant.name, index as usize);
        match &self.kept {
            Some(kept) if kept.variants[slot] == variant => self.out.byte(slot as u8),
            _ => self.new_variant(variant, slot, name),
        }
    }

    /// A variant that no slot has: it takes the slot of its hash, whatever was there before, and
    /// the reader does the same.
    #[cold]
    fn new_variant(
        &mut self,
        variant: Variant,
        slot: usize,
        name: &'static str,
    ) -> Result<(), CodecError> {
        self.kept.get_or_insert_default().variants[slot] = variant;
        self.out.variant(DEFINES + slot as u8, variant.form, variant.index, name)
    }

    /// Writes the names of a struct, if they are known and were not said.
    #[inline]
    pub(super) fn block(&mut self, key: Key) -> Result<Mode, CodecError> {
        if self.lists == 0 {
            return self.new_block(key, IN_FRONT);
        }
        let slot = key.slot();
        match &self.kept {
            Some(kept) if kept.structs[slot].0 == key => {
                let mode = Mode::Known(kept.structs[slot].1);
                self.out.byte(slot as u8)?;
                Ok(mode)
            }
            _ => self.block_in_list(key, slot),
        }
    }

    /// A struct that no slot has: it takes the slot of its hash. It is kept only if its names are
    /// known by now; a first value, whose names are learnt on the way, cannot be referred to yet.
    #[cold]
    fn block_in_list(&mut self, key: Key, slot: usize) -> Result<Mode, CodecError> {
        let mode = self.new_block(key, DEFINES + slot as u8)?;
        if let Mode::Known(fields) = mode {
            self.kept.get_or_insert_default().structs[slot] = (key, fields);
        }
        Ok(mode)
    }

    /// Writes the names in front of the values, if this thread has encoded such a struct before;
    /// else each in front of its value.
    #[inline]
    fn new_block(&mut self, key: Key, head: u8) -> Result<Mode, CodecError> {
        match look_up(key, |fields, block| self.out.block(head, block).map(|()| fields)) {
            Lookup::Found(fields) => Ok(Mode::Known(fields?)),
            Lookup::New => self.each(key, Some(Box::default())),
            Lookup::Varying => self.each(key, None),
        }
    }

    /// The head of a struct whose names come each in front of its value. `learnt` collects them for
    /// the next one.
    #[cold]
    pub(super) fn each(
        &mut self,
        key: Key,
        learnt: Option<Box<Block>>,
    ) -> Result<Mode, CodecError> {
        self.out.byte(EACH)?;
        self.out.number(key.count as u64)?;
        Ok(Mode::Each(learnt))
    }
}

/// The names that the message has said, by slot.
#[derive(Default)]
struct Kept {
    variants: [Variant; SLOTS],
    /// With the number (`mix`) for their fields: a reference is right only for a value with just
    /// these.
    structs: [(Key, usize); SLOTS],
}

/// A variant by the place and length of its name in the program, its position in the enum and its
/// form. By place and not by text: it is compared for each value of a list.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Variant {
    name: usize,
    length: usize,
    index: u32,
    form: u8,
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
