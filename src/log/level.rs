//! The importance of a record.

use std::fmt;

use serde::{Deserialize, Serialize};

/// CPython's levels, the two that only its `multiprocessing` has included.
///
/// ```
/// use multiproc::Level;
///
/// assert!(Level::Debug < Level::Info);
/// assert_eq!(Level::Warning.to_string(), "WARNING");
/// assert_eq!(Level::from(log::Level::Warn), Level::Warning);
/// ```
///
/// The numbers are CPython's, so that a record that crosses keeps its place between the levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Level {
    /// No level of its own: that of the `log` facade (`log::max_level`) holds.
    NotSet = 0,
    /// The clean-up's own chatter.
    SubDebug = 5,
    /// Details for whoever looks for a fault.
    Debug = 10,
    /// The life of processes.
    Info = 20,
    /// Between information and warning.
    SubWarning = 25,
    /// Something to look at.
    Warning = 30,
    /// Something failed.
    Error = 40,
    /// The program cannot go on.
    Critical = 50,
}

/// All levels, the least important first.
const ALL: [Level; 8] = [
    Level::NotSet,
    Level::SubDebug,
    Level::Debug,
    Level::Info,
    Level::SubWarning,
    Level::Warning,
    Level::Error,
    Level::Critical,
];

impl Level {
    /// The level of a number, for the one place that stores it as one.
    pub(super) fn from_number(number: u8) -> Level {
        ALL.into_iter().find(|level| *level as u8 == number).unwrap_or(Level::NotSet)
    }

    /// The nearest level of the `log` facade.
    pub(super) fn facade(self) -> log::Level {
        match self {
            Level::NotSet | Level::SubDebug => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::SubWarning | Level::Warning => log::Level::Warn,
            Level::Error | Level::Critical => log::Level::Error,
        }
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Level {
        match level {
            log::Level::Trace => Level::SubDebug,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warning,
            log::Level::Error => Level::Error,
        }
    }
}

impl fmt::Display for Level {
    /// As CPython prints them: `INFO`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::NotSet => "NOTSET",
            Level::SubDebug => "SUBDEBUG",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::SubWarning => "SUBWARNING",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        })
    }
}
