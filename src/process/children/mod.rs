//! The children of a program: handles, results, and the ends of those that nobody holds.
//!
//! `core` knows one child (its socket, its pidfd, how it ended), `registry` all that have not been
//! seen to end, `handle` and `child` are what users hold. `end` reads what a child said, `capture`
//! what it wrote; `reaper` kills those whose `Child` is dropped, where that was asked for, and
//! `removal` takes away directories, both with a thread (`errands`) for what takes long.
//!
//! # Invariants
//! - A child is waited for and signalled by pidfd, so a number that the system gave to another
//!   process hits nobody.
//! - Its status is taken once, by whoever comes first; all handles see the same end.
//! - The socket is read after the death only: what a living child says waits there.
//! - Nothing here is shared with a forked copy: the copy's registry is empty, and handles that it
//!   has are not its own (`Core::is_ours`).

mod capture;
mod child;
pub(crate) mod core;
mod end;
mod errands;
pub(crate) mod handle;
mod output;
pub(crate) mod private_dir;
pub(crate) mod reaper;
pub(crate) mod registry;
pub(crate) mod removal;
mod wait;
mod wait_set;

pub(crate) use child::OnDrop;
pub use child::{Child, StillRunning};
pub use handle::{Handle, active_children};
pub use output::Output;
pub use wait::{Waitable, wait};
pub use wait_set::{AddError, WaitSet};
