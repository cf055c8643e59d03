//! Messages between processes: what carries them, and its ends.

mod address;
pub(crate) mod auth;
mod bell;
mod cells;
mod client;
mod connection;
mod descriptor;
mod duplex;
mod error;
mod exchange;
#[cfg(test)]
mod exchange_tests;
pub(crate) mod fault;
pub(crate) mod gate;
mod inbound;
mod joinable_queue;
pub(crate) mod ladder;
mod link;
mod listener;
mod outbound;
mod pipe;
mod queue;
mod queue_error;
mod receiver;
pub(crate) mod ring;
mod segment;
mod sender;
mod simple_queue;
mod spin;
mod store;
pub(crate) mod stream;

pub use address::Address;
pub use auth::AuthenticationError;
pub use client::{Client, ConnectError, connect};
pub use connection::{Connection, ConnectionIntoIter, ConnectionIter};
pub use descriptor::Descriptor;
pub use duplex::{connection, connection_with_capacity};
pub use error::{RecvError, RecvIntoError, SendError};
pub use joinable_queue::JoinableQueue;
pub use listener::{AcceptError, Listener, ListenerBuilder};
pub use pipe::{pipe, pipe_with_capacity};
pub use queue::{Queue, QueueIter};
pub use queue_error::{GetError, PutError};
pub use receiver::{Receiver, ReceiverIntoIter, ReceiverIter};
pub use sender::Sender;
pub use simple_queue::SimpleQueue;
