//! Limits on what another format's decoder makes of a message.
//!
//! Every trait of serde that hands values on is wrapped: the format's `Deserializer` on its way to
//! the type, and the type's `Visitor` on its way to the format. So each value is counted whoever
//! asks for it, with the same `Budget` as this codec's own.
//!
//! What serde keeps aside, for flattened fields and untagged enums, it decodes again by code of its
//! own, which nothing can wrap. So the depth is limited to 128, and a level has to find 16 KiB of
//! stack.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::codec::budget::{Budget, SHALLOW};
use crate::codec::error::CodecError;
use crate::codec::limits;
use crate::sys::program::stack;

/// Levels that a value may be nested at most, whatever `DecodeLimits::depth` allows.
const DEPTH: u32 = 128;

/// The stack, in bytes, that one level may take when serde reads again what it kept aside.
const LEVEL: usize = 16 * 1024;

/// Something of serde's through which values go, with the budget that they count for.
pub(crate) struct Guarded<'b, T> {
    inner: T,
    budget: &'b mut Budget,
}

impl<'b, T> Guarded<'b, T> {
    /// Puts `budget` around `inner`.
    pub(crate) fn new(inner: T, budget: &'b mut Budget) -> Guarded<'b, T> {
        Guarded { inner, budget }
    }
}

/// Words a failure of the format: our own errors come back out of it as they went in.
pub(crate) fn text(error: &rmp_serde::decode::Error) -> String {
    match error {
        rmp_serde::decode::Error::Uncategorized(text) | rmp_serde::decode::Error::Syntax(text) => {
            text.clone()
        }
        error => error.to_string(),
    }
}

/// Our error as one of the format's.
fn told<E: Error>(fault: CodecError) -> E {
    E::custom(fault)
}

/// One level deeper, if that may be.
fn enter<E: Error>(budget: &mut Budget) -> Result<(), E> {
    budget.depth += 1;
    check(budget.depth).map_err(told)
}

/// Fails if a value may not be nested so deep, by the limits or by what is left of the stack.
pub(crate) fn check(depth: u32) -> Result<(), CodecError> {
    let limit = limits::depth().min(DEPTH);
    if depth > limit {
        return Err(CodecError::text(format!(
            "a self-describing value that is nested more than {limit} deep"
        )));
    }
    // Asked for ahead: what serde keeps aside it reads again without asking us.
    if depth > SHALLOW && !stack::has(depth as usize * LEVEL) {
        return Err(CodecError::text(format!(
            "a self-describing value that is nested {depth} deep, for which this thread's stack \
             is too small"
        )));
    }
    Ok(())
}

macro_rules! forward {
    ($($method:ident($($name:ident: $Type:ty),*))*) => {
        $(
            fn $method<V: Visitor<'de>>(
                self, $($name: $Type,)* visitor: V,
            ) -> Result<V::Value, D::Error> {
                self.budget.take(size_of::<V::Value>()).map_err(told)?;
                self.inner.$method($($name,)* Guarded { inner: visitor, budget: self.budget })
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guarded<'_, D> {
    type Error = D::Error;

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    forward! {
        deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32()
        deserialize_i64() deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32()
        deserialize_u64() deserialize_u128() deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(count: usize) deserialize_tuple_struct(name: &'static str, count: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

macro_rules! visits {
    ($($method:ident: $Type:ty),* $(,)?) => {
        $(
            fn $method<E: Error>(self, value: $Type) -> Result<V::Value, E> {
                self.inner.$method(value)
            }
        )*
    };
}

macro_rules! deeper {
    ($($method:ident: $Trait:ident),* $(,)?) => {
        $(
            fn $method<A: $Trait<'de>>(self, access: A) -> Result<V::Value, A::Error> {
                enter(self.budget)?;
                let guarded = Guarded { inner: access, budget: &mut *self.budget };
                let value = self.inner.$method(guarded)?;
                self.budget.depth -= 1;
                Ok(value)
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guarded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visits! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128:
        i128, visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64, visit_char: char, visit_str: &str, visit_borrowed_str: &'de
        str, visit_string: String, visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8],
        visit_byte_buf: Vec<u8>,
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    deeper! {
        visit_some: Deserializer, visit_newtype_struct: Deserializer, visit_seq: SeqAccess,
        visit_map: MapAccess, visit_enum: EnumAccess,
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guarded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Guarded { inner: deserializer, budget: self.budget })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guarded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Guarded { inner: seed, budget: &mut *self.budget })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|items| self.budget.hint(items))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guarded<'_, A> {
    type Error = A::Error;

    /// Counts a node of the map, as many entries may have room in it.
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        // A small map may have room for many entries.
        self.budget.take(crate::codec::decoder::NODE * size_of::<S::Value>()).map_err(told)?;
        self.inner.next_key_seed(Guarded { inner: seed, budget: &mut *self.budget })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Guarded { inner: seed, budget: &mut *self.budget })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|items| self.budget.hint(items))
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'b, A> {
    type Error = A::Error;
    type Variant = Guarded<'b, A::Variant>;

    /// Lends the budget to the name, then gives it to the inside.
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Guarded<'b, A::Variant>), A::Error> {
        let (value, variant) =
            self.inner.variant_seed(Guarded { inner: seed, budget: &mut *self.budget })?;
        Ok((value, Guarded { inner: variant, budget: self.budget }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Guarded { inner: seed, budget: self.budget })
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(count, Guarded { inner: visitor, budget: self.budget })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Guarded { inner: visitor, budget: self.budget })
    }
}
