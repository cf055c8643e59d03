//! Describes what the library says about itself, and how a program gets to see it.

mod level;
mod logger;

pub use level::Level;
pub(crate) use logger::LogSettings;
pub use logger::{LogRecord, Logger, get_logger, log_to_stderr};
