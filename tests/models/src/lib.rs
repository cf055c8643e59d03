//! The locks of `src/sync`, the queues and rings of `src/channel`, and the scheduler and the workers
//! of a pool, the very files, on a platform that is a model: its kernel is in `sys`.
//!
//! With the feature `loom`, atomics and threads are loom's, which tries interleavings one after the
//! other; without it they are the standard library's, for Miri. Threads of a model are processes
//! with a number; they die where a test says.
//!
//! Another state machine is added by its `#[path]` beside what it is written against, as in
//! `sync/mod.rs`.
#![allow(dead_code, reason = "the files are used as they are, whatever of them the models need")]
#![allow(clippy::allow_attributes, reason = "as above")]

mod backend;
mod channel;
mod codec;
mod error;
mod identity;
mod limits;
mod pool;
mod sync;
mod sys;
#[cfg(test)]
mod tests;
mod trace_context;
mod unwind;
mod world;
