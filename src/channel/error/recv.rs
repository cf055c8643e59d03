//! The errors of receiving.

use std::fmt;
use std::io::{self, ErrorKind};

use super::common::{OsError, impl_channel_error};
use crate::channel::transport::RecvTransportError;

/// An error of receiving, made of what a transport or the decoder said.
pub(crate) trait RecvFailure: From<RecvTransportError> + From<RecvError> {}

impl<E: From<RecvTransportError> + From<RecvError>> RecvFailure for E {}

/// The error by reference: what all three have in common is implemented for this.
#[derive(Clone, Copy, PartialEq)]
enum View<'a> {
    Empty,
    Timeout,
    Disconnected,
    Truncated,
    TooLong { length: u64, limit: u64 },
    Decode(&'a str),
    Corrupt(&'a str),
    Os(OsError<'a>),
}

impl View<'_> {
    fn kind(self) -> ErrorKind {
        match self {
            View::Empty => ErrorKind::WouldBlock,
            View::Timeout => ErrorKind::TimedOut,
            View::Disconnected | View::Truncated => ErrorKind::UnexpectedEof,
            View::TooLong { .. } | View::Decode(_) | View::Corrupt(_) => ErrorKind::InvalidData,
            View::Os(OsError(error)) => error.kind(),
        }
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::Empty => f.write_str("the channel is empty"),
            View::Timeout => f.write_str("timed out waiting for a message"),
            View::Disconnected => {
                f.write_str("the channel is empty and its sending side is disconnected")
            }
            View::Truncated => f.write_str("the peer disconnected in the middle of a message"),
            View::TooLong { length, limit } => {
                write!(f, "a message of {length} bytes is longer than the limit of {limit} bytes")
            }
            View::Decode(reason) => write!(f, "the value cannot be decoded: {reason}"),
            View::Corrupt(reason) => write!(f, "the channel is corrupt: {reason}"),
            View::Os(OsError(error)) => write!(f, "cannot receive: {error}"),
        }
    }
}

/// Declares an error of receiving; the blocking call's has no variant for the lack of a message.
macro_rules! recv_error {
    (
        $(#[$about:meta])* $name:ident
        $(, $(#[$extra_about:meta])* $extra:ident, $is_extra:ident)?
    ) => {
        $(#[$about])*
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$extra_about])* $extra, )?
            /// No message will ever come: the other end is gone or the queue was
            /// [shut down](crate::Queue::shutdown), and all that was sent before was received.
            /// Python's `EOFError`.
            Disconnected,
            /// The peer disconnected in the middle of a message, which is lost. `Disconnected`
            /// follows.
            Truncated,
            /// A message is longer than this side accepts. What is behind it cannot be found, so
            /// `Disconnected` follows, as in CPython.
            #[non_exhaustive]
            TooLong {
                /// The length of the message, in bytes.
                length: u64,
                /// The longest that is accepted, in bytes.
                limit: u64,
            },
            /// The message is no value of this type, for this reason. It is lost; later ones can
            /// be received.
            Decode(String),
            /// What came is no message, or the shared memory of the channel was overwritten.
            /// Stop: a pipe or connection is at its end (`Disconnected` follows), and a queue has
            /// lost all that was in it.
            Corrupt(String),
            /// The operating system refused. Nothing is lost, and a later call may succeed.
            Os(io::Error),
        }

        impl $name {
            $(
                /// Returns true if no message came in the time given. What arrived in part is
                /// kept for the next call.
                #[must_use]
                pub fn $is_extra(&self) -> bool {
                    matches!(self, $name::$extra)
                }
            )?

            /// Returns true if no message will ever come, after an orderly end.
            ///
            /// ```
            /// let (sender, mut receiver) = multiproc::pipe::<u8>()?;
            /// drop(sender);
            /// assert!(receiver.recv().unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn is_disconnected(&self) -> bool {
                matches!(self, $name::Disconnected)
            }

            /// Returns true if the peer disconnected in the middle of a message.
            ///
            /// ```
            /// use multiproc::Connection;
            /// use std::io::Write;
            /// use std::os::unix::net::UnixStream;
            ///
            /// let (mut near, far) = UnixStream::pair().unwrap();
            /// let mut far: Connection<u32> = far.try_into()?;
            /// near.write_all(&[0, 0, 0, 4, 1]).unwrap(); // four bytes follow, and only one does
            /// drop(near);
            /// assert!(far.recv().unwrap_err().is_truncated());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn is_truncated(&self) -> bool {
                matches!(self, $name::Truncated)
            }

            /// Returns true if one message was no value of this type; later ones can be received.
            ///
            /// ```
            /// let (mut sender, mut receiver) = multiproc::pipe::<bool>()?;
            /// sender.send_bytes(&[9])?;
            /// sender.send(true)?;
            /// assert!(receiver.recv().unwrap_err().is_decode());
            /// assert_eq!(receiver.recv()?, true);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn is_decode(&self) -> bool {
                matches!(self, $name::Decode(_))
            }

            /// Returns true if what came is no message, or the shared memory was overwritten.
            ///
            /// ```
            /// use multiproc::Connection;
            /// use std::io::Write;
            /// use std::os::unix::net::UnixStream;
            ///
            /// let (mut near, far) = UnixStream::pair().unwrap();
            /// let mut far: Connection<u32> = far.try_into()?;
            /// near.write_all(&[0xff, 0xff, 0xff, 0xfe]).unwrap(); // a negative length
            /// assert!(far.recv().unwrap_err().is_corrupt());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn is_corrupt(&self) -> bool {
                matches!(self, $name::Corrupt(_))
            }

            /// Returns the operating system's error, if it refused.
            ///
            /// ```
            /// let queue = multiproc::Queue::<u8>::new()?;
            /// assert!(queue.try_get().unwrap_err().os_error().is_none());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn os_error(&self) -> Option<&io::Error> {
                match self {
                    $name::Os(error) => Some(error),
                    _ => None,
                }
            }

            fn view(&self) -> View<'_> {
                match self {
                    $( $name::$extra => View::$extra, )?
                    $name::Disconnected => View::Disconnected,
                    $name::Truncated => View::Truncated,
                    &$name::TooLong { length, limit } => View::TooLong { length, limit },
                    $name::Decode(reason) => View::Decode(reason),
                    $name::Corrupt(reason) => View::Corrupt(reason),
                    $name::Os(error) => View::Os(OsError(error)),
                }
            }

            $(
                /// Returns the error that a blocking call would have had; `None` if it would have
                /// gone on waiting.
                ///
                /// ```
                /// use multiproc::{RecvError, TryRecvError};
                ///
                /// assert_eq!(TryRecvError::Empty.into_recv_error(), None);
                /// let error = TryRecvError::Disconnected.into_recv_error();
                /// assert_eq!(error, Some(RecvError::Disconnected));
                /// ```
                #[must_use]
                pub fn into_recv_error(self) -> Option<RecvError> {
                    match self {
                        $name::$extra => None,
                        $name::Disconnected => Some(RecvError::Disconnected),
                        $name::Truncated => Some(RecvError::Truncated),
                        $name::TooLong { length, limit } => {
                            Some(RecvError::TooLong { length, limit })
                        }
                        $name::Decode(reason) => Some(RecvError::Decode(reason)),
                        $name::Corrupt(reason) => Some(RecvError::Corrupt(reason)),
                        $name::Os(error) => Some(RecvError::Os(error)),
                    }
                }
            )?
        }

        impl PartialEq for $name {
            /// Compares errors of the system by kind and number.
            fn eq(&self, other: &$name) -> bool {
                self.view() == other.view()
            }
        }

        impl_channel_error!([] $name, |error: $name| error);

        $(
            impl From<RecvError> for $name {
                fn from(error: RecvError) -> $name {
                    match error {
                        RecvError::Disconnected => $name::Disconnected,
                        RecvError::Truncated => $name::Truncated,
                        RecvError::TooLong { length, limit } => $name::TooLong { length, limit },
                        RecvError::Decode(reason) => $name::Decode(reason),
                        RecvError::Corrupt(reason) => $name::Corrupt(reason),
                        RecvError::Os(error) => $name::Os(error),
                    }
                }
            }

            impl From<RecvTransportError> for $name {
                fn from(error: RecvTransportError) -> $name {
                    match error {
                        RecvTransportError::Empty => $name::$extra,
                        error => RecvError::from(error).into(),
                    }
                }
            }
        )?
    };
}

#[cfg(feature = "async")]
impl TryRecvError {
    /// Returns the error as one of who waits; `None` if there is only nothing yet.
    pub(crate) fn other_than_empty(self) -> Option<RecvError> {
        match self {
            TryRecvError::Empty => None,
            TryRecvError::Disconnected => Some(RecvError::Disconnected),
            TryRecvError::Truncated => Some(RecvError::Truncated),
            TryRecvError::TooLong { length, limit } => Some(RecvError::TooLong { length, limit }),
            TryRecvError::Decode(reason) => Some(RecvError::Decode(reason)),
            TryRecvError::Corrupt(reason) => Some(RecvError::Corrupt(reason)),
            TryRecvError::Os(error) => Some(RecvError::Os(error)),
        }
    }
}

impl From<RecvTransportError> for RecvError {
    fn from(error: RecvTransportError) -> RecvError {
        match error {
            // No transport gives up before the deadline `Never`.
            RecvTransportError::Empty => RecvError::Os(ErrorKind::WouldBlock.into()),
            RecvTransportError::Disconnected => RecvError::Disconnected,
            RecvTransportError::Truncated => RecvError::Truncated,
            RecvTransportError::TooLong { length, limit } => RecvError::TooLong { length, limit },
            RecvTransportError::Corrupt(reason) => RecvError::Corrupt(reason.to_owned()),
            RecvTransportError::Os(error) => RecvError::Os(error),
        }
    }
}

recv_error! {
    /// Why a blocking call received no value.
    ///
    /// [`Receiver`](crate::Receiver), [`Connection`](crate::Connection) and
    /// [`Queue`](crate::Queue) have the same errors. It converts into [`TryRecvError`],
    /// [`RecvTimeoutError`], [`std::io::Error`] and [`Error`](crate::Error), so that `?` works in
    /// `main`.
    ///
    /// ```
    /// use multiproc::{Queue, RecvError};
    ///
    /// let (sender, mut receiver) = multiproc::pipe::<u8>()?;
    /// drop(sender);
    /// assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
    ///
    /// let queue = Queue::<u8>::new()?;
    /// queue.shutdown();
    /// assert_eq!(queue.get(), Err(RecvError::Disconnected));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    RecvError
}

recv_error! {
    /// Why a call that does not wait received no value: as [`RecvError`], or because none is there.
    ///
    /// ```
    /// use multiproc::TryRecvError;
    ///
    /// let (sender, mut receiver) = multiproc::pipe::<u8>()?;
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// drop(sender);
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    TryRecvError,
    /// No whole message is there now. What arrived in part is kept for the next call.
    Empty, is_empty
}

recv_error! {
    /// Why a call with a time-out received no value: as [`RecvError`], or for lack of time.
    ///
    /// ```
    /// use multiproc::{Queue, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::<u8>::new()?;
    /// let error = queue.get_timeout(Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error, RecvTimeoutError::Timeout);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    RecvTimeoutError,
    /// No whole message came before the time was over. What arrived in part is kept for the next
    /// call.
    Timeout, is_timeout
}

/// The items of an iterator that waits: it ends at the orderly end of the channel only.
pub(crate) fn item<T>(received: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
    match received {
        // The orderly end is the end of the iterator; a cut one is an item before it.
        Err(RecvError::Disconnected) => None,
        item => Some(item),
    }
}

/// An iterator over what is there now, given a call that does not wait.
pub(crate) fn try_iter<T>(
    mut try_recv: impl FnMut() -> Result<T, TryRecvError>,
) -> impl Iterator<Item = Result<T, RecvError>> {
    std::iter::from_fn(move || match try_recv() {
        Ok(value) => Some(Ok(value)),
        Err(error) => error.into_recv_error().and_then(|error| item(Err(error))),
    })
}
