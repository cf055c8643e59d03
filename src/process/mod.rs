//! Processes as a program sees them.
//!
//! The rooms, lowest first: `children`, `inside`, what stands here.

mod builder;
mod children;
mod context;
mod environment;
mod forkserver;
mod inside;
mod options;
mod restrict;
mod run;
mod unchecked;
mod work_dir;

pub use builder::Process;
pub use children::{Child, Handle, StillRunning, Waitable, active_children, wait};
pub use context::Context;
pub use forkserver::{at_forkserver_child, restart_forkserver, set_forkserver_preload};
pub use inside::current::{
    CurrentProcess, ParentProcess, cpu_count, current_process, parent_process,
};
pub use inside::exit::at_exit;
pub use run::Run;
pub(crate) use work_dir::temporary_directory;
