//! Sockets, and what goes over them; locked and named files.

pub(crate) mod bell;
pub(crate) mod flock;
pub(crate) mod lifeline;
pub(crate) mod names;
pub(crate) mod net;
#[cfg(feature = "cage")]
pub(crate) mod private_lifeline;
pub(crate) mod socket;
pub(crate) mod stream;
