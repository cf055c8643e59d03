//! Describes what this process may use.

mod group;
pub(crate) mod rlimit;
pub(crate) mod watch;
pub(crate) mod weight;
