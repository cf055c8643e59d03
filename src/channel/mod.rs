//! Messages between processes: what carries them, and its ends.

mod address;
mod auth;
mod cells;
mod client;
mod connection;
mod descriptor;
mod error;
mod exchange;
pub(crate) mod fault;
mod gate;
mod joinable_queue;
mod ladder;
mod listener;
mod queue;
mod queue_error;
mod simple_queue;
mod store;
mod stream;

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
