//! The ring of a pipe.

#[path = "../../../../../src/channel/pipe/ring.rs"]
pub(crate) mod ring;
