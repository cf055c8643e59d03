//! Connections, over rings or sockets, and how programs come by one.

mod client;
mod duplex;
mod ends;
mod iter;
mod listener;
mod room;
mod sockets;

pub use client::{Client, ConnectError, connect};
pub use duplex::{connection, connection_with_capacity};
pub use ends::Connection;
pub use iter::{ConnectionIntoIter, ConnectionIter};
pub use listener::{AcceptError, Listener, ListenerBuilder};
