//! The program's side of a pool: what waits, which worker has it, what came of it.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

pub(crate) mod chunker;
pub(crate) mod decode;
mod ending;
pub(crate) mod job;
pub(crate) mod ledger;
pub(crate) mod map_results;
pub(crate) mod retry;
pub(crate) mod scheduler;
pub(crate) mod settings;
pub(crate) mod slot;
pub(crate) mod supervisor;
pub(crate) mod worker;
pub(crate) mod worker_set;
