//! Sockets.

pub(crate) mod socket;
