//! What can go wrong with a queue.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::core::{GetTransportError, PutTransportError};
use crate::error::{Cause, Error};

/// Why a value was not put. It comes back.
///
/// ```
/// use multiproc::{PutError, Queue};
///
/// let queue = Queue::bounded(1)?;
/// queue.put("one".to_owned())?;
/// match queue.try_put("two".to_owned()) {
///     Err(PutError::Full(value)) => assert_eq!(value, "two"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
pub enum PutError<T> {
    /// There was no room in the time given.
    Full(T),
    /// The queue was [shut down](crate::Queue::shutdown).
    ShutDown(T),
    /// The value cannot be encoded.
    #[non_exhaustive]
    Encode {
        /// The value.
        value: T,
        /// Why not.
        reason: String,
    },
    /// The operating system refused, or the memory of the queue was spoilt by somebody.
    #[non_exhaustive]
    Os {
        /// The value.
        value: T,
        /// What it said.
        error: io::Error,
    },
}

impl<T> PutError<T> {
    pub(crate) fn new(fault: PutTransportError, value: T) -> PutError<T> {
        match fault {
            PutTransportError::Full => PutError::Full(value),
            PutTransportError::ShutDown => PutError::ShutDown(value),
            PutTransportError::TooLong => PutError::Encode { value, reason: "it is longer than 1 GiB".to_owned() },
            PutTransportError::Corrupt => PutError::Os { value, error: corrupt() },
            PutTransportError::Os(error) => PutError::Os { value, error },
        }
    }

    /// The value.
    #[must_use]
    pub fn into_value(self) -> T {
        match self {
            PutError::Full(value)
            | PutError::ShutDown(value)
            | PutError::Encode { value, .. }
            | PutError::Os { value, .. } => value,
        }
    }

    /// The same error about another value.
    fn map<U>(self, f: impl FnOnce(T) -> U) -> PutError<U> {
        match self {
            PutError::Full(value) => PutError::Full(f(value)),
            PutError::ShutDown(value) => PutError::ShutDown(f(value)),
            PutError::Encode { value, reason } => PutError::Encode { value: f(value), reason },
            PutError::Os { value, error } => PutError::Os { value: f(value), error },
        }
    }

    /// Whether there was no room in the time given.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full(_))
    }

    /// Whether the queue was shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        matches!(self, PutError::ShutDown(_))
    }
}

fn corrupt() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the memory of the queue was spoilt")
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("the queue is full"),
            PutError::ShutDown(_) => f.write_str("the queue is shut down"),
            PutError::Encode { reason, .. } => write!(f, "the value cannot be put: {reason}"),
            PutError::Os { error, .. } => write!(f, "cannot put into the queue: {error}"),
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> StdError for PutError<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            PutError::Os { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl<T> From<PutError<T>> for io::Error {
    /// The value is dropped. Of the kinds `WouldBlock`, `BrokenPipe`, `InvalidData`, or what the system said.
    fn from(error: PutError<T>) -> io::Error {
        let kind = match &error {
            PutError::Full(_) => io::ErrorKind::WouldBlock,
            PutError::ShutDown(_) => io::ErrorKind::BrokenPipe,
            PutError::Encode { .. } => io::ErrorKind::InvalidData,
            PutError::Os { error, .. } => error.kind(),
        };
        io::Error::new(kind, error.map(|_| ()))
    }
}

impl<T> From<PutError<T>> for Error {
    /// The value is dropped.
    fn from(error: PutError<T>) -> Error {
        Cause::Channel(error.into()).into()
    }
}

/// Why no value was got.
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError {
    /// There was none in the time given.
    Empty,
    /// The queue was [shut down](crate::Queue::shutdown), and is empty.
    ShutDown,
    /// There was one, but it is not of the type, for this reason. It is lost, the queue is not.
    Decode(String),
    /// The operating system refused, or the memory of the queue was spoilt by somebody.
    Os(io::Error),
}

impl GetError {
    pub(crate) fn new(fault: GetTransportError) -> GetError {
        match fault {
            GetTransportError::Empty => GetError::Empty,
            GetTransportError::ShutDown => GetError::ShutDown,
            GetTransportError::Corrupt => GetError::Os(corrupt()),
            GetTransportError::Os(error) => GetError::Os(error),
        }
    }

    /// Whether there was none in the time given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, GetError::Empty)
    }

    /// Whether the queue is shut down and empty.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        matches!(self, GetError::ShutDown)
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("the queue is empty"),
            GetError::ShutDown => f.write_str("the queue is shut down"),
            GetError::Decode(reason) => write!(f, "a value of the queue cannot be decoded: {reason}"),
            GetError::Os(error) => write!(f, "cannot get from the queue: {error}"),
        }
    }
}

impl StdError for GetError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            GetError::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<GetError> for io::Error {
    /// Of the kinds `WouldBlock`, `UnexpectedEof`, `InvalidData`, or what the system said.
    fn from(error: GetError) -> io::Error {
        let kind = match &error {
            GetError::Empty => io::ErrorKind::WouldBlock,
            GetError::ShutDown => io::ErrorKind::UnexpectedEof,
            GetError::Decode(_) => io::ErrorKind::InvalidData,
            GetError::Os(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl From<GetError> for Error {
    fn from(error: GetError) -> Error {
        Cause::Channel(error.into()).into()
    }
}
