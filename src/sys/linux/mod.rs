//! Linux 5.4 and newer.
//!
//! The rooms, lowest first; each uses those before it: what stands here, `program`, `wait`,
//! `memory`, `process`, `limits`, `ipc`, `cage`.
#![expect(unsafe_code, reason = "the one floor with system calls that rustix does not wrap")]

#[cfg(feature = "cage")]
pub(crate) mod cage;
pub(crate) mod errno;
pub(crate) mod fd;
pub(crate) mod ipc;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod parcel;
pub(crate) mod per_process;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod remove_tree;
#[cfg(feature = "cage")]
pub(crate) mod streams;
pub(crate) mod wait;
