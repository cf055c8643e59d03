//! Types whose `Deserialize` asks the format what comes next, by way of MessagePack.
//!
//! They cross as bytes inside of a message of this codec. The bytes are another format's, decoded
//! by another crate, so the limits are kept from outside: `guard` stands between the type and the
//! format and counts what goes through. `nulls` finds, before anything is written, what MessagePack
//! has one form for where Rust has two.

mod guard;
mod nulls;
mod wrapper;

pub use wrapper::SelfDescribing;
