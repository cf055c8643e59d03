//! The owner's side: a pool, as its program sees the nodes.
//!
//! - `hands`: what the core's pool calls, in any thread; it becomes commands.
//! - `contract`: what is known of one node that works for the pool.
//! - `shelf`: what it has for its nodes: program, settings, constant memory.
//! - `records`: log records of nodes.
//! - `window`: how much of what a node tells of spans and events waits for the subscriber.
//! - `desk`: the task on the runtime that follows commands, hears nodes and reports to the pool.
//!
//! The pool keeps each task until its outcome is here. What a node was given and has not answered
//! when it is lost goes back to the pool's queue, so neither a node nor the broker can lose a task.

pub(crate) mod contract;
pub(crate) mod desk;
pub(crate) mod hands;
mod records;
pub(crate) mod shelf;
mod window;

#[cfg(test)]
mod stranger_tests;
