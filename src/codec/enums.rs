//! Enums as they are read: by the names of their variants.
//!
//! By name because `#[serde(skip)]` on a variant changes the positions on one side only. The
//! position goes along as a hint: the name at that position is compared first.

use std::mem;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::decoder::Decoder;
use super::error::CodecError;
use super::shape::{DEFINES, Form, IN_FRONT, Names};
use super::structs;

/// A variant as it was written.
#[derive(Clone, Copy)]
pub(super) struct Variant<'de> {
    /// Its position in the enum's declaration.
    index: u32,
    /// `None` among the types of this library, whose variants go by their position alone.
    name: Option<&'de str>,
    form: Option<Form>,
    /// The address of the list of variants that it was found in: for the same type again, it need
    /// not be looked for.
    in_list: usize,
}

/// Reads an enum.
///
/// # Errors
/// The variant is unknown, or of another form than the type expects; what is in it is not read.
#[inline]
pub(super) fn read<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de>,
    name: &'static str,
    variants: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, CodecError> {
    decoder.budget.take(size_of::<V::Value>())?;
    decoder.budget.enter()?;
    let variant = next_variant(decoder, name, variants)?;
    // A unit variant has nothing in it that could stay unread.
    decoder.is_unopened = variant.form != Some(Form::Unit);
    let value = visitor.visit_enum(Access { decoder, variant })?;
    if mem::replace(&mut decoder.is_unopened, false) && decoder.names != Names::Never {
        return Err(CodecError::text("what is in a variant is not read"));
    }
    decoder.budget.leave();
    Ok(value)
}

/// Reads the name of a variant that was written alone: the tag of an enum with `#[serde(tag,
/// content)]`.
pub(super) fn read_tag<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de>,
    visitor: V,
) -> Result<V::Value, CodecError> {
    let variant = next_variant(decoder, "", &[])?;
    match variant.form {
        Some(Form::Unit) | None => Identifier(variant).deserialize_any(visitor),
        Some(_) => Err(CodecError::text("a tag with something in it")),
    }
}

/// Reads the head of a variant and what it calls for.
fn next_variant<'de>(
    decoder: &mut Decoder<'de>,
    name: &'static str,
    variants: &'static [&'static str],
) -> Result<Variant<'de>, CodecError> {
    if decoder.names == Names::Never {
        let index = decoder.input.fitting()?;
        return Ok(Variant { index, name: None, form: None, in_list: 0 });
    }
    let head = decoder.input.byte()?;
    if head < DEFINES {
        // A slot that nothing was put into is an error, not an empty name: the message may be
        // forged.
        let kept = decoder.kept.as_mut().and_then(|kept| kept.variants[usize::from(head)].as_mut());
        let Some(variant) = kept else {
            return Err(CodecError::text("an enum refers to a name that was not said"));
        };
        // Another type with a variant of this name and position: look again, in its own list.
        if variant.in_list != variants.as_ptr() as usize {
            *variant = find(
                variant.name.unwrap_or_default().as_bytes(),
                variant.index,
                variant.form,
                name,
                variants,
            )?;
        }
        return Ok(*variant);
    }
    if head > IN_FRONT {
        return Err(CodecError::text(format!("no enum begins with {head}")));
    }
    let form = Form::of(decoder.input.byte()?);
    if form.is_none() {
        return Err(CodecError::text("a variant of no known form"));
    }
    let index = decoder.input.fitting()?;
    let length = decoder.input.number()?;
    let variant = find(decoder.input.bytes(length)?, index, form, name, variants)?;
    if head < IN_FRONT {
        decoder.kept.get_or_insert_default().variants[usize::from(head - DEFINES)] = Some(variant);
    }
    Ok(variant)
}

/// Finds the variant of a name, which the type has to know: one with a variant for all others
/// (`#[serde(other)]`) would take it for that, and the value would arrive as another one.
#[inline]
fn find<'de>(
    written: &'de [u8],
    index: u32,
    form: Option<Form>,
    name: &str,
    variants: &'static [&'static str],
) -> Result<Variant<'de>, CodecError> {
    let known = match variants.get(index as usize) {
        Some(at_its_position) if at_its_position.as_bytes() == written => at_its_position,
        _ => look_for(written, name, variants)?,
    };
    Ok(Variant { index, name: Some(known), form, in_list: variants.as_ptr() as usize })
}

/// The name is not at the position where it was written: look through all of them. A tag knows no
/// list of variants, and takes any name.
#[cold]
fn look_for<'de>(
    written: &'de [u8],
    name: &str,
    variants: &'static [&'static str],
) -> Result<&'de str, CodecError> {
    let Ok(written) = std::str::from_utf8(written) else {
        return Err(CodecError::text("the name of a variant is not UTF-8"));
    };
    if variants.is_empty() || variants.contains(&written) {
        return Ok(written);
    }
    Err(CodecError::text(format!(
        "enum `{name}`: its Serialize wrote the variant `{written}`, its Deserialize has none of \
         that name (`skip_deserializing`, or a name of its own)"
    )))
}

/// The inside of a variant, which the type asks for in the form that it expects.
struct Access<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    variant: Variant<'de>,
}

impl Access<'_, '_> {
    /// Notes that the inside was asked for; fails if it was written in another form.
    #[inline]
    fn expect(&mut self, form: Form) -> Result<(), CodecError> {
        self.decoder.is_unopened = false;
        if self.variant.form.is_none_or(|written| written == form) {
            Ok(())
        } else {
            Err(self.other_form(form))
        }
    }

    /// Words the error of a variant that was written in another form.
    #[cold]
    fn other_form(&self, form: Form) -> CodecError {
        let Variant { name, form: written, .. } = self.variant;
        let (name, written) = (name.unwrap_or_default(), written.unwrap_or(form));
        CodecError::text(format!(
            "variant `{name}`: its Serialize wrote a {written:?} variant, its Deserialize expects \
             a {form:?} variant"
        ))
    }
}

impl<'d, 'de> EnumAccess<'de> for Access<'d, 'de> {
    type Error = CodecError;
    type Variant = Access<'d, 'de>;

    /// Gives the type the name of the variant; what is in it comes after.
    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Access<'d, 'de>), CodecError> {
        Ok((seed.deserialize(Identifier(self.variant))?, self))
    }
}

impl<'de> VariantAccess<'de> for Access<'_, 'de> {
    type Error = CodecError;

    /// Nothing is in it.
    #[inline]
    fn unit_variant(mut self) -> Result<(), CodecError> {
        self.expect(Form::Unit)
    }

    /// One value is in it.
    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<S::Value, CodecError> {
        self.expect(Form::Newtype)?;
        seed.deserialize(self.decoder)
    }

    /// Several are in it, with their number in front.
    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        mut self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.expect(Form::Tuple)?;
        self.decoder.counted_items(self.variant.name.unwrap_or_default(), count, visitor)
    }

    /// Fields are in it, as in a struct without a name of its own.
    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.expect(Form::Struct)?;
        structs::read(self.decoder, "", fields, visitor)
    }
}

/// The variant to a `Deserialize` that asks for it: its name, or its position if it asks for a
/// number, as the library's own types do.
struct Identifier<'de>(Variant<'de>);

macro_rules! by_position {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
                visitor.visit_u32(self.0.index)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Identifier<'de> {
    type Error = CodecError;

    fn is_human_readable(&self) -> bool {
        false
    }

    /// The name, or the position of a type of this library.
    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.0.name {
            Some(name) => BorrowedStrDeserializer::new(name).deserialize_any(visitor),
            None => IntoDeserializer::<CodecError>::into_deserializer(self.0.index)
                .deserialize_any(visitor),
        }
    }

    by_position! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32
        deserialize_u64
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
