//! As much of the library's error as locks need.

use std::fmt;

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
