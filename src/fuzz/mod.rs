//! The functions that fuzzers call: one of any bytes for each thing here that decodes what another
//! process wrote.
//!
//! It is there with `--cfg multiproc_fuzz` only; `tests/fuzz` has the programs that feed it. A
//! target must come to its end within moments, whatever the bytes; a panic is a bug that it found.
//! What it is to do it takes from the bytes, too, so that a mutation of them is another sequence of
//! calls.

mod address;
mod control;
mod descriptors;
mod growable;
mod handles;
mod handshake;
mod input;
mod list;
mod locks;
mod pool;
mod queue;
mod relayed;
mod ring;
mod stream;
mod target;
mod values;

pub use target::{TARGETS, Target, run};
