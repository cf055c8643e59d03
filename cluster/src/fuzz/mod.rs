//! The functions that fuzzers call: one of any bytes for each thing here that decodes what a node,
//! an owner or a broker wrote.
//!
//! It is there with `--cfg multiproc_fuzz` only; `tests/fuzz` has the programs that feed it. A
//! target must come to its end within moments, whatever the bytes; a panic is a bug that it found.

mod hands;
mod line;
mod messages;
mod program;
mod target;

pub use target::{TARGETS, run};
