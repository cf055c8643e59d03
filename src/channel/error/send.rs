//! The errors of sending.

use std::fmt;
use std::io::{self, ErrorKind};

use super::common::{OsError, impl_channel_error};
use crate::channel::transport::SendTransportError;

/// An error of sending, made of what a transport said and the value that was not sent.
pub(crate) trait SendFailure<T>: Sized {
    fn new(error: SendTransportError, value: T) -> Self;
}

/// The error without its value: what all three have in common is implemented for this.
#[derive(Clone, Copy, PartialEq)]
enum View<'a> {
    Full,
    Timeout,
    Disconnected,
    Encode(&'a str),
    Corrupt,
    Os(OsError<'a>),
}

impl View<'_> {
    fn kind(self) -> ErrorKind {
        match self {
            View::Full => ErrorKind::WouldBlock,
            View::Timeout => ErrorKind::TimedOut,
            View::Disconnected => ErrorKind::BrokenPipe,
            View::Encode(_) | View::Corrupt => ErrorKind::InvalidData,
            View::Os(OsError(error)) => error.kind(),
        }
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::Full => f.write_str("the channel is full"),
            View::Timeout => f.write_str("timed out waiting for room in the channel"),
            View::Disconnected => f.write_str("the receiving side of the channel is disconnected"),
            View::Encode(reason) => write!(f, "the value cannot be encoded: {reason}"),
            View::Corrupt => f.write_str("the shared memory of the channel is corrupt"),
            View::Os(OsError(error)) => write!(f, "cannot send: {error}"),
        }
    }
}

/// Declares an error of sending; the blocking call's has no variant for a lack of room.
macro_rules! send_error {
    (
        $(#[$about:meta])* $name:ident, no_room: $no_room:expr
        $(, $(#[$extra_about:meta])* $extra:ident, $is_extra:ident)?
    ) => {
        $(#[$about])*
        #[non_exhaustive]
        pub enum $name<T> {
            $( $(#[$extra_about])* $extra(T), )?
            /// Nobody will receive the value: the other end is gone, or the queue was
            /// [shut down](crate::Queue::shutdown).
            Disconnected(T),
            /// The value cannot be encoded, or this channel cannot carry it: it is too long or
            /// has descriptors (more than 240, or any over TCP). Other values can be sent.
            #[non_exhaustive]
            Encode {
                /// The value.
                value: T,
                /// The encoder's reason.
                reason: String,
            },
            /// Somebody has overwritten the shared memory of the channel: it cannot be used
            /// any more.
            Corrupt(T),
            /// The operating system refused. A later call may succeed.
            #[non_exhaustive]
            Os {
                /// The value.
                value: T,
                /// The system's error.
                error: io::Error,
            },
        }

        impl<T> $name<T> {
            /// Returns the value that was not sent.
            ///
            /// ```
            /// let (mut sender, receiver) = multiproc::pipe()?;
            /// drop(receiver);
            /// assert_eq!(sender.send("hello".to_owned()).unwrap_err().into_value(), "hello");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn into_value(self) -> T {
                self.into_parts().0
            }

            $(
                /// Returns true if there was no room for the value in the time given.
                #[must_use]
                pub fn $is_extra(&self) -> bool {
                    matches!(self, $name::$extra(_))
                }
            )?

            /// Returns true if nobody will receive the value.
            ///
            /// ```
            /// let (sender, receiver) = multiproc::Queue::new()?.split()?;
            /// drop(receiver);
            /// assert!(sender.put(1).unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn is_disconnected(&self) -> bool {
                matches!(self, $name::Disconnected(_))
            }

            /// Returns true if the value cannot be sent over this channel, now or later.
            ///
            /// ```
            /// use multiproc::{Connection, Descriptor};
            /// use std::net::{TcpListener, TcpStream};
            ///
            /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            /// let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            /// let mut near: Connection<Descriptor<TcpListener>> = near.try_into()?;
            /// let error = near.send(Descriptor(listener)).unwrap_err(); // TCP carries none
            /// assert!(error.is_encode());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn is_encode(&self) -> bool {
                matches!(self, $name::Encode { .. })
            }

            /// Returns true if the shared memory of the channel is corrupt.
            #[must_use]
            pub fn is_corrupt(&self) -> bool {
                matches!(self, $name::Corrupt(_))
            }

            /// Returns the operating system's error, if it refused.
            ///
            /// ```
            /// let queue = multiproc::Queue::bounded(0)?;
            /// assert!(queue.try_put(1).unwrap_err().os_error().is_none());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn os_error(&self) -> Option<&io::Error> {
                match self {
                    $name::Os { error, .. } => Some(error),
                    _ => None,
                }
            }

            pub(crate) fn into_parts(self) -> (T, SendTransportError) {
                match self {
                    $( $name::$extra(value) => (value, SendTransportError::Full), )?
                    $name::Disconnected(value) => (value, SendTransportError::Disconnected),
                    $name::Encode { value, reason } => (value, SendTransportError::Encode(reason)),
                    $name::Corrupt(value) => (value, SendTransportError::Corrupt),
                    $name::Os { value, error } => (value, SendTransportError::Os(error)),
                }
            }

            fn view(&self) -> View<'_> {
                match self {
                    $( $name::$extra(_) => View::$extra, )?
                    $name::Disconnected(_) => View::Disconnected,
                    $name::Encode { reason, .. } => View::Encode(reason),
                    $name::Corrupt(_) => View::Corrupt,
                    $name::Os { error, .. } => View::Os(OsError(error)),
                }
            }

            fn value(&self) -> &T {
                match self {
                    $( $name::$extra(value) => value, )?
                    $name::Disconnected(value)
                    | $name::Encode { value, .. }
                    | $name::Corrupt(value)
                    | $name::Os { value, .. } => value,
                }
            }
        }

        impl<T> SendFailure<T> for $name<T> {
            // Every refusal of a transport has its value beside it, so none is ever lost with an
            // error.
            fn new(error: SendTransportError, value: T) -> $name<T> {
                match error {
                    SendTransportError::Full => $no_room(value),
                    SendTransportError::Disconnected => $name::Disconnected(value),
                    SendTransportError::NoDescriptors => {
                        let reason = "descriptors cannot leave this machine: only a Unix socket \
                                      carries them";
                        let reason = reason.to_owned();
                        $name::Encode { value, reason }
                    }
                    SendTransportError::TooManyDescriptors => {
                        let reason = "a message carries at most 240 descriptors".to_owned();
                        $name::Encode { value, reason }
                    }
                    SendTransportError::TooLong => {
                        $name::Encode { value, reason: "it is longer than 1 GiB".to_owned() }
                    }
                    SendTransportError::Encode(reason) => $name::Encode { value, reason },
                    SendTransportError::Corrupt => $name::Corrupt(value),
                    SendTransportError::Os(error) => $name::Os { value, error },
                }
            }
        }

        impl<T: PartialEq> PartialEq for $name<T> {
            /// Compares errors of the system by kind and number.
            fn eq(&self, other: &$name<T>) -> bool {
                self.view() == other.view() && self.value() == other.value()
            }
        }

        impl_channel_error!([T] $name<T>, |error: $name<T>| {
            <$name<()> as SendFailure<()>>::new(error.into_parts().1, ())
        });

        $(
            impl<T> From<SendError<T>> for $name<T> {
                #[doc = concat!("Converts; `", stringify!($extra), "` cannot come of it.")]
                fn from(error: SendError<T>) -> $name<T> {
                    let (value, error) = error.into_parts();
                    SendFailure::new(error, value)
                }
            }
        )?
    };
}

send_error! {
    /// Why a blocking call did not send a value. The value comes back, and nothing of it has
    /// reached the other side.
    ///
    /// [`Sender`](crate::Sender), [`Connection`](crate::Connection) and [`Queue`](crate::Queue)
    /// have the same errors. It converts into [`TrySendError`], [`SendTimeoutError`],
    /// [`std::io::Error`] and [`Error`](crate::Error), so that `?` works in `main`; for the last
    /// two, the value is dropped.
    ///
    /// ```
    /// use multiproc::SendError;
    ///
    /// let (mut sender, receiver) = multiproc::pipe()?;
    /// drop(receiver);
    /// let error = sender.send("hello".to_owned()).unwrap_err();
    /// assert_eq!(error, SendError::Disconnected("hello".to_owned()));
    /// assert_eq!(error.to_string(), "the receiving side of the channel is disconnected");
    /// assert_eq!(error.into_value(), "hello");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    SendError,
    // No transport gives up before the deadline `Never`.
    no_room: |value| SendError::Os { value, error: ErrorKind::WouldBlock.into() }
}

send_error! {
    /// Why a call that does not wait did not send a value: as [`SendError`], or for lack of room.
    ///
    /// ```
    /// use multiproc::{Queue, TrySendError};
    ///
    /// let queue = Queue::bounded(1)?;
    /// queue.put("one".to_owned())?;
    /// assert_eq!(queue.try_put("two".to_owned()), Err(TrySendError::Full("two".to_owned())));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    TrySendError,
    no_room: TrySendError::Full,
    /// There is no room for the value now.
    Full, is_full
}

send_error! {
    /// Why a call with a time-out did not send a value: as [`SendError`], or for lack of time.
    ///
    /// ```
    /// use multiproc::{Queue, SendTimeoutError};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::bounded(1)?;
    /// queue.put(1)?;
    /// let error = queue.put_timeout(2, Duration::from_millis(10)).unwrap_err();
    /// assert_eq!(error, SendTimeoutError::Timeout(2));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    SendTimeoutError,
    no_room: SendTimeoutError::Timeout,
    /// There was no room for the value before the time was over.
    Timeout, is_timeout
}
