//! Memory that processes share, and memory files.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod blocks;
pub(crate) mod bytes;
pub(crate) mod copy;
pub(crate) mod exclusive;
pub(crate) mod frozen;
pub(crate) mod memfd;
pub(crate) mod read_map;
pub(crate) mod sealed;
pub(crate) mod shared;
