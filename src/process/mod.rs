//! Processes as a program sees them: to describe, start, wait for and end them, and what a process
//! knows of itself.
//!
//! The rooms, lowest first: `children` (this process looks at those that it started), `inside` (a
//! process looks at itself, from before `main` to its last instruction), what stands here (the
//! builder, and what a program says to its fork server). How a process is made is a floor below, in
//! `start`.
//!
//! # Who may call
//! Everything public may be called by any thread, and in any process of the library, but not in a
//! signal handler. Three calls are refused in places where they could not work: starting a process
//! in an initialiser that runs before a child has its job, in a daemon, and by fork while other
//! threads exist or while the process leaves.

mod builder;
mod children;
mod context;
mod environment;
mod forkserver;
mod inside;
mod options;
mod output;
mod relaying;
mod restrict;
mod run;
mod unchecked;
mod work_dir;

pub use builder::Process;
pub use children::{
    AddError, Child, Handle, Output, StillRunning, WaitSet, Waitable, active_children, wait,
};
pub use context::Context;
pub use forkserver::{at_forkserver_child, restart_forkserver, set_forkserver_preload};
pub use inside::current::{
    CurrentProcess, ParentProcess, cpu_count, current_process, parent_process,
};
pub use inside::exit::at_exit;
pub use run::Run;
pub(crate) use work_dir::temporary_directory;
