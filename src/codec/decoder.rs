//! Bytes to serde's data model: a `Deserializer` that reads from the front of a message.
//!
//! The type decides what is read; the bytes only fill it in. So a message that was forged gives
//! some value of the type or an error. Three things are checked that serde does not: that a
//! `Deserialize` takes all items that were written (`open`), that it asks for what is in a variant
//! (`is_unopened`), and that the value stays within the limits (`budget`).
//!
//! `deserialize_any` and `deserialize_ignored_any` fail, as the format does not say what comes
//! next.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::budget::Budget;
use super::enums::{self, Variant};
use super::error::{ADVICE, CodecError, Reason};
use super::packed::{self, Body, left_over};
use super::reader::Reader;
use super::shape::{Names, SLOTS};
use super::structs::{self, Shape};

/// Reads one message. Texts and bytes are borrowed from it.
pub(super) struct Decoder<'de> {
    pub(super) input: Reader<'de>,
    pub(super) names: Names,
    pub(super) budget: Budget,
    pub(super) kept: Option<Box<Kept<'de>>>,
    /// The variant of an enum is known, and what is in it was not asked for yet. Still true at the
    /// end of the enum, it means bytes that nobody reads.
    pub(super) is_unopened: bool,
    /// Number of lists and tuples, one in the other, with items left that were not asked for.
    open: usize,
}

/// The names that the message has said to be referred to, by slot. See `encoder`, which is the
/// writer's side.
#[derive(Default)]
pub(super) struct Kept<'de> {
    pub(super) variants: [Option<Variant<'de>>; SLOTS],
    pub(super) structs: [Option<Shape<'de>>; SLOTS],
}

impl<'de> Decoder<'de> {
    /// Begins a message.
    #[inline]
    pub(super) fn new(bytes: &'de [u8], names: Names) -> Decoder<'de> {
        Decoder {
            input: Reader::of(bytes),
            names,
            budget: Budget::of(bytes.len()),
            kept: None,
            is_unopened: false,
            open: 0,
        }
    }

    /// Reads `count` items one after the other.
    ///
    /// # Errors
    /// The type takes fewer: what it leaves would pass for what comes after.
    #[inline]
    pub(super) fn items<V: Visitor<'de>>(
        &mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        let open = self.open;
        let value = visitor.visit_seq(Items::new(self, count))?;
        if self.open == open { Ok(value) } else { Err(left_over()) }
    }

    /// Reads the items of a tuple struct or a tuple variant, in front of which their number stands.
    ///
    /// # Errors
    /// It is not `count`: `Serialize` and `Deserialize` disagree, as with `#[serde(skip)]` on one
    /// of the fields, and nothing says which of them is missing.
    pub(super) fn counted_items<V: Visitor<'de>>(
        &mut self,
        name: &str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.budget.take(size_of::<V::Value>())?;
        if self.names != Names::Never {
            let written = self.input.number()?;
            if written != count as u64 {
                return Err(CodecError::text(format!(
                    "`{name}`: its Serialize wrote {written} fields, its Deserialize expects \
                     {count}; {ADVICE} or give the fields names"
                )));
            }
        }
        self.items(count, visitor)
    }
}

/// The type has to know from the bytes what they are.
#[cold]
fn asks_for_any() -> CodecError {
    CodecError::text(format!(
        "its Deserialize asks what comes next, as for `#[serde(untagged)]`, `#[serde(tag)]`, \
         `#[serde(flatten)]` and `serde_json::Value`, which this format does not say; {ADVICE}"
    ))
}

macro_rules! read_as {
    ($($method:ident: $visit:ident(|$input:ident| $read:expr);)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
                self.budget.take(size_of::<V::Value>())?;
                let $input = &mut self.input;
                visitor.$visit($read)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = CodecError;

    fn is_human_readable(&self) -> bool {
        false
    }

    read_as! {
        deserialize_i8: visit_i8(|input| input.byte()? as i8);
        deserialize_i16: visit_i16(|input| input.fitting_signed()?);
        deserialize_i32: visit_i32(|input| input.fitting_signed()?);
        deserialize_i64: visit_i64(|input| input.signed()?);
        deserialize_i128: visit_i128(|input| i128::from_le_bytes(input.array()?));
        deserialize_u8: visit_u8(|input| input.byte()?);
        deserialize_u16: visit_u16(|input| input.fitting()?);
        deserialize_u32: visit_u32(|input| input.fitting()?);
        deserialize_u64: visit_u64(|input| input.number()?);
        deserialize_u128: visit_u128(|input| u128::from_le_bytes(input.array()?));
        deserialize_f32: visit_f32(|input| f32::from_le_bytes(input.array()?));
        deserialize_f64: visit_f64(|input| f64::from_le_bytes(input.array()?));
        deserialize_str: visit_borrowed_str(|input| input.text()?);
        deserialize_string: visit_borrowed_str(|input| input.text()?);
    }

    /// One byte, 0 or 1; any other is an error, not a truth value of its own.
    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.input.byte()? {
            byte @ 0..=1 => visitor.visit_bool(byte == 1),
            byte => Err(CodecError::text(format!("{byte} is neither true nor false"))),
        }
    }

    /// A number that is a Unicode scalar value; others are refused.
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        let number: u32 = self.input.fitting()?;
        match char::from_u32(number) {
            Some(char) => visitor.visit_char(char),
            None => Err(CodecError::text(format!("{number} is not a character"))),
        }
    }

    /// As a list of bytes; they are borrowed from the message.
    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match Body::read(&mut self.input, &mut self.budget)? {
            Body::Items(length) => visitor.visit_borrowed_bytes(self.input.bytes(length)?),
            Body::Packed(..) => {
                Err(CodecError::text("a list of integers, of which bytes are asked"))
            }
        }
    }

    /// The same: the type copies them.
    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_bytes(visitor)
    }

    /// One byte, 0 or 1, then the value. It counts as a level: options can be nested as lists can.
    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.budget.take(size_of::<V::Value>())?;
        match self.input.byte()? {
            0 => visitor.visit_none(),
            1 => {
                self.budget.enter()?;
                let value = visitor.visit_some(&mut *self)?;
                self.budget.leave();
                Ok(value)
            }
            byte => Err(CodecError::text(format!(
                "{byte} says neither that there is a value nor that there is none"
            ))),
        }
    }

    /// No bytes.
    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.budget.take(size_of::<V::Value>())?;
        visitor.visit_unit()
    }

    /// No bytes.
    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_unit(visitor)
    }

    /// Its field, and nothing else.
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_newtype_struct(self)
    }

    /// The head of a list, then its items. Their number is counted before a type makes room for it,
    /// and a hint is all that the type gets of it. Vectors of numbers are read as a whole.
    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.budget.take(size_of::<V::Value>())?;
        // Counted against the budget before any memory is made for it.
        let body = Body::read(&mut self.input, &mut self.budget)?;
        self.budget.enter()?;
        let value = match packed::read::<V>(body, &mut self.input) {
            Some(vector) => vector?,
            None => match body {
                Body::Items(count) => {
                    self.items(usize::try_from(count).unwrap_or(usize::MAX), visitor)?
                }
                Body::Packed(kind, bytes) => packed::visit(kind, bytes, &mut self.budget, visitor)?,
            },
        };
        self.budget.leave();
        Ok(value)
    }

    /// As many items as the type says; the bytes do not.
    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.budget.take(size_of::<V::Value>())?;
        self.items(count, visitor)
    }

    /// The number of fields, which has to be the type's, then these.
    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.counted_items(name, count, visitor)
    }

    /// The number of entries, then each key with its value.
    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.budget.take(size_of::<V::Value>())?;
        let count = self.input.number()?;
        self.budget.claim(count)?;
        self.budget.enter()?;
        let open = self.open;
        let items = Items::new(self, usize::try_from(count).unwrap_or(usize::MAX));
        let value = visitor.visit_map(Entries { items, key_size: 0, is_first: true })?;
        if self.open != open {
            return Err(left_over());
        }
        self.budget.leave();
        Ok(value)
    }

    /// A head, names, fields: see `structs`.
    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        structs::read(self, name, fields, visitor)
    }

    /// A head, the variant, its inside: see `enums`.
    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        enums::read(self, name, variants, visitor)
    }

    /// Fails: the bytes do not say what they are.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        Err(asks_for_any())
    }

    /// The tag of an enum with `#[serde(tag, content)]`, which is written as a variant.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        enums::read_tag(self, visitor)
    }

    /// Fails: a value of unknown type has an unknown length. `structs` adds the name of the field.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        Err(Reason::Unread.into())
    }
}

/// The items of a list or a tuple, given one after the other.
struct Items<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
}

impl<'d, 'de> Items<'d, 'de> {
    /// The items are open until the last one was asked for.
    #[inline]
    fn new(decoder: &'d mut Decoder<'de>, left: usize) -> Items<'d, 'de> {
        decoder.open += usize::from(left > 0);
        Items { decoder, left }
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = CodecError;

    /// Reads the next item, if there is one.
    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, CodecError> {
        // The type may ask once more to be sure; it gets the same answer.
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.left == 0 {
            // All are asked for; if the last one fails, the message is over anyway.
            self.decoder.open -= 1;
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    /// Says how much room to make at once: all of it on shallow levels, little on deep ones.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.decoder.budget.hint(self.left))
    }
}

/// The entries of a map. The memory of a node is counted once, when the sizes of key and value are
/// known; each entry takes a byte of the message at least.
struct Entries<'d, 'de> {
    items: Items<'d, 'de>,
    key_size: usize,
    is_first: bool,
}

/// A map of one entry can have room for so many: a node of a tree has.
pub(super) const NODE: usize = 11;

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = CodecError;

    /// Reads the next key, if there is one, and notes its size for the memory of a node.
    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, CodecError> {
        self.key_size = size_of::<T::Value>();
        self.items.next_element_seed(seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, CodecError> {
        if self.is_first {
            // The map takes memory with its first entry, for a node of a tree or a table.
            self.is_first = false;
            self.items
                .decoder
                .budget
                .take(NODE.saturating_mul(self.key_size + size_of::<T::Value>()))?;
        }
        seed.deserialize(&mut *self.items.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.decoder.budget.hint(self.items.left))
    }
}
