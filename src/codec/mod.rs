//! Describes how values become bytes and back: a compact format for serde, and a side table for the
//! descriptors that bytes cannot carry.

mod budget;
mod decoder;
#[cfg(feature = "self-describing")]
mod describing;
mod encoder;
mod enums;
mod error;
mod fds;
mod limits;
mod names;
mod parcel;
mod reader;
mod shape;
mod structs;
mod writer;

#[cfg(feature = "self-describing")]
pub use describing::SelfDescribing;
pub(crate) use fds::{Carried, Ends, MAX_FDS, Sole, table};
pub use limits::{DecodeLimits, decode_limits, set_decode_limits};
pub(crate) use parcel::{
    decode, decode_front, decode_plain, encode, encode_plain, encode_with_ends, encode_within,
};

#[cfg(test)]
mod tests;
