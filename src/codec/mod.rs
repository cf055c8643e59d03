//! Values to bytes and back: a compact format for serde, and a side table for the descriptors that
//! bytes cannot carry.
//!
//! Both sides of a message run the same program, so the format need not say what comes next: the
//! types say it. It says three things all the same, because serde's attributes let what `Serialize`
//! writes and what `Deserialize` expects differ: the names of fields, the names of variants, and
//! how many fields a tuple struct has. A value arrives as what was sent or is an error; it never
//! arrives as another one.
//!
//! # The format
//! | value | bytes |
//! |---|---|
//! | `bool`, `u8`, `i8` | one |
//! | `u16` to `u64`, `char` | 7 bits a byte, the lowest first; all but the last with the highest bit set |
//! | `i16` to `i64` | the same, of a number whose lowest bit is the sign (`writer::signed`) |
//! | `u128`, `i128`, `f32`, `f64` | all of them, the lowest first |
//! | text | the length, the bytes |
//! | `None`, `Some(x)` | 0; 1, x |
//! | list, bytes | twice the number of items; the items |
//! | list of integers of 16 to 64 bits, in a slice | twice the number of items, plus one; of which kind; their bytes, the lowest first (`packed`) |
//! | map | how many entries; each key with its value |
//! | tuple, array | the items |
//! | tuple struct | how many fields; the fields |
//! | newtype struct | its field |
//! | unit, unit struct | none |
//! | struct | a head, the names that it calls for, the fields (`shape`) |
//! | enum | a head, the form, position and name of the variant, what is in it |
//! | descriptor | its place in the table that goes beside the bytes (`fds`) |
//!
//! Messages of the library's own types are without names and counts (`encode_plain`,
//! `Names::Never`): these types use no such attributes, and are in the control flow of every task.
//!
//! # Who may call
//! Any thread, also in a forked copy, but no signal handler: user code (`Serialize`, `Deserialize`)
//! runs inside, and allocates. It may panic, and encode or decode other values meanwhile: the state
//! of a thread is put back in both cases. Decoding takes bytes from anybody: it fails or gives some
//! value of the type, in time and memory that `budget` bounds.

mod budget;
mod decoder;
#[cfg(feature = "self-describing")]
mod describing;
mod encoder;
mod enums;
mod error;
mod fds;
mod limits;
mod packed;
mod parcel;
mod reader;
mod serializer;
mod shape;
mod structs;
mod unchecked;
mod writer;

#[cfg(feature = "self-describing")]
pub use describing::SelfDescribing;
pub(crate) use fds::{Carried, Ends, MAX_FDS, Sole, table};
pub use limits::{DecodeLimits, decode_limits, set_decode_limits};
pub(crate) use parcel::{
    decode, decode_front, decode_plain, encode, encode_front, encode_plain, encode_with_ends,
    encode_within,
};
pub(crate) use shape::prepare;

#[cfg(test)]
#[path = "tests/value_tests.rs"]
mod tests;
