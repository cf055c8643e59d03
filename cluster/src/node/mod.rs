//! The node's side: a daemon that is asked to work for pools, and a station for each pool.
//!
//! - `config`: how a node is told what it is to be.
//! - `daemon`: announces the node, fetches programs, starts stations, drains.
//! - `metrics`: what the node tells those who look after it.
//! - `start`: one start of a station: program, settings, what becomes of it.
//! - `reins`: the hold on a station, by which it is told to leave.
//! - `execute`: the program as a process: whether it runs here, and how it ended.
//! - `fetch`, `larder`: what the broker keeps for it; the memory that its tasks refer to.
//! - `init`: the first process of a container, beside the node.
//! - `journal`: what the node writes to standard error.
//! - `station`: the process of the owner's own program that runs the tasks of one pool.
//! - `bench`: the hands of a station, and what they have.
//! - `told`: what their workers tell of spans and events, until it goes to the owner.
//!
//! The daemon executes nothing but what a sealed request names by its SHA-256, from a sealed memory
//! file. It never looks into tasks; the station does, which is the very program that made them.

pub(crate) mod arguments;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod daemon;
pub(crate) mod execute;
mod fetch;
mod init;
pub(crate) mod journal;
mod larder;
pub(crate) mod metrics;
#[cfg(test)]
mod program_tests;
pub(crate) mod reins;
pub(crate) mod start;
pub(crate) mod station;
mod told;
