//! A value as bytes and descriptors, and back: the entry points of the codec.
//!
//! Errors are texts that begin with the name of the type: whoever gets one puts it behind the words
//! of its own error ("the arguments of f: ..").

use std::any::type_name;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decoder::Decoder;
use super::encoder::Encoder;
use super::error::{CodecError, Reason};
use super::fds::{self, Ends};
use super::packed::Flat;
use super::shape::Names;
use super::writer::Writer;
use crate::sys::parcel::Parcel;

/// Encodes a value that is on its way: what there may be only one of (`Sole`) is given away.
///
/// # Errors
/// Its `Serialize` failed; it is nested too deep; there is no memory; something in it was given
/// away before.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Parcel, String> {
    let (parcel, ends) = encode_with_ends(value)?;
    ends.keep();
    Ok(parcel)
}

/// Encodes a value that may yet not be sent: what there may be only one of is given away once the
/// `Ends` are kept, and is still this process's if they are dropped.
///
/// # Errors
/// As for `encode`.
pub(crate) fn encode_with_ends<T: Serialize + ?Sized>(value: &T) -> Result<(Parcel, Ends), String> {
    let mut parcel = Parcel::default();
    let ends = encode_within(value, &mut parcel.bytes, usize::MAX, &mut parcel.fds)?;
    Ok((parcel, ends))
}

/// Writes a value behind what `bytes` holds, as long as `bytes` does not get longer than `most`
/// bytes; its descriptors, if it has any, go into `fds`, which is empty.
///
/// 1. Encode with the names of each struct once.
/// 2. If a struct type turns out to write other fields than before, start again with all names:
///    rare, and seen only at the end of the second value.
///
/// On failure, `bytes` is as it was, so that a buffer with other messages in it can be used on.
///
/// # Errors
/// As for `encode`; it takes more than `most` bytes.
#[inline]
pub(crate) fn encode_within<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
    most: usize,
    fds: &mut Vec<Arc<OwnedFd>>,
) -> Result<Ends, String> {
    let before = bytes.len();
    let (done, baggage) =
        fds::collected(|| Encoder::new(Writer { bytes, most }, Names::Once).encode(value));
    match done {
        Ok(()) => Ok(baggage.map_or_else(Ends::none, |baggage| baggage.unpack(fds))),
        Err(fault) => {
            drop(baggage);
            // What a `Serialize` wrote before it failed must not pass for the beginning of the next
            // message.
            bytes.truncate(before);
            encode_otherwise(value, bytes, most, fds, fault)
        }
    }
}

/// The values that `encode_front` leaves where they are are of so many bytes or more: to copy fewer
/// costs less than to send a message in two parts.
const LONG: usize = 16 << 10;

/// Writes only the beginning of a value into `bytes`, which is empty, if the rest lies in memory as
/// it is to be sent: of a long text, or a long vector of numbers. Returns that rest. The beginning
/// has a multiple of eight bytes then, so that the rest can be copied to where words are.
///
/// `None` for all other values, and for those of more than `most` bytes: these are to be encoded.
#[inline]
pub(crate) fn encode_front<'v, T>(
    value: &'v T,
    bytes: &mut Vec<u8>,
    most: usize,
) -> Option<&'v [u8]> {
    let flat = Flat::of(value)?;
    if flat.bytes.len() < LONG { None } else { write_front(&flat, bytes, most) }
}

/// Does what `encode_front` says for a long value.
fn write_front<'v>(flat: &Flat<'v>, bytes: &mut Vec<u8>, most: usize) -> Option<&'v [u8]> {
    let mut out = Writer { bytes, most };
    flat.write_head(&mut out).ok()?;
    let filling = out.bytes.len().next_multiple_of(8) - out.bytes.len();
    let (first, rest) = flat.bytes.split_at(filling);
    if out.bytes(first).is_err() || rest.len() > most - bytes.len() {
        bytes.clear();
        return None;
    }
    Some(rest)
}

/// The second attempt, with all names, if that is what the first one failed of.
#[cold]
fn encode_otherwise<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
    most: usize,
    fds: &mut Vec<Arc<OwnedFd>>,
    fault: CodecError,
) -> Result<Ends, String> {
    // Any other failure would be the same with all names.
    if !matches!(fault.reason(), Reason::Varies) {
        return Err(refused(type_name::<T>(), &fault, most));
    }
    let before = bytes.len();
    let (done, baggage) =
        fds::collected(|| Encoder::new(Writer { bytes, most }, Names::Always).encode(value));
    match done {
        Ok(()) => Ok(baggage.map_or_else(Ends::none, |baggage| baggage.unpack(fds))),
        Err(fault) => {
            bytes.truncate(before);
            Err(refused(type_name::<T>(), &fault, most))
        }
    }
}

/// Words an error. A full buffer names its limit, if there is one.
#[cold]
fn refused(type_name: &str, fault: &CodecError, most: usize) -> String {
    match fault.reason() {
        Reason::Full if most < usize::MAX => {
            format!("{type_name}: it takes more than {most} bytes, or more memory than there is")
        }
        _ => format!("{type_name}: {fault}"),
    }
}

/// Decodes a value from all of `bytes` and the descriptors that came with them.
///
/// # Errors
/// The bytes are not of this type, or too many; they ask for more than `DecodeLimits` allow; a
/// descriptor did not come.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    fds: Vec<Arc<OwnedFd>>,
) -> Result<T, String> {
    // Most messages bring none; the table costs as much as a small value.
    if fds.is_empty() { decode_bytes(bytes) } else { fds::brought(fds, || decode_bytes(bytes)) }
}

/// Without a table of descriptors: a value that asks for one is refused.
#[inline]
fn decode_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut decoder = Decoder::new(bytes, Names::Once);
    match T::deserialize(&mut decoder) {
        Ok(value) if decoder.input.left().is_empty() => Ok(value),
        Ok(_) => Err(too_long(type_name::<T>(), decoder.input.left().len())),
        Err(fault) => Err(wrong(type_name::<T>(), &fault)),
    }
}

/// Words the error of a message that is longer than its value.
#[cold]
fn too_long(type_name: &str, rest: usize) -> String {
    format!("{type_name}: {rest} bytes too many")
}

/// Words an error, with the type in front.
#[cold]
fn wrong(type_name: &str, fault: &CodecError) -> String {
    format!("{type_name}: {fault}")
}

/// Writes a value of a type of this library behind what `bytes` holds, without names and
/// descriptors. On failure, `bytes` is as it was.
pub(crate) fn encode_plain<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    let before = bytes.len();
    let mut encoder = Encoder::new(Writer { bytes, most: usize::MAX }, Names::Never);
    encoder.encode(value).map_err(|fault| {
        bytes.truncate(before);
        wrong(type_name::<T>(), &fault)
    })
}

/// Decodes a value that `encode_plain` wrote at the beginning of `bytes`; returns it with what is
/// behind it, which the caller checks.
pub(crate) fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    let mut decoder = Decoder::new(bytes, Names::Never);
    match T::deserialize(&mut decoder) {
        Ok(value) => Ok((value, decoder.input.left())),
        Err(fault) => Err(wrong(type_name::<T>(), &fault)),
    }
}

/// Decodes a value that `encode_plain` wrote, from all of `bytes`.
pub(crate) fn decode_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match decode_front(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(too_long(type_name::<T>(), rest.len())),
    }
}
