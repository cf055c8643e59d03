//! Processes as a program sees them.

pub(crate) mod bootstrap;
mod builder;
mod child;
mod context;
mod core;
mod current;
mod end;
mod exit;
mod forkserver;
mod handle;
mod hook;
mod parentage;
mod private_dir;
mod registry;
mod removal;
mod restrict;
mod run;
mod unchecked;
mod wait;

pub use builder::Process;
pub(crate) use builder::temporary_directory;
pub use child::{Child, StillRunning};
pub use context::{Context, get_context};
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use exit::at_exit;
pub use forkserver::{at_forkserver_child, restart_forkserver, set_forkserver_preload};
pub use handle::Handle;
pub use registry::active_children;
pub use run::Run;
pub use wait::{Waitable, wait};
