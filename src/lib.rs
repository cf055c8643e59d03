//! Run Rust functions in processes, as easily as in threads.

mod codec;
mod error;
mod hook;
mod identity;
mod log;
mod process;
mod signal;
mod start;
mod sys;
mod target;
mod unwind;

pub use error::{Error, Failure, JoinError, Result};
pub use log::{Level, LogRecord, Logger, get_logger, log_to_stderr};
pub use process::{
    Child, Context, CurrentProcess, Handle, ParentProcess, Process, Run, StillRunning, Waitable, active_children,
    at_exit, cpu_count, current_process, get_context, parent_process, set_forkserver_preload, wait,
};
pub use signal::Signal;
pub use start::method::{
    StartMethod, force_start_method, get_all_start_methods, get_start_method, get_start_method_if_set, set_start_method,
};
pub use start::stdio::Stdio;
pub use target::Target;
pub use unwind::{Location, Panic};
