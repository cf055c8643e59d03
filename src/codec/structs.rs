//! Structs as they are read: by the names of their fields, or by position where that is known to be
//! the same.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::decoder::Decoder;
use super::error::{ADVICE, CodecError, Reason};
use super::reader::Reader;
use super::shape::{DEFINES, EACH, IN_FRONT, Names, is_block_of};

/// The names of a struct in the order in which it was written.
#[derive(Clone, Copy, Default)]
pub(super) struct Shape<'de> {
    block: &'de [u8],
    /// The address of the list of fields that they were found to be; 0 if of none so far. Comparing
    /// addresses replaces comparing names for all but the first value of a list.
    fields: usize,
}

/// Reads a struct, or the inside of a struct variant.
///
/// By position if the names that were written are those that the type expects, in this order;
/// otherwise as a map, and the type's own `Deserialize` says what is missing, double or unknown.
#[inline]
pub(super) fn read<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de>,
    name: &'static str,
    fields: &'static [&'static str],
    visitor: V,
) -> Result<V::Value, CodecError> {
    decoder.budget.take(size_of::<V::Value>())?;
    if decoder.names == Names::Never {
        return decoder.items(fields.len(), visitor);
    }
    let head = decoder.input.byte()?;
    let done = if head == EACH {
        read_each(decoder, visitor)
    } else {
        // The block lies in the message; comparing it with the type's own costs once for each list.
        let shape = shape(decoder, head, fields)?;
        if shape.fields == fields.as_ptr() as usize {
            decoder.items(fields.len(), visitor)
        } else {
            read_by_name(decoder, shape.block, visitor)
        }
    };
    done.map_err(|fault| in_struct(name, fault))
}

/// Reads the names that a head stands for, or looks them up in the slot that it refers to.
///
/// # Errors
/// The slot is empty; the head is none of a struct.
#[inline]
fn shape<'de>(
    decoder: &mut Decoder<'de>,
    head: u8,
    fields: &'static [&'static str],
) -> Result<Shape<'de>, CodecError> {
    let place = fields.as_ptr() as usize;
    if head < DEFINES {
        let kept = decoder.kept.as_mut().and_then(|kept| kept.structs[usize::from(head)].as_mut());
        let Some(shape) = kept else {
            return Err(CodecError::text("a struct refers to names that were not said"));
        };
        // Found for another type of the same fields, perhaps: remember this one instead.
        if shape.fields != place && is_block_of(shape.block, fields) {
            shape.fields = place;
        }
        return Ok(*shape);
    }
    // `EACH` was looked at by the caller.
    if head > IN_FRONT {
        return Err(CodecError::text(format!("no struct begins with {head}")));
    }
    let length = decoder.input.number()?;
    let block = decoder.input.bytes(length)?;
    let shape = Shape { block, fields: if is_block_of(block, fields) { place } else { 0 } };
    if head < IN_FRONT {
        decoder.kept.get_or_insert_default().structs[usize::from(head - DEFINES)] = Some(shape);
    }
    Ok(shape)
}

/// With a name in front of each value.
#[cold]
fn read_each<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de>,
    visitor: V,
) -> Result<V::Value, CodecError> {
    let count = decoder.input.fitting()?;
    let mut fields = Each { decoder, left: count, name: "" };
    let value = visitor.visit_map(&mut fields)?;
    if fields.left == 0 { Ok(value) } else { Err(left_over()) }
}

/// With the names in front of the values, but not those that the type expects, or not in this
/// order.
#[cold]
fn read_by_name<'de, V: Visitor<'de>>(
    decoder: &mut Decoder<'de>,
    block: &'de [u8],
    visitor: V,
) -> Result<V::Value, CodecError> {
    let mut fields = ByName { decoder, names: Reader::of(block), name: "" };
    let value = visitor.visit_map(&mut fields)?;
    if fields.names.left().is_empty() { Ok(value) } else { Err(left_over()) }
}

/// Fields stay unread: the next value would begin in the middle of this one.
#[cold]
fn left_over() -> CodecError {
    CodecError::text(format!("fields were written that its Deserialize does not read; {ADVICE}"))
}

/// Adds the name of the struct to an error of a missing field.
#[cold]
fn in_struct(name: &str, fault: CodecError) -> CodecError {
    match fault.reason() {
        Reason::Missing(_) => CodecError::text(format!("struct `{name}`: {fault}")),
        _ => fault,
    }
}

/// A field whose value was to be skipped says its name.
#[cold]
fn in_field(name: &str, fault: CodecError) -> CodecError {
    match fault.reason() {
        Reason::Unread => CodecError::text(format!(
            "field `{name}` was written, but its Deserialize does not read it \
             (`skip_deserializing`, or a name of its own); {ADVICE}"
        )),
        _ => fault,
    }
}

/// The fields of a struct with each name in front of its value.
struct Each<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
    /// The field that is being read, for an error.
    name: &'de str,
}

impl<'de> MapAccess<'de> for &mut Each<'_, 'de> {
    type Error = CodecError;

    /// Reads a name, and gives it to the type as the key of a map.
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, CodecError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.name = self.decoder.input.text()?;
        seed.deserialize(BorrowedStrDeserializer::new(self.name)).map(Some)
    }

    /// Reads the field of that name.
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, CodecError> {
        seed.deserialize(&mut *self.decoder).map_err(|fault| in_field(self.name, fault))
    }
}

/// The fields of a struct with all names in front, for a type that expects others, or another
/// order.
struct ByName<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    /// The names that are still to come.
    names: Reader<'de>,
    name: &'de str,
}

impl<'de> MapAccess<'de> for &mut ByName<'_, 'de> {
    type Error = CodecError;

    /// Takes the next name of the block, and gives it to the type as the key of a map.
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, CodecError> {
        if self.names.left().is_empty() {
            return Ok(None);
        }
        self.name = self.names.text()?;
        seed.deserialize(BorrowedStrDeserializer::new(self.name)).map(Some)
    }

    /// Reads the field of that name, which stands where the block says.
    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, CodecError> {
        seed.deserialize(&mut *self.decoder).map_err(|fault| in_field(self.name, fault))
    }
}
