//! Linux 5.4 and newer: the floor that speaks with the kernel, and the only one that knows which
//! platform it is on.
//!
//! The rooms, lowest first; each uses those before it: what stands here, `program`, `wait`,
//! `memory`, `process`, `limits`, `ipc`, `cage`.
//!
//! # Rules of the floor
//! - System calls go through rustix where it wraps them, else through `libc::syscall`. A call is
//!   repeated after EINTR, unless its deadline is over: no signal shows above this floor.
//! - Descriptors are owned, close-on-exec and above 2 from the moment they exist.
//! - An error of the kernel is an `io::Error` with its errno; a function whose answer depends on an
//!   errno says which, and what it makes of it.
//! - Functions that run in a signal handler or between vfork and exec say so: they neither allocate
//!   nor lock, and save errno where it is seen.
//! - A newer call has a fallback for the kernels before it; the comment names the version.
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
pub(crate) mod resource;
#[cfg(feature = "cage")]
pub(crate) mod streams;
pub(crate) mod wait;
