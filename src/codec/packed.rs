//! Lists of numbers, which go as the bytes that they are in memory, all at once.
//!
//! A list whose items are one byte each, floating-point numbers or numbers of 128 bits has the same
//! bytes either way; it is only written and read faster. A list of other integers is *packed*: its
//! head says so, and of which kind they are, so that a type which reads the items one by one
//! (`HashSet<u32>` for what was a `Vec<u32>`) gets each of them, or an error if it does not fit.

use std::any::TypeId;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::budget::Budget;
use super::error::{CodecError, Reason};
use super::reader::Reader;
use super::unchecked;
use super::writer::Writer;

/// The integers that a packed list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    U16 = 0,
    U32 = 1,
    U64 = 2,
    I16 = 3,
    I32 = 4,
    I64 = 5,
}

impl Kind {
    /// Reads it from its byte.
    fn read(input: &mut Reader<'_>) -> Result<Kind, CodecError> {
        Ok(match input.byte()? {
            0 => Kind::U16,
            1 => Kind::U32,
            2 => Kind::U64,
            3 => Kind::I16,
            4 => Kind::I32,
            5 => Kind::I64,
            byte => return Err(CodecError::text(format!("no list of numbers has kind {byte}"))),
        })
    }

    /// The bytes of one of them.
    fn width(self) -> usize {
        match self {
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 => 4,
            Kind::U64 | Kind::I64 => 8,
        }
    }

    /// Reads one of them.
    fn number(self, input: &mut Reader<'_>) -> Result<i128, CodecError> {
        Ok(match self {
            Kind::U16 => u16::from_le_bytes(input.array()?).into(),
            Kind::U32 => u32::from_le_bytes(input.array()?).into(),
            Kind::U64 => u64::from_le_bytes(input.array()?).into(),
            Kind::I16 => i16::from_le_bytes(input.array()?).into(),
            Kind::I32 => i32::from_le_bytes(input.array()?).into(),
            Kind::I64 => i64::from_le_bytes(input.array()?).into(),
        })
    }
}

/// The head of a list: how many items, and whether they are packed.
#[inline]
pub(super) fn head(count: usize, is_packed: bool) -> Result<u64, CodecError> {
    let count = count as u64;
    if count > u64::MAX >> 1 {
        return Err(CodecError::text("a list of 2^63 items or more"));
    }
    Ok(count << 1 | u64::from(is_packed))
}

/// What a list consists of.
#[derive(Clone, Copy)]
pub(super) enum Body<'de> {
    /// As many items, one after the other.
    Items(u64),
    /// Integers, whose bytes are all there.
    Packed(Kind, &'de [u8]),
}

impl<'de> Body<'de> {
    /// Reads the head of a list, and of a packed one all the rest. Its items are counted against
    /// the budget; nothing is allocated.
    #[inline]
    pub(super) fn read(
        input: &mut Reader<'de>,
        budget: &mut Budget,
    ) -> Result<Body<'de>, CodecError> {
        let head = input.number()?;
        budget.claim(head >> 1)?;
        if head & 1 == 0 { Ok(Body::Items(head >> 1)) } else { Body::packed(input, head >> 1) }
    }

    fn packed(input: &mut Reader<'de>, count: u64) -> Result<Body<'de>, CodecError> {
        let kind = Kind::read(input)?;
        let bytes = input.bytes(count.saturating_mul(kind.width() as u64))?;
        Ok(Body::Packed(kind, bytes))
    }
}

/// A type of which a list goes as its bytes.
pub(super) trait Number: Copy + 'static {
    /// What a list of them is packed as; `None` if the items, one after the other, are these bytes.
    const KIND: Option<Kind>;

    /// The bytes of all of them, if a list is written so on this machine.
    fn bytes(numbers: &[Self]) -> Option<&[u8]>;

    /// Writes the bytes of all of them.
    fn write(numbers: &[Self], out: &mut Writer<'_>) -> Result<(), CodecError>;

    /// Makes a vector of their bytes, whose number is a multiple of the type's size.
    fn read(bytes: &[u8]) -> Result<Vec<Self>, CodecError>;
}

/// Room for `length` of them.
fn room<N>(length: usize) -> Result<Vec<N>, CodecError> {
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(length).map_err(|_| Reason::Full)?;
    Ok(numbers)
}

macro_rules! numbers {
    ($($Number:ident: $kind:expr;)*) => {$(
        impl Number for $Number {
            const KIND: Option<Kind> = $kind;

            #[inline]
            fn bytes(numbers: &[$Number]) -> Option<&[u8]> {
                cfg!(target_endian = "little").then(|| bytemuck::cast_slice(numbers))
            }

            #[inline]
            fn write(numbers: &[$Number], out: &mut Writer<'_>) -> Result<(), CodecError> {
                match $Number::bytes(numbers) {
                    Some(bytes) => out.bytes(bytes),
                    None => numbers.iter().try_for_each(|number| out.bytes(&number.to_le_bytes())),
                }
            }

            #[inline]
            fn read(bytes: &[u8]) -> Result<Vec<$Number>, CodecError> {
                const WIDTH: usize = size_of::<$Number>();
                let mut numbers = room(bytes.len() / WIDTH)?;
                let (whole, _) = bytes.as_chunks::<WIDTH>();
                numbers.extend(whole.iter().map(|one| $Number::from_le_bytes(*one)));
                Ok(numbers)
            }
        }
    )*};
}

numbers! {
    u8: None;
    i8: None;
    u16: Some(Kind::U16);
    i16: Some(Kind::I16);
    u32: Some(Kind::U32);
    i32: Some(Kind::I32);
    u64: Some(Kind::U64);
    i64: Some(Kind::I64);
    usize: Some(if size_of::<usize>() == 8 { Kind::U64 } else { Kind::U32 });
    isize: Some(if size_of::<isize>() == 8 { Kind::I64 } else { Kind::I32 });
    u128: None;
    i128: None;
    f32: None;
    f64: None;
}

impl Number for bool {
    const KIND: Option<Kind> = None;

    fn bytes(numbers: &[bool]) -> Option<&[u8]> {
        Some(bytemuck::cast_slice(numbers))
    }

    fn write(numbers: &[bool], out: &mut Writer<'_>) -> Result<(), CodecError> {
        out.bytes(bytemuck::cast_slice(numbers))
    }

    /// As `deserialize_bool`: any byte but 0 and 1 is an error.
    fn read(bytes: &[u8]) -> Result<Vec<bool>, CodecError> {
        // Without a way out in the middle, many are looked at in one step.
        if bytes.iter().fold(0, |all, byte| all | byte) > 1 {
            return Err(CodecError::text("a byte of a list is neither true nor false"));
        }
        let mut numbers = room(bytes.len())?;
        numbers.extend(bytes.iter().map(|byte| *byte == 1));
        Ok(numbers)
    }
}

/// Tries something for each type of `Number`; returns from the function with the first that gives
/// something.
macro_rules! first_of_numbers {
    (|$N:ident| $try:expr) => {
        first_of_numbers!(
            |$N| $try; u8 f64 u64 i64 u32 i32 f32 usize isize u16 i16 i8 bool u128 i128
        )
    };
    (|$N:ident| $try:expr; $($Number:ident)*) => {
        $({
            type $N = $Number;
            if let Some(done) = $try {
                return Some(done);
            }
        })*
    };
}

/// Writes the whole list that an iterator is at the beginning of, if it is one over a slice of
/// numbers; `None` if not, and nothing is written.
#[inline(always)]
pub(super) fn write<Items>(items: &Items, out: &mut Writer<'_>) -> Option<Result<(), CodecError>> {
    first_of_numbers!(|N| unchecked::slice_of::<N, _>(items).map(|all| write_list(all, out)));
    None
}

/// Writes a list of numbers.
fn write_list<N: Number>(numbers: &[N], out: &mut Writer<'_>) -> Result<(), CodecError> {
    write_head(head(numbers.len(), N::KIND.is_some())?, N::KIND, out)?;
    N::write(numbers, out)
}

fn write_head(head: u64, kind: Option<Kind>, out: &mut Writer<'_>) -> Result<(), CodecError> {
    out.number(head)?;
    kind.map_or(Ok(()), |kind| out.byte(kind as u8))
}

/// A text or a vector of numbers: what is written of it, without the first bytes.
pub(super) struct Flat<'v> {
    head: u64,
    kind: Option<Kind>,
    pub(super) bytes: &'v [u8],
}

impl<'v> Flat<'v> {
    /// Sees a value as one, if it is one.
    #[inline(always)]
    pub(super) fn of<T>(value: &'v T) -> Option<Flat<'v>> {
        if let Some(text) = unchecked::seen_as::<String, T>(value) {
            return Some(Flat { head: text.len() as u64, kind: None, bytes: text.as_bytes() });
        }
        first_of_numbers!(|N| unchecked::seen_as::<Vec<N>, T>(value).and_then(|numbers| {
            let head = head(numbers.len(), N::KIND.is_some()).ok()?;
            Some(Flat { head, kind: N::KIND, bytes: N::bytes(numbers)? })
        }));
        None
    }

    /// Writes what stands in front of the bytes.
    pub(super) fn write_head(&self, out: &mut Writer<'_>) -> Result<(), CodecError> {
        write_head(self.head, self.kind, out)
    }
}

/// Reads a whole list, if `V` is what makes a `Vec` of numbers and they were written as these;
/// `None` if not, and nothing is read.
#[inline(always)]
pub(super) fn read<'de, V: Visitor<'de>>(
    body: Body<'de>,
    input: &mut Reader<'de>,
) -> Option<Result<V::Value, CodecError>> {
    first_of_numbers!(|N| match makes_vector_of::<N, V>() {
        true => read_list::<N, V::Value>(body, input),
        false => None,
    });
    None
}

/// Reads a list of numbers as `R`, which is `Vec<N>`; `None` if they are of another type than `N`,
/// and have to be converted one by one.
fn read_list<'de, N: Number, R>(
    body: Body<'de>,
    input: &mut Reader<'de>,
) -> Option<Result<R, CodecError>> {
    let bytes = match body {
        Body::Packed(kind, bytes) if N::KIND == Some(kind) => Ok(bytes),
        // More than there are bytes is an error before any room is made.
        Body::Items(count) if N::KIND.is_none() => {
            input.bytes(count.saturating_mul(size_of::<N>() as u64))
        }
        _ => return None,
    };
    match bytes.and_then(N::read) {
        Ok(numbers) => unchecked::retyped(numbers).ok().map(Ok),
        Err(fault) => Some(Err(fault)),
    }
}

/// Returns true if `V` is the visitor of `Vec<N>` itself. A user's, which makes a `Vec<N>` as well,
/// may check or change the items, and has to see them.
#[inline(always)]
fn makes_vector_of<'de, N: Deserialize<'de> + 'static, V: Visitor<'de>>() -> bool {
    unchecked::id_of::<V::Value>() == TypeId::of::<Vec<N>>()
        && own_visitor::<N>() == Some(unchecked::id_of::<V>())
}

/// The visitor by which `Vec<N>` asks for a list. It has no name outside of serde, but whoever is
/// asked sees its type.
#[inline(always)]
fn own_visitor<'de, N: Deserialize<'de>>() -> Option<TypeId> {
    match Vec::<N>::deserialize(Probe) {
        Ok(_) => None,
        Err(Seen(visitor)) => visitor,
    }
}

/// A `Deserializer` that fails, and tells by which visitor it was asked for a list.
struct Probe;

/// The visitor that a `Probe` was asked by, as an error; `None` if it was asked for no list.
#[derive(Debug)]
struct Seen(Option<TypeId>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was asked for a list")
    }
}

impl std::error::Error for Seen {}

impl de::Error for Seen {
    fn custom<T: fmt::Display>(_: T) -> Seen {
        Seen(None)
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Seen;

    #[inline(always)]
    fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        Err(Seen(Some(unchecked::id_of::<V>())))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        Err(Seen(None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Shows the items of a packed list to a visitor, one by one.
///
/// # Errors
/// An item does not fit into what the type asks for, or that is no integer; the type takes fewer
/// items than there are.
pub(super) fn visit<'de, V: Visitor<'de>>(
    kind: Kind,
    bytes: &'de [u8],
    budget: &mut Budget,
    visitor: V,
) -> Result<V::Value, CodecError> {
    let mut items = Items { kind, input: Reader::of(bytes), budget };
    let value = visitor.visit_seq(&mut items)?;
    if items.input.left().is_empty() { Ok(value) } else { Err(left_over()) }
}

/// The items of a packed list that are still to come.
struct Items<'d, 'de> {
    kind: Kind,
    input: Reader<'de>,
    budget: &'d mut Budget,
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = CodecError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, CodecError> {
        if self.input.left().is_empty() {
            return Ok(None);
        }
        let number = self.kind.number(&mut self.input)?;
        seed.deserialize(Item { number, budget: self.budget }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.budget.hint(self.input.left().len() / self.kind.width()))
    }
}

/// One item of a packed list.
struct Item<'d> {
    number: i128,
    budget: &'d mut Budget,
}

macro_rules! give_as {
    ($($method:ident: $visit:ident;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
                self.budget.take(size_of::<V::Value>())?;
                visitor.$visit(self.number.try_into().map_err(|_| does_not_fit(self.number))?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Item<'_> {
    type Error = CodecError;

    fn is_human_readable(&self) -> bool {
        false
    }

    give_as! {
        deserialize_i8: visit_i8;
        deserialize_i16: visit_i16;
        deserialize_i32: visit_i32;
        deserialize_i64: visit_i64;
        deserialize_i128: visit_i128;
        deserialize_u8: visit_u8;
        deserialize_u16: visit_u16;
        deserialize_u32: visit_u32;
        deserialize_u64: visit_u64;
        deserialize_u128: visit_u128;
    }

    /// A type around a number.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        Err(CodecError::text(
            "its Serialize wrote a list of integers, its Deserialize expects others",
        ))
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct
        map struct enum identifier ignored_any
    }
}

/// A list with items that nobody asked for.
#[cold]
pub(super) fn left_over() -> CodecError {
    CodecError::text("more items than its Deserialize takes")
}

/// An item that no value of the type is.
#[cold]
fn does_not_fit(number: i128) -> CodecError {
    CodecError::text(format!("the number {number} in a list does not fit into its type"))
}

#[cfg(test)]
#[path = "tests/packed_tests.rs"]
mod tests;
