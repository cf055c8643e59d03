//! Sockets, and what goes over them; lifelines; locked and named files.
//!
//! `socket` has pairs that keep message boundaries (`SOCK_SEQPACKET`), between a process and its
//! children; `bell` wakes and passes descriptors over such a pair; `net` and `stream` are for
//! sockets with an address; `lifeline` ends children with their parent, and `fork_guard` keeps
//! copies of the parent out of it; `flock` and `names` are for what has a name in a file system.

pub(crate) mod bell;
pub(crate) mod flock;
mod fork_guard;
pub(crate) mod lifeline;
pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod socket;
pub(crate) mod stream;
