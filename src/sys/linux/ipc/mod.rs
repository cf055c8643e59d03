//! Sockets, and what goes over them; locked and named files.

pub(crate) mod bell;
pub(crate) mod flock;
mod fork_guard;
pub(crate) mod lifeline;
pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod socket;
pub(crate) mod stream;
