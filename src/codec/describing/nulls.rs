//! Finds options that a self-describing format cannot tell from `None`.
//!
//! MessagePack writes `None` and `()` as nil, and `Some(x)` as `x`. So `Some(None)` and `Some(())`
//! would arrive as `None`. This serializer writes nothing: it answers for each value whether it
//! would be nil, and refuses an option around such a one. It also sees how deep the value is
//! nested, before the format does.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::guard;
use crate::codec::error::CodecError;

/// Answers whether a value would be written as nil; the number is how deep it is nested.
#[derive(Clone, Copy)]
pub(crate) struct Nulls(pub(crate) u32);

impl Nulls {
    /// One level deeper, if that may be.
    fn deeper(self) -> Result<Nulls, CodecError> {
        let depth = self.0 + 1;
        guard::check(depth)?;
        Ok(Nulls(depth))
    }
}

macro_rules! something {
    ($($method:ident: $Type:ty),* $(,)?) => {
        $(
            fn $method(self, _: $Type) -> Result<bool, CodecError> {
                Ok(false)
            }
        )*
    };
}

impl Serializer for Nulls {
    type Ok = bool;
    type Error = CodecError;
    type SerializeSeq = Nulls;
    type SerializeTuple = Nulls;
    type SerializeTupleStruct = Nulls;
    type SerializeTupleVariant = Nulls;
    type SerializeMap = Nulls;
    type SerializeStruct = Nulls;
    type SerializeStructVariant = Nulls;

    something! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
    }

    fn serialize_none(self) -> Result<bool, CodecError> {
        Ok(true)
    }

    /// Refuses an option whose value would be nil.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<bool, CodecError> {
        // The inner value would be nil, and so would `None`.
        if value.serialize(self.deeper()?)? {
            return Err(CodecError::custom(
                "an option whose value is written as nothing (`Some(None)`, `Some(())`) would \
                 arrive as `None`",
            ));
        }
        Ok(false)
    }

    fn serialize_unit(self) -> Result<bool, CodecError> {
        Ok(true)
    }

    /// Nil, as rmp-serde writes it, or an empty list: treated as nil.
    fn serialize_unit_struct(self, _: &'static str) -> Result<bool, CodecError> {
        // It may be an empty list: but see `serialize_unit`.
        Ok(true)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<bool, CodecError> {
        Ok(false)
    }

    /// As its field: the format writes nothing around it.
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<bool, CodecError> {
        value.serialize(self.deeper()?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<bool, CodecError> {
        value.serialize(self.deeper()?)?;
        Ok(false)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Nulls, CodecError> {
        self.deeper()
    }

    fn serialize_tuple(self, _: usize) -> Result<Nulls, CodecError> {
        self.deeper()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Nulls, CodecError> {
        self.deeper()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Nulls, CodecError> {
        self.deeper()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Nulls, CodecError> {
        self.deeper()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Nulls, CodecError> {
        self.deeper()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Nulls, CodecError> {
        self.deeper()
    }
}

macro_rules! parts {
    ($($Trait:ident: $($method:ident($($key:ty)?)),*;)*) => {
        $(
            impl $Trait for Nulls {
                type Ok = bool;
                type Error = CodecError;

                $(
                    fn $method<T: Serialize + ?Sized>(
                        &mut self, $(_: $key,)? value: &T,
                    ) -> Result<(), CodecError> {
                        value.serialize(*self).map(drop)
                    }
                )*

                fn end(self) -> Result<bool, CodecError> {
                    Ok(false)
                }
            }
        )*
    };
}

parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}
