//! Messages between processes: what carries them, and its two ends.

mod address;
mod auth;
mod client;
mod connection;
mod descriptor;
mod error;
pub(crate) mod fault;
mod gate;
mod listener;
mod stream;

pub use address::Address;
pub use auth::AuthenticationError;
pub use client::{Client, ConnectError, connect};
pub use connection::{Connection, ConnectionIntoIter, ConnectionIter};
pub use descriptor::Descriptor;
pub use error::{RecvError, RecvIntoError, SendError};
pub use listener::{AcceptError, Listener, ListenerBuilder};
