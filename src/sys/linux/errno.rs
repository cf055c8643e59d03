//! Errors of the kernel that are told apart above this floor, by names that say what they mean
//! there.

/// No process could be made now; it may be tried again.
pub(crate) const AGAIN: i32 = libc::EAGAIN;
/// The processes that were made have ended.
pub(crate) const CHILD: i32 = libc::ECHILD;
/// A message is longer than the socket takes.
pub(crate) const MESSAGE_SIZE: i32 = libc::EMSGSIZE;
/// This process may open no more.
pub(crate) const NO_DESCRIPTORS: i32 = libc::EMFILE;
/// The kernel does not know the option of a socket.
pub(crate) const NO_OPTION: i32 = libc::ENOPROTOOPT;
/// The user has too many descriptors in flight.
pub(crate) const TOO_MANY_REFERENCES: i32 = libc::ETOOMANYREFS;
