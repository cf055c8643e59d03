//! Messages between processes: what carries them, and its two ends.

mod connection;
mod error;
pub(crate) mod fault;
mod stream;

pub use connection::{Connection, ConnectionIntoIter, ConnectionIter};
pub use error::{RecvError, RecvIntoError, SendError};
