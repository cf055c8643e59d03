//! Limits of this process: those that the kernel keeps (`rlimit`), those that signals and timers
//! keep (`watch`, `group`), and the weight of a process (`weight`).
//!
//! All of it is put in force in the limited process itself, before its function runs.

mod group;
pub(crate) mod rlimit;
pub(crate) mod watch;
pub(crate) mod weight;
