//! The errors of channels: one family for pipes, connections and queues.
//!
//! The names and their meanings are those of `std::sync::mpsc` and `crossbeam-channel`: a blocking
//! call has an error without `Full` and `Empty`, `try_x` adds these, and `x_timeout` adds
//! `Timeout`. The public enums are flat, so that one `match` serves all channels; as most of the
//! three of each side is the same, a macro in `send` and one in `recv` declare them.

mod common;
mod recv;
mod recv_into;
mod send;
#[cfg(test)]
mod tests;

pub use recv::{RecvError, RecvTimeoutError, TryRecvError};
pub use recv_into::RecvIntoError;
pub use send::{SendError, SendTimeoutError, TrySendError};

pub(crate) use recv::{RecvFailure, item, try_iter};
pub(crate) use send::SendFailure;
