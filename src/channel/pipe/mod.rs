//! Pipes: rings of bytes in shared memory, with a socket to sleep at and to carry descriptors.

mod doorbell;
pub(crate) mod glance;
pub(crate) mod inbound;
pub(crate) mod link;
mod outbound;
pub(crate) mod pair;
mod parts;
mod reader;
mod receiver;
pub(crate) mod ring;
mod segment;
mod sender;

pub use pair::{pipe, pipe_with_capacity};
pub use receiver::{Receiver, ReceiverIntoIter, ReceiverIter};
pub use sender::Sender;
