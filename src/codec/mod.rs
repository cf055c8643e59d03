//! How values become bytes and back: a compact format for serde, and a side table for the descriptors that bytes cannot carry.

mod budget;
mod decoder;
mod encoder;
mod enums;
mod fault;
mod fds;
#[cfg(feature = "self-describing")]
mod guard;
mod limits;
#[cfg(feature = "self-describing")]
mod nulls;
mod parcel;
mod reader;
#[cfg(feature = "self-describing")]
mod self_describing;
mod shape;
mod structs;
mod writer;

pub(crate) use fds::{Carried, Ends, MOST_FDS, Sole, table};
pub use limits::{DecodeLimits, decode_limits, set_decode_limits};
pub(crate) use parcel::{decode, decode_front, decode_plain, encode, encode_plain, encode_with_ends, encode_within};
#[cfg(feature = "self-describing")]
pub use self_describing::SelfDescribing;

#[cfg(test)]
mod tests;
