//! The ways in which a child comes to be: one file for each start method, and their common parts.
//!
//! | file | what it does |
//! |---|---|
//! | `spec`, `order` | what a process is to be, and everything that it is started with |
//! | `launch` | chooses the method, and another one where that cannot work |
//! | `spawn`, `fork` | make a child by exec, by fork |
//! | `forkserver`, `zygote` | the client's and the server's side of the forkserver method |
//! | `execute`, `boot` | execute our file, and what that process finds in its environment |
//! | `wire` | the messages between a process and its children or fork server |
//! | `stdio`, `lifeline`, `preload`, `method` | streams, the program's lifeline, preload functions, which method |
//!
//! # Invariants
//! - A child is tied to a lifeline before its function runs, and is this process's own child (not
//!   the fork server's), so that it can be waited for.
//! - Nothing here blocks on a child: what is sent fits into an empty socket or goes in a memory
//!   file. The exception is a child that is to outlive its parent: the start waits, 30 seconds at
//!   the most, for it to say that it is untied.
//! - The caller may be any thread, with any locks of its own. The fork server's slot is the only
//!   lock that is held while waiting, and only for the server.

pub(crate) mod boot;
mod execute;
pub(crate) mod fork;
pub(crate) mod forkserver;
pub(crate) mod launch;
mod lifeline;
pub(crate) mod method;
pub(crate) mod order;
pub(crate) mod preload;
mod spawn;
pub(crate) mod spec;
pub(crate) mod stdio;
pub(crate) mod wire;
pub(crate) mod zygote;

pub(crate) use launch::launch;
pub(crate) use order::{Launched, Order};
pub(crate) use spec::ProcessSpec;
