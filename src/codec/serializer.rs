//! serde's data model to bytes: the `Serializer` of an `Encoder`.

use std::mem;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::budget;
use super::encoder::{Encoder, Mode, spell};
use super::error::{ADVICE, CodecError, Reason, miscounted, miscounted_fields};
use super::packed;
use super::shape::{Form, Key, Names, learn, mix};

impl<'a> Encoder<'a> {
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

    /// A tuple of any kind; variants come back from their level at its end.
    fn tuple<'e>(&'e mut self, count: usize, is_variant: bool) -> Tuple<'e, 'a> {
        Tuple { encoder: self, left: count, is_variant }
    }

    /// Begins a list or a map: writes its head and goes one level deeper.
    ///
    /// # Errors
    /// The `Serialize` does not know the number (`#[serde(flatten)]`, an iterator without a
    /// length): the reader could not tell where the list ends.
    fn list<'e>(
        &'e mut self,
        count: Option<usize>,
        what: &str,
        head: impl FnOnce(usize) -> Result<u64, CodecError>,
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
        self.out.number(head(count)?)?;
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
        self.out.number(packed::head(value.len(), false)?)?;
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
        self.list(count, "list", |count| packed::head(count, false))
    }

    /// A list whose items are known as a whole. All numbers of a slice go at once: vectors, boxed
    /// slices and arrays of any length come here with an iterator over a slice.
    #[inline]
    fn collect_seq<I>(self, items: I) -> Result<(), CodecError>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        let mut items = items.into_iter();
        if let Some(done) = packed::write(&items, &mut self.out) {
            // A list is a level, also if there is nothing in it that could be nested.
            return done.and_then(|()| budget::check(self.depth + 1));
        }
        let count = match items.size_hint() {
            (least, Some(most)) if least == most => Some(least),
            _ => None,
        };
        let mut list = self.serialize_seq(count)?;
        items.try_for_each(|item| list.serialize_element(&item))?;
        SerializeSeq::end(list)
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
        self.list(count, "map", |count| Ok(count as u64))
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
