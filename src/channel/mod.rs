//! Messages between processes: what carries them, and its two ends.

mod bell;
mod cells;
mod connection;
mod duplex;
mod error;
pub(crate) mod fault;
mod inbound;
mod link;
mod outbound;
mod pipe;
mod receiver;
mod ring;
mod segment;
mod sender;
mod spin;
mod stream;

pub use connection::{Connection, ConnectionIntoIter, ConnectionIter};
pub use duplex::{connection, connection_with_capacity};
pub use error::{RecvError, RecvIntoError, SendError};
pub use pipe::{pipe, pipe_with_capacity};
pub use receiver::{Receiver, ReceiverIntoIter, ReceiverIter};
pub use sender::Sender;
