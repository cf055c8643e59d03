//! The parts that all errors of channels share.

use std::io;

/// An error of the operating system, compared by what a program can tell apart: kind and number.
#[derive(Clone, Copy)]
pub(super) struct OsError<'a>(pub(super) &'a io::Error);

impl PartialEq for OsError<'_> {
    fn eq(&self, other: &OsError<'_>) -> bool {
        self.0.kind() == other.0.kind() && self.0.raw_os_error() == other.0.raw_os_error()
    }
}

/// Implements for an error with a `view` what does not depend on its variants.
macro_rules! impl_channel_error {
    ([$($generics:tt)*] $error:ty, $without_value:expr) => {
        impl<$($generics)*> std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.view(), f)
            }
        }

        impl<$($generics)*> std::fmt::Debug for $error {
            /// Prints the same as `Display`: values need no printed form, and an error that `main`
            /// returns reads well.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.view(), f)
            }
        }

        impl<$($generics)*> std::error::Error for $error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.os_error().map(|error| error as _)
            }
        }

        impl<$($generics)*> From<$error> for std::io::Error {
            /// Converts into an error of the kind `WouldBlock` (full or empty), `TimedOut`,
            /// `BrokenPipe` (disconnected, where one sends), `UnexpectedEof` (disconnected or
            /// truncated, where one receives), `InvalidData` (encode, decode, corrupt, too long),
            /// or of the kind that the system gave. A value is dropped.
            fn from(error: $error) -> std::io::Error {
                std::io::Error::new(error.view().kind(), $without_value(error))
            }
        }

        impl<$($generics)*> From<$error> for crate::error::Error {
            /// Lets `?` work in `main`. A value is dropped.
            fn from(error: $error) -> crate::error::Error {
                crate::error::Cause::Channel(error.into()).into()
            }
        }
    };
}
pub(super) use impl_channel_error;
