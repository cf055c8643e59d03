//! The error of receiving into a buffer.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};

use super::RecvError;
#[cfg(doc)]
use super::{RecvTimeoutError, TryRecvError};
use crate::error::{Cause, Error};

/// Why no message was received into a buffer: `E` is the error of the same call without a buffer.
///
/// [`Connection::recv_bytes_into`](crate::Connection::recv_bytes_into) has a [`RecvError`],
/// `try_recv_bytes_into` a [`TryRecvError`] and `recv_bytes_into_timeout` a [`RecvTimeoutError`].
///
/// ```
/// use multiproc::RecvIntoError;
///
/// let (mut sender, mut receiver) = multiproc::pipe::<()>()?;
/// sender.send_bytes(b"long")?;
/// drop(sender);
/// let mut buffer = [0; 3];
/// let error = receiver.recv_bytes_into(&mut buffer).unwrap_err();
/// assert_eq!(error, RecvIntoError::BufferTooShort(b"long".to_vec()));
/// let error = receiver.try_recv_bytes_into(&mut buffer).unwrap_err();
/// assert!(error.recv_error().unwrap().is_disconnected());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(PartialEq)]
#[non_exhaustive]
pub enum RecvIntoError<E = RecvError> {
    /// The message is longer than the buffer; here it is, whole.
    BufferTooShort(Vec<u8>),
    /// No message was received.
    Recv(E),
}

impl<E> RecvIntoError<E> {
    /// Returns true if a message came that is longer than the buffer.
    ///
    /// ```
    /// let (mut sender, mut receiver) = multiproc::pipe::<()>()?;
    /// sender.send_bytes(b"long")?;
    /// assert!(receiver.recv_bytes_into(&mut [0; 3]).unwrap_err().is_buffer_too_short());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_buffer_too_short(&self) -> bool {
        matches!(self, RecvIntoError::BufferTooShort(_))
    }

    /// Returns why no message was received; `None` if one came and was too long for the buffer.
    ///
    /// ```
    /// let (sender, mut receiver) = multiproc::pipe::<()>()?;
    /// drop(sender);
    /// let error = receiver.recv_bytes_into(&mut [0; 3]).unwrap_err();
    /// assert!(error.recv_error().unwrap().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn recv_error(&self) -> Option<&E> {
        match self {
            RecvIntoError::Recv(error) => Some(error),
            RecvIntoError::BufferTooShort(_) => None,
        }
    }
}

impl<E> From<E> for RecvIntoError<E> {
    fn from(error: E) -> RecvIntoError<E> {
        RecvIntoError::Recv(error)
    }
}

impl<E: fmt::Display> fmt::Display for RecvIntoError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvIntoError::BufferTooShort(message) => {
                write!(f, "the buffer is too short for a message of {} bytes", message.len())
            }
            RecvIntoError::Recv(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for RecvIntoError<E> {
    /// Prints the same as `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: StdError> StdError for RecvIntoError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.recv_error().and_then(StdError::source)
    }
}

impl<E: Into<io::Error>> From<RecvIntoError<E>> for io::Error {
    /// Converts into an error of the kind `InvalidInput` if the buffer was too short.
    fn from(error: RecvIntoError<E>) -> io::Error {
        match error {
            RecvIntoError::Recv(error) => error.into(),
            RecvIntoError::BufferTooShort(message) => {
                let error = RecvIntoError::<RecvError>::BufferTooShort(message);
                io::Error::new(ErrorKind::InvalidInput, error)
            }
        }
    }
}

impl<E: Into<io::Error>> From<RecvIntoError<E>> for Error {
    fn from(error: RecvIntoError<E>) -> Error {
        Cause::Channel(error.into()).into()
    }
}
