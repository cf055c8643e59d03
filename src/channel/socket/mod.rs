//! Sockets between programs: addresses, the key handshake, and messages over a stream of bytes.

pub(crate) mod address;
pub(crate) mod auth;
pub(crate) mod pending;
pub(crate) mod stream;
