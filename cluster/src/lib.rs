//! The pools of [`multiproc`] beyond one machine: the same `Pool`, `Tasks` and handles, with their
//! workers on the nodes of a cluster, over a [NATS](https://nats.io) server.
//!
//! ```no_run
//! use std::time::Duration;
//! use multiproc::Pool;
//! use multiproc_cluster::Cluster;
//!
//! fn thumbnail(path: String) -> usize { path.len() } // something big
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::connect("nats://broker:4222")?;
//! let pool = Pool::builder().on(&cluster).build()?;
//! let inputs = (0..1000).map(|n| format!("{n}.jpeg"));
//! for outcome in pool.tasks().deadline(Duration::from_secs(5)).imap(thumbnail, inputs) {
//!     println!("{}", outcome?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Nodes
//!
//! A node is the program `multiproc-node`, or any program that uses this crate, started with
//! `MULTIPROC_JOIN=nats://broker:4222`. Nodes come and go at any time. A node fetches the file of
//! the program that owns a pool from the broker, checks it by its SHA-256, and executes it from a
//! sealed memory file: what runs there is the very program that runs here, so functions are found
//! where they are here, and nothing has to be installed.
//!
//! # The key
//!
//! Whoever has the cluster's key may run code on all nodes; nobody else may, not even who controls
//! the broker: everything that makes a node do something is sealed with the key. Nodes and programs
//! take it from the file that `MULTIPROC_KEY_FILE` names, or from `MULTIPROC_KEY`. What is sent can
//! be read by the broker, so use TLS, and the broker's permissions, where that matters.
//!
//! # What holds, and what does not
//!
//! What a pool promises on one machine holds: one outcome for each task, the reason of each
//! failure, deadlines, cancelling, retries, limits and cage (on the node), bounded memory,
//! statistics and log records. What differs is in [`PoolBuilder::on`](multiproc::PoolBuilder::on).
//! Beside that:
//!
//! - A node is lost after five seconds of silence. What it may have begun is run again, up to three
//!   times in all, unless it is to run [`once`](multiproc::Tasks::once).
//! - A node whose owner is silent for four seconds ends the owner's tasks.
//! - A broker that is away stops nothing that runs. When it is back, even without anything that it
//!   knew, everything goes on; nothing of a task is kept by the broker.
//! - Tasks wait as long as there are no nodes. If every node that is there refuses the pool for
//!   good (another platform, no Landlock for its cage, an initializer that fails), they fail with
//!   the reasons.
//! - A task that is being run when its pool's program meets its end may have done part of its work.
//!
//! # Logs, spans and events
//!
//! What tasks log comes out in the logger of the program that owns their pool. With the feature
//! `tracing`, each task is a span in its subscriber, as on one machine (see
//! [`PoolBuilder::forward_logs`](multiproc::PoolBuilder::forward_logs)), and the spans and events
//! of the worker come out in it: `process` is the hand, as in errors, and `pid` its station's. A
//! node that is lost closes the spans of its tasks, and the next attempt has a span of its own. A
//! subscriber that is slower than all nodes together slows workers that tell much, and after a
//! second they leave out what they cannot tell; outcomes wait for none of it.
//!
//! [`Pool::stats`](multiproc::Pool::stats) has of a hand what it has of a worker here: its time at
//! work comes with outcomes, and each second with the number of processes that were replaced there
//! and with the private memory of the present one.
//!
//! # The broker
//!
//! Any `nats-server` from 2.9.10 (Debian 12) on, with JetStream (`-js`), whose memory store keeps
//! programs for nodes. Messages need no more than its usual limit of 1 MiB; longer arguments and
//! results are cut up. The store keeps 1 GiB of what was used last, beside what was stored last,
//! and nothing that was stored more than a day ago; where the broker has less room, less. What is
//! removed there is stored again by its owner when a node needs it.
//!
//! # Shared memory
//!
//! A [`SharedSlice`](multiproc::SharedSlice) among the arguments of a task, or of an initializer,
//! goes by its content: a pool stores it at the broker once, under its SHA-256, and each node that
//! has a task with it fetches it once, into memory that its workers share. It is checked there, and
//! kept until nobody has the slice any more. So a table that a million tasks look into is sent once
//! to each node.
//!
//! # What is not there yet
//!
//! Of all that has a descriptor, only a `SharedSlice` crosses, and only in arguments: the rest is
//! refused, by its name. What was begun of a chunk of a map stays with its worker, where a pool of
//! one machine would give what waits behind a long task to others: use `chunk_size(1)` for long
//! tasks of uneven length. Two pools on one node have a set of workers each.

mod broker;
mod cluster;
mod contents;
mod credentials;
mod error;
#[cfg(multiproc_fuzz)]
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod garbage_tests;
mod hook;
mod key;
mod line;
mod local;
mod node;
mod owner;
mod roll;
mod store;
mod tidings;
mod way;
mod wire;

pub use cluster::{Cluster, ClusterBuilder};
pub use error::{Error, Result};
pub use key::Key;
pub use roll::NodeInfo;

/// What the program `multiproc-node` is made of.
#[doc(hidden)]
pub mod program_of_node {
    pub use crate::node::arguments::main;
}
