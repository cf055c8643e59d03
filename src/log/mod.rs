//! Log records of the library, and the ways in which a program gets to see them.
//!
//! CPython's levels and lines (`[INFO/Process-1] child process calling self.run()`), by way of
//! handlers of our own and of the `log` facade. Handlers run in the thread that logs, without a
//! lock of the logger's; one may start a process, so nothing is logged while the fork server's
//! slot is locked.

mod level;
mod logger;

pub use level::Level;
pub(crate) use logger::LogSettings;
pub use logger::{LogRecord, Logger, get_logger, log_to_stderr};
