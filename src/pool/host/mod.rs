//! The program's side of a pool: it carries out what the scheduler decides, and keeps what comes of
//! tasks for whoever waits.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

pub(crate) mod chunker;
pub(crate) mod decode;
mod driver;
pub(crate) mod map_results;
pub(crate) mod settings;
pub(crate) mod slot;
pub(crate) mod supervisor;
mod waiting;
pub(crate) mod worker_process;
