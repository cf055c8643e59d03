//! What can go wrong when a message is sent or received.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};

use super::transport::{RecvTransportError, SendTransportError};
use crate::error::{Cause, Error};

/// Why a message was not sent. The value comes back, and nothing of it has reached the other side.
///
/// It converts into [`std::io::Error`] and into [`Error`], so that `?` works in `main`; the value is dropped then.
///
/// ```
/// use multiproc::{Listener, SendError, Connection, Address, connect};
///
/// let mut listener = Listener::bind(Address::fresh()?)?;
/// let mut near: Connection<String> = connect(listener.address())?;
/// drop(listener.accept::<String, String>()?);
/// let error = near.send("hello".to_owned()).unwrap_err();
/// assert!(error.is_disconnected());
/// assert_eq!(error.to_string(), "the other end of the connection is gone");
/// assert_eq!(error.into_value(), "hello");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
pub enum SendError<T> {
    /// There was no room for it in the time given.
    Full(T),
    /// Nobody will ever receive it: the other end is gone.
    Disconnected(T),
    /// The value cannot be sent.
    #[non_exhaustive]
    Encode {
        /// The value.
        value: T,
        /// Why not.
        reason: String,
    },
    /// The operating system refused.
    #[non_exhaustive]
    Os {
        /// The value.
        value: T,
        /// What it said.
        error: io::Error,
    },
}

impl<T> SendError<T> {
    pub(crate) fn new(fault: SendTransportError, value: T) -> SendError<T> {
        match fault {
            SendTransportError::Full => SendError::Full(value),
            SendTransportError::Disconnected => SendError::Disconnected(value),
            SendTransportError::NoDescriptors => {
                let reason = "descriptors cannot leave this machine: only a Unix socket carries them".to_owned();
                SendError::Encode { value, reason }
            }
            SendTransportError::TooManyDescriptors => {
                SendError::Encode { value, reason: "more descriptors than one message can carry (240)".to_owned() }
            }
            SendTransportError::Os(error) => SendError::Os { value, error },
        }
    }

    /// The value that was not sent.
    #[must_use]
    pub fn into_value(self) -> T {
        match self {
            SendError::Full(value)
            | SendError::Disconnected(value)
            | SendError::Encode { value, .. }
            | SendError::Os { value, .. } => value,
        }
    }

    /// There was no room for it in the time given.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, SendError::Full(_))
    }

    /// The other end is gone.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendError::Disconnected(_))
    }

    /// The value cannot be sent, here or ever.
    #[must_use]
    pub fn is_encode(&self) -> bool {
        matches!(self, SendError::Encode { .. })
    }

    /// What the operating system said, if it refused.
    #[must_use]
    pub fn os_error(&self) -> Option<&io::Error> {
        match self {
            SendError::Os { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The same error about another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> SendError<U> {
        match self {
            SendError::Full(value) => SendError::Full(f(value)),
            SendError::Disconnected(value) => SendError::Disconnected(f(value)),
            SendError::Encode { value, reason } => SendError::Encode { value: f(value), reason },
            SendError::Os { value, error } => SendError::Os { value: f(value), error },
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full(_) => f.write_str("there was no room for the message in time"),
            SendError::Disconnected(_) => f.write_str("the other end of the connection is gone"),
            SendError::Encode { reason, .. } => write!(f, "the value cannot be sent: {reason}"),
            SendError::Os { error, .. } => write!(f, "cannot send: {error}"),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    /// The same as `Display`: values need no printed form, and an error returned from `main` reads well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> StdError for SendError<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            SendError::Os { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl<T> From<SendError<T>> for io::Error {
    /// The value is dropped. Of the kinds `WouldBlock`, `BrokenPipe`, `InvalidData`, or what the system said.
    fn from(error: SendError<T>) -> io::Error {
        let kind = match &error {
            SendError::Full(_) => ErrorKind::WouldBlock,
            SendError::Disconnected(_) => ErrorKind::BrokenPipe,
            SendError::Encode { .. } => ErrorKind::InvalidData,
            SendError::Os { error, .. } => error.kind(),
        };
        io::Error::new(kind, error.map(|_| ()))
    }
}

impl<T> From<SendError<T>> for Error {
    /// The value is dropped.
    fn from(error: SendError<T>) -> Error {
        Cause::Channel(error.into()).into()
    }
}

/// Why no message was received.
///
/// It converts into [`std::io::Error`] and into [`Error`], so that `?` works in `main`.
///
/// ```
/// use multiproc::{Address, Connection, Listener, RecvError, connect};
///
/// let mut listener = Listener::bind(Address::fresh()?)?;
/// let mut near: Connection<String> = connect(listener.address())?;
/// let far: Connection<String> = listener.accept()?;
/// assert!(matches!(near.try_recv(), Err(RecvError::Empty)));
/// drop(far);
/// assert!(matches!(near.recv(), Err(RecvError::Disconnected)));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
pub enum RecvError {
    /// There was none in the time given. What came of one is not lost: the next call goes on with it.
    Empty,
    /// None will ever come: the other end is gone, and all that it sent was received. Python's `EOFError`.
    Disconnected,
    /// The other end went inside of a message, which is lost.
    Cut,
    /// A message is longer than this side accepts. The connection ends here, as in CPython: what is behind it cannot be
    /// found.
    #[non_exhaustive]
    TooLong {
        /// How long it is, in bytes.
        length: u64,
        /// How long it may be.
        limit: u64,
    },
    /// What came is no value of this type, for this reason. Later messages can be received, unless what came is no message at all.
    Decode(String),
    /// The operating system refused.
    Os(io::Error),
}

impl RecvError {
    /// There was none in the time given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, RecvError::Empty)
    }

    /// None will ever come.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvError::Disconnected)
    }

    /// What came is no value of this type.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        matches!(self, RecvError::Decode(_))
    }

    /// What the operating system said, if it refused.
    #[must_use]
    pub fn os_error(&self) -> Option<&io::Error> {
        match self {
            RecvError::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RecvTransportError> for RecvError {
    fn from(fault: RecvTransportError) -> RecvError {
        match fault {
            RecvTransportError::Empty => RecvError::Empty,
            RecvTransportError::Disconnected => RecvError::Disconnected,
            RecvTransportError::Cut => RecvError::Cut,
            RecvTransportError::TooLong { length, limit } => RecvError::TooLong { length, limit },
            RecvTransportError::Garbage(why) => RecvError::Decode(format!("no message: {why}")),
            RecvTransportError::Os(error) => RecvError::Os(error),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Empty => f.write_str("no message came in time"),
            RecvError::Disconnected => f.write_str("the other end of the connection is gone, and no message is left"),
            RecvError::Cut => f.write_str("the other end of the connection went inside of a message"),
            RecvError::TooLong { length, limit } => {
                write!(f, "a message of {length} bytes is longer than the {limit} that are accepted")
            }
            RecvError::Decode(reason) => write!(f, "what came cannot be decoded: {reason}"),
            RecvError::Os(error) => write!(f, "cannot receive: {error}"),
        }
    }
}

impl fmt::Debug for RecvError {
    /// The same as `Display`, so that an error returned from `main` reads well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for RecvError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            RecvError::Os(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RecvError> for io::Error {
    /// Of the kinds `WouldBlock`, `UnexpectedEof`, `InvalidData`, or what the system said.
    fn from(error: RecvError) -> io::Error {
        let kind = match &error {
            RecvError::Empty => ErrorKind::WouldBlock,
            RecvError::Disconnected | RecvError::Cut => ErrorKind::UnexpectedEof,
            RecvError::TooLong { .. } | RecvError::Decode(_) => ErrorKind::InvalidData,
            RecvError::Os(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl From<RecvError> for Error {
    fn from(error: RecvError) -> Error {
        Cause::Channel(error.into()).into()
    }
}

/// Why no message was received into a buffer.
///
/// See [`Connection::recv_bytes_into`](crate::Connection::recv_bytes_into).
#[non_exhaustive]
pub enum RecvIntoError {
    /// The message is longer than the buffer; here it is, whole.
    BufferTooShort(Vec<u8>),
    /// No message was received.
    Recv(RecvError),
}

impl From<RecvError> for RecvIntoError {
    fn from(error: RecvError) -> RecvIntoError {
        RecvIntoError::Recv(error)
    }
}

impl fmt::Display for RecvIntoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvIntoError::BufferTooShort(message) => {
                write!(f, "the buffer is too short for a message of {} bytes", message.len())
            }
            RecvIntoError::Recv(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for RecvIntoError {
    /// The same as `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for RecvIntoError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            RecvIntoError::Recv(error) => error.source(),
            RecvIntoError::BufferTooShort(_) => None,
        }
    }
}

impl From<RecvIntoError> for io::Error {
    fn from(error: RecvIntoError) -> io::Error {
        match error {
            RecvIntoError::Recv(error) => error.into(),
            error @ RecvIntoError::BufferTooShort(_) => io::Error::new(ErrorKind::InvalidInput, error),
        }
    }
}

impl From<RecvIntoError> for Error {
    fn from(error: RecvIntoError) -> Error {
        Cause::Channel(error.into()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_kind_on_the_way_to_main() {
        let error: Error = SendError::Disconnected(vec![1_u8]).into();
        assert_eq!(error.to_string(), "the other end of the connection is gone");
        assert_eq!(io::Error::from(error).kind(), ErrorKind::BrokenPipe);
        let error: Error = RecvError::Cut.into();
        assert_eq!(io::Error::from(error).kind(), ErrorKind::UnexpectedEof);
        let error: Error = RecvError::Os(io::Error::from_raw_os_error(24)).into();
        assert_eq!(error.raw_os_error(), Some(24));
        let error: Error = RecvError::Empty.into();
        assert_eq!(error.raw_os_error(), None);
    }
}
