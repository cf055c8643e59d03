//! A value as bytes and descriptors, and back.

use std::any::type_name;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decoder::Decoder;
use super::encoder::Encoder;
use super::error::{CodecError, Reason};
use super::fds::{self, Ends};
use super::shape::Names;
use super::writer::Writer;
use crate::sys::parcel::Parcel;

/// A value as bytes and descriptors; the reason if its type refuses. It is on its way: what is in
/// it is given away.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Parcel, String> {
    let (parcel, ends) = encode_with_ends(value)?;
    ends.keep();
    Ok(parcel)
}

/// `encode` for a value that may yet not be sent: what is in it is given away if the `Ends` are
/// kept.
pub(crate) fn encode_with_ends<T: Serialize + ?Sized>(value: &T) -> Result<(Parcel, Ends), String> {
    let mut parcel = Parcel::default();
    let ends = encode_within(value, &mut parcel.bytes, usize::MAX, &mut parcel.fds)?;
    Ok((parcel, ends))
}

/// Writes a value behind what `bytes` holds, for as long as it does not get longer than `most`; its
/// descriptors, if it has any, go into `fds`, which is empty. On failure, `bytes` is as it was.
///
/// What there may be only one of is given away if the `Ends` are kept.
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
            bytes.truncate(before);
            encode_otherwise(value, bytes, most, fds, fault)
        }
    }
}

/// Encodes a value with all names, if that is what it takes.
#[cold]
fn encode_otherwise<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
    most: usize,
    fds: &mut Vec<Arc<OwnedFd>>,
    fault: CodecError,
) -> Result<Ends, String> {
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

/// Why a value was not encoded.
#[cold]
fn refused(type_name: &str, fault: &CodecError, most: usize) -> String {
    match fault.reason() {
        Reason::Full if most < usize::MAX => {
            format!("{type_name}: it takes more than {most} bytes, or more memory than there is")
        }
        _ => format!("{type_name}: {fault}"),
    }
}

/// A value from all of `bytes` and what came with them; the reason if they are not one of this
/// type, or too many.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    fds: Vec<Arc<OwnedFd>>,
) -> Result<T, String> {
    // Most messages bring none; the table costs as much as a small value.
    if fds.is_empty() { decode_bytes(bytes) } else { fds::brought(fds, || decode_bytes(bytes)) }
}

#[inline]
fn decode_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut decoder = Decoder::new(bytes, Names::Once);
    match T::deserialize(&mut decoder) {
        Ok(value) if decoder.input.left().is_empty() => Ok(value),
        Ok(_) => Err(too_long(type_name::<T>(), decoder.input.left().len())),
        Err(fault) => Err(wrong(type_name::<T>(), &fault)),
    }
}

#[cold]
fn too_long(type_name: &str, rest: usize) -> String {
    format!("{type_name}: {rest} bytes too many")
}

#[cold]
fn wrong(type_name: &str, fault: &CodecError) -> String {
    format!("{type_name}: {fault}")
}

/// Writes a value of a type of this library, without names and descriptors, behind what `bytes`
/// holds.
pub(crate) fn encode_plain<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    let before = bytes.len();
    let encoder = Encoder::new(Writer { bytes, most: usize::MAX }, Names::Never);
    encoder.encode(value).map_err(|fault| {
        bytes.truncate(before);
        wrong(type_name::<T>(), &fault)
    })
}

/// A value that `encode_plain` wrote at the beginning of `bytes`, and what is behind it.
pub(crate) fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    let mut decoder = Decoder::new(bytes, Names::Never);
    match T::deserialize(&mut decoder) {
        Ok(value) => Ok((value, decoder.input.left())),
        Err(fault) => Err(wrong(type_name::<T>(), &fault)),
    }
}

/// A value that `encode_plain` wrote, from all of `bytes`.
pub(crate) fn decode_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match decode_front(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(too_long(type_name::<T>(), rest.len())),
    }
}
