//! Describes what a program has of the processes that it started.

mod child;
pub(crate) mod core;
mod end;
pub(crate) mod handle;
pub(crate) mod private_dir;
pub(crate) mod registry;
pub(crate) mod removal;
mod wait;

pub use child::{Child, StillRunning};
pub use handle::{Handle, active_children};
pub use wait::{Waitable, wait};
