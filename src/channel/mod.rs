//! Messages between processes: what carries them, and its ends.

mod address;
pub(crate) mod auth;
mod cells;
mod client;
mod connection;
mod descriptor;
mod error;
mod exchange;
pub(crate) mod fault;
pub(crate) mod gate;
mod joinable_queue;
pub(crate) mod ladder;
mod listener;
mod queue;
mod queue_error;
mod simple_queue;
mod store;
pub(crate) mod stream;

pub use address::Address;
pub use auth::AuthenticationError;
pub use client::{Client, ConnectError, connect};
pub use connection::{Connection, ConnectionIntoIter, ConnectionIter};
pub use descriptor::Descriptor;
pub use error::{RecvError, RecvIntoError, SendError};
pub use joinable_queue::JoinableQueue;
pub use listener::{AcceptError, Listener, ListenerBuilder};
pub use queue::{Queue, QueueIter};
pub use queue_error::{GetError, PutError};
pub use simple_queue::SimpleQueue;
