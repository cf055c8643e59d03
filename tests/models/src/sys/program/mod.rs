//! The program's code.

pub(crate) mod code;
