//! The program's side of a pool: it carries out what the scheduler decides, and keeps the outcomes
//! of tasks for the threads that wait for them.
//!
//! Threads and locks:
//!
//! - *User threads* submit, cancel and wait. They lock the driver for a moment, and send to workers
//!   themselves, so that a task needs no switch of threads to get under way.
//! - *The leader*, one of the user threads that wait, hears workers itself while it does.
//! - *The supervisor*, one thread for each pool, hears workers while nobody leads, reaps them,
//!   starts new ones, and acts on deadlines.
//! - The driver's lock is the outer one. Under it, sinks (`slot`, `map_results`) lock their own
//!   state for a moment to store an outcome. Nobody locks the driver while a sink is locked.
//! - Callbacks, wakers and loggers are called with nothing locked.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

pub(crate) mod charter;
pub(crate) mod chunker;
pub(crate) mod decode;
mod driver;
mod echo;
mod event_sets;
pub(crate) mod leader;
pub(crate) mod map_results;
pub(crate) mod remote;
mod reports;
pub(crate) mod settings;
pub(crate) mod slot;
pub(crate) mod supervisor;
mod waiting;
pub(crate) mod worker_process;
