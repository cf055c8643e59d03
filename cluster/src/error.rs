//! The error of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cluster cannot be reached or served.
///
/// Its text names what was tried. What becomes of tasks is in the core's
/// [`TaskError`](multiproc::TaskError).
///
/// ```
/// let error = multiproc_cluster::Key::new("short").unwrap_err();
/// assert!(error.to_string().contains("at least 16"));
/// ```
#[derive(Debug)]
pub struct Error(Box<Cause>);

#[derive(Debug)]
enum Cause {
    /// What was asked for cannot be; the text says all.
    Config(String),
    /// The broker; what was tried and what it said.
    Broker(String, String),
    /// The operating system.
    Os(String, io::Error),
}

impl Error {
    pub(crate) fn config(text: impl Into<String>) -> Error {
        Error(Box::new(Cause::Config(text.into())))
    }

    pub(crate) fn broker(what: impl Into<String>, error: impl fmt::Display) -> Error {
        Error(Box::new(Cause::Broker(what.into(), error.to_string())))
    }

    pub(crate) fn os(what: impl Into<String>, error: io::Error) -> Error {
        Error(Box::new(Cause::Os(what.into(), error)))
    }

    /// Returns whether the broker was the reason: it cannot be reached, or refused something.
    ///
    /// ```
    /// assert!(!multiproc_cluster::Key::new("short").unwrap_err().is_broker());
    /// ```
    #[must_use]
    pub fn is_broker(&self) -> bool {
        matches!(*self.0, Cause::Broker(..))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Config(text) => f.write_str(text),
            Cause::Broker(what, error) => write!(f, "{what}: {error}"),
            Cause::Os(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Cause::Os(_, error) => Some(error),
            _ => None,
        }
    }
}
