//! serde's data model to bytes: a `Serializer` that writes at the end of a buffer.
//!
//! What a `Serialize` does wrong is found here, as it would not be found where the message is
//! decoded: it announces a count and writes another number of items, or it swallows the error of a
//! part and goes on. The message is refused then.
//!
//! In a list, the second value of a type refers to the names of the first one (`shape`).

use std::mem;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::budget;
use super::error::{ADVICE, CodecError, Reason, miscounted, miscounted_fields};
use super::names::{Block, Kept, Mode, Variant, spell};
use super::shape::{
    DEFINES, EACH, Form, IN_FRONT, Key, Lookup, Names, learn, look_up, mix, slot_for,
};
use super::writer::Writer;

/// Writes one message.
pub(super) struct Encoder<'a> {
    out: Writer<'a>,
    names: Names,
    /// Levels of lists, maps, options and enums that are open. The same limit holds as for
    /// decoding: a value that no child could decode is refused where it is sent.
    depth: u32,
    /// Number of lists and maps that are open. Outside of any, names are not kept: each comes once.
    lists: u32,
    /// A part of the value could not be written, whatever the type around it made of the error.
    is_spoilt: bool,
    /// The names that this message has written and may refer to; none unless it has lists.
    kept: Option<Box<Kept>>,
}

impl<'a> Encoder<'a> {
    /// Begins a message behind what `out` holds.
    pub(super) fn new(out: Writer<'a>, names: Names) -> Encoder<'a> {
        Encoder { out, names, depth: 0, lists: 0, is_spoilt: false, kept: None }
    }

    /// Writes the value of the message.
    #[inline]
    pub(super) fn encode<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), CodecError> {
        value.serialize(&mut self)?;
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
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        let done = value.serialize(&mut *self);
        // A `Serialize` may go on after an error of a part.
        if done.is_err() {
            self.is_spoilt = true;
        }
        done
    }

    /// Goes one level deeper, if that may be.
    #[inline]
    fn enter(&mut self) -> Result<(), CodecError> {
        self.depth += 1;
        budget::check(self.depth)
    }

    /// Writes the head of a variant, and goes one level deeper; the caller comes back when what is
    /// in it is written.
    #[inline]
    fn variant(&mut self, index: u32, name: &'static str, form: Form) -> Result<(), CodecError> {
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

    /// Writes the head of a struct or struct variant, with its names, if they are in front of the
    /// values.
    #[inline]
    fn fields<'e>(
        &'e mut self,
        name: &'static str,
        count: usize,
        is_variant: bool,
    ) -> Result<Fields<'e, 'a>, CodecError> {
        let key = Key::of(name, count);
        let mode = match self.names {
            Names::Never => Mode::Nowhere,
            Names::Once => self.block(key)?,
            Names::Always => self.each(key, None)?,
        };
        Ok(Fields { encoder: self, name, left: count, fields: 0, mode, count, is_variant })
    }

    /// Writes the names of a struct, if they are known and were not said.
    #[inline]
    fn block(&mut self, key: Key) -> Result<Mode, CodecError> {
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
    fn each(&mut self, key: Key, learnt: Option<Box<Block>>) -> Result<Mode, CodecError> {
        self.out.byte(EACH)?;
        self.out.number(key.count as u64)?;
        Ok(Mode::Each(learnt))
    }

    /// A tuple of any kind; variants come back from their level at its end.
    fn tuple<'e>(&'e mut self, count: usize, is_variant: bool) -> Tuple<'e, 'a> {
        Tuple { encoder: self, left: count, is_variant }
    }

    /// Writes the number of items and goes one level deeper.
    ///
    /// # Errors
    /// The `Serialize` does not know the number (`#[serde(flatten)]`, an iterator without a
    /// length): the reader could not tell where the list ends.
    fn list<'e>(
        &'e mut self,
        count: Option<usize>,
        what: &str,
    ) -> Result<List<'e, 'a>, CodecError> {
        let Some(count) = count else {
            return Err(CodecError::text(format!(
                "a {what} that does not say how long it is before it begins, as \
                 `#[serde(flatten)]` makes them; {ADVICE}"
            )));
        };
        self.enter()?;
        // From here on, names are worth keeping.
        self.lists += 1;
        self.out.number(count as u64)?;
        Ok(List { encoder: self, left: count, is_at_value: false })
    }
}

macro_rules! write_as {
    ($($method:ident: $Type:ty => |$out:ident, $value:ident| $written:expr;)*) => {
        $(
            #[inline]
            fn $method(self, $value: $Type) -> Result<(), CodecError> {
                let $out = &mut self.out;
                $written
            }
        )*
    };
}

impl<'e, 'a> Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = CodecError;
    type SerializeSeq = List<'e, 'a>;
    type SerializeTuple = Tuple<'e, 'a>;
    type SerializeTupleStruct = Tuple<'e, 'a>;
    type SerializeTupleVariant = Tuple<'e, 'a>;
    type SerializeMap = List<'e, 'a>;
    type SerializeStruct = Fields<'e, 'a>;
    type SerializeStructVariant = Fields<'e, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    write_as! {
        serialize_bool: bool => |out, value| out.byte(value.into());
        serialize_i8: i8 => |out, value| out.byte(value as u8);
        serialize_i16: i16 => |out, value| out.signed(value.into());
        serialize_i32: i32 => |out, value| out.signed(value.into());
        serialize_i64: i64 => |out, value| out.signed(value);
        serialize_i128: i128 => |out, value| out.bytes(&value.to_le_bytes());
        serialize_u8: u8 => |out, value| out.byte(value);
        serialize_u16: u16 => |out, value| out.number(value.into());
        serialize_u32: u32 => |out, value| out.number(value.into());
        serialize_u64: u64 => |out, value| out.number(value);
        serialize_u128: u128 => |out, value| out.bytes(&value.to_le_bytes());
        serialize_f32: f32 => |out, value| out.bytes(&value.to_le_bytes());
        serialize_f64: f64 => |out, value| out.bytes(&value.to_le_bytes());
        serialize_char: char => |out, value| out.number(u32::from(value).into());
        serialize_str: &str => |out, value| out.text(value);
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), CodecError> {
        self.out.number(value.len() as u64)?;
        self.out.bytes(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), CodecError> {
        self.out.byte(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CodecError> {
        self.enter()?;
        self.out.byte(1)?;
        self.part(value)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), CodecError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), CodecError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), CodecError> {
        self.variant(index, variant, Form::Unit)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        self.part(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        self.variant(index, variant, Form::Newtype)?;
        self.part(value)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, count: Option<usize>) -> Result<List<'e, 'a>, CodecError> {
        self.list(count, "list")
    }

    #[inline]
    fn serialize_tuple(self, count: usize) -> Result<Tuple<'e, 'a>, CodecError> {
        Ok(self.tuple(count, false))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        count: usize,
    ) -> Result<Tuple<'e, 'a>, CodecError> {
        if self.names != Names::Never {
            self.out.number(count as u64)?;
        }
        Ok(self.tuple(count, false))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Tuple<'e, 'a>, CodecError> {
        self.variant(index, variant, Form::Tuple)?;
        if self.names != Names::Never {
            self.out.number(count as u64)?;
        }
        Ok(self.tuple(count, true))
    }

    #[inline]
    fn serialize_map(self, count: Option<usize>) -> Result<List<'e, 'a>, CodecError> {
        self.list(count, "map")
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        count: usize,
    ) -> Result<Fields<'e, 'a>, CodecError> {
        self.fields(name, count, false)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Fields<'e, 'a>, CodecError> {
        self.variant(index, variant, Form::Struct)?;
        self.fields(variant, count, true)
    }
}

/// A list or a map that is being written.
pub(super) struct List<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    /// Number of items that are still to come.
    left: usize,
    /// The key of an entry is written, its value is not.
    is_at_value: bool,
}

impl List<'_, '_> {
    /// Comes back from the level, if as many were written as were announced.
    #[inline]
    fn finish(self, what: &str) -> Result<(), CodecError> {
        if self.left != 0 || self.is_at_value {
            return Err(miscounted(what));
        }
        self.encoder.depth -= 1;
        self.encoder.lists -= 1;
        Ok(())
    }
}

impl SerializeSeq for List<'_, '_> {
    type Ok = ();
    type Error = CodecError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        // Below zero, it will not be zero at the end.
        self.left = self.left.wrapping_sub(1);
        self.encoder.part(value)
    }

    #[inline]
    fn end(self) -> Result<(), CodecError> {
        self.finish("list")
    }
}

impl SerializeMap for List<'_, '_> {
    type Ok = ();
    type Error = CodecError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CodecError> {
        if self.is_at_value {
            return Err(miscounted("map"));
        }
        self.is_at_value = true;
        self.left = self.left.wrapping_sub(1);
        self.encoder.part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        if !self.is_at_value {
            return Err(miscounted("map"));
        }
        self.is_at_value = false;
        self.encoder.part(value)
    }

    #[inline]
    fn end(self) -> Result<(), CodecError> {
        self.finish("map")
    }
}

/// A tuple, a tuple struct or a tuple variant that is being written.
pub(super) struct Tuple<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    left: usize,
    is_variant: bool,
}

impl Tuple<'_, '_> {
    /// One field; a number below zero wraps, and is not zero at the end.
    #[inline]
    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.left = self.left.wrapping_sub(1);
        self.encoder.part(value)
    }

    #[inline]
    fn finish(self) -> Result<(), CodecError> {
        if self.left != 0 {
            return Err(miscounted("tuple"));
        }
        self.encoder.depth -= u32::from(self.is_variant);
        Ok(())
    }
}

/// Tuples of all kinds are written alike; only serde's names for it differ.
macro_rules! write_tuple {
    ($($Trait:ident::$method:ident),*) => {$(
        impl $Trait for Tuple<'_, '_> {
            type Ok = ();
            type Error = CodecError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
                self.next(value)
            }

            #[inline]
            fn end(self) -> Result<(), CodecError> {
                self.finish()
            }
        }
    )*};
}

write_tuple! {
    SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

/// A struct or a struct variant that is being written.
pub(super) struct Fields<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    name: &'static str,
    left: usize,
    /// The number for the fields that were written so far: `mix`.
    fields: usize,
    mode: Mode,
    count: usize,
    is_variant: bool,
}

impl Fields<'_, '_> {
    /// The key by which its names are known.
    fn key(&self) -> Key {
        Key::of(self.name, self.count)
    }

    #[inline(always)]
    fn next<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        self.left = self.left.wrapping_sub(1);
        self.fields = mix(self.fields, name);
        if let Mode::Each(learnt) = &mut self.mode {
            spell(&mut self.encoder.out, learnt, name)?;
        }
        self.encoder.part(value)
    }

    /// A field that this value leaves out: others may have it. So what is being learnt holds for
    /// this value only, and the struct is marked as one whose fields vary.
    fn skip(&mut self) {
        if let Mode::Each(learnt @ Some(_)) = &mut self.mode {
            *learnt = None;
            learn(self.key(), None, Vec::new());
        }
    }

    #[inline]
    fn finish(mut self) -> Result<(), CodecError> {
        if self.left != 0 {
            return Err(miscounted_fields(self.name));
        }
        match mem::replace(&mut self.mode, Mode::Nowhere) {
            // The names in front of the values were those of another value of the type: start
            // again, with all names, and never take this struct's fields for granted again.
            Mode::Known(fields) if fields != self.fields => {
                learn(self.key(), None, Vec::new());
                return Err(Reason::Varies.into());
            }
            // A whole value without a field left out: the next one has the names in front.
            Mode::Each(Some(block)) => learn(self.key(), Some(self.fields), block.0),
            _ => {}
        }
        self.encoder.depth -= u32::from(self.is_variant);
        Ok(())
    }
}

/// Structs and struct variants are written alike.
macro_rules! write_fields {
    ($($Trait:ident),*) => {$(
        impl $Trait for Fields<'_, '_> {
            type Ok = ();
            type Error = CodecError;

            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), CodecError> {
                self.next(key, value)
            }

            #[inline]
            fn skip_field(&mut self, _: &'static str) -> Result<(), CodecError> {
                self.skip();
                Ok(())
            }

            #[inline]
            fn end(self) -> Result<(), CodecError> {
                self.finish()
            }
        }
    )*};
}

write_fields! { SerializeStruct, SerializeStructVariant }
