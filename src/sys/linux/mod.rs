//! Linux 5.4 and newer.
#![expect(unsafe_code, reason = "the one floor with system calls that rustix does not wrap")]

pub(crate) mod bell;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod blocks;
pub(crate) mod bytes;
#[cfg(feature = "cage")]
pub(crate) mod cage;
pub(crate) mod clone;
pub(crate) mod code;
pub(crate) mod copy;
pub(crate) mod creds;
pub(crate) mod environ;
pub(crate) mod epoll;
pub(crate) mod exclusive;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod fd;
mod flock;
pub(crate) mod frozen;
pub(crate) mod futex;
pub(crate) mod lifeline;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod namespaces;
pub(crate) mod net;
pub(crate) mod own_file;
pub(crate) mod per_process;
pub(crate) mod pidfd;
pub(crate) mod poll;
pub(crate) mod profile;
pub(crate) mod random;
mod read_map;
pub(crate) mod remove_tree;
pub(crate) mod reserve;
pub(crate) mod robust;
pub(crate) mod shared;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod stack;
pub(crate) mod stream;
#[cfg(feature = "cage")]
pub(crate) mod streams;
pub(crate) mod threads;
pub(crate) mod title;
pub(crate) mod tree;
pub(crate) mod watch;
pub(crate) mod weight;
