//! As much of the library's error as locks need.

use std::fmt;

use crate::limits::LimitReached;
use crate::unwind::Panic;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug)]
pub(crate) enum Cause {
    Acquire(String),
    BadInput(String),
}

#[derive(Debug)]
pub struct Error(Cause);

impl From<Cause> for Error {
    fn from(cause: Cause) -> Error {
        Error(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The ways in which a task fails, as far as a pool's scheduler knows them.
#[derive(Debug)]
pub(crate) enum Failure {
    Panicked(Panic),
    Exited(i32),
    BadArguments(String),
    BadResult(String),
    NotRun(String),
    Limit(LimitReached),
    Cancelled(String),
    Lost(String),
    NodeLost(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
