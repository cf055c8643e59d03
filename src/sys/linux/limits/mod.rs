//! What this process may use.

pub(crate) mod rlimit;
pub(crate) mod watch;
pub(crate) mod weight;
