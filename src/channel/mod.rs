//! Messages between processes: what carries them, and its ends.
//!
//! The rooms, lowest first: what stands here, `pipe`, `queue`, `socket`, `connection`.

#[cfg(feature = "async")]
mod brief;
pub(crate) mod buffered;
mod byte_forms;
pub(crate) mod cells;
mod connection;
mod descriptor;
mod error;
mod forms;
pub(crate) mod pipe;
pub(crate) mod queue;
mod room;
pub(crate) mod socket;
pub(crate) mod spin;
pub(crate) mod transport;
#[cfg(feature = "async")]
mod unsent;
mod value_forms;
mod writable;

#[cfg(feature = "async")]
pub(crate) use brief::LooksBriefly;
pub use connection::{
    AcceptError, Client, ConnectError, Connection, ConnectionIntoIter, ConnectionIter, Listener,
    ListenerBuilder, connect, connection, connection_with_capacity,
};
pub use descriptor::Descriptor;
#[cfg(feature = "async")]
pub(crate) use error::SendFailure;
pub use error::{
    RecvError, RecvIntoError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError,
    TrySendError,
};
pub use pipe::{Receiver, ReceiverIntoIter, ReceiverIter, Sender, pipe, pipe_with_capacity};
pub use queue::{
    JoinableQueue, JoinableQueueIntoIter, JoinableQueueIter, Queue, QueueIntoIter, QueueIter,
    QueueReceiver, QueueReceiverIntoIter, QueueReceiverIter, QueueSender, SimpleQueue,
};
pub use room::Room;
#[cfg(feature = "async")]
pub(crate) use room::RoomGate;
pub use socket::address::Address;
pub use socket::auth::AuthenticationError;
#[cfg(feature = "async")]
pub(crate) use transport::SendTransportError;
#[cfg(feature = "async")]
pub(crate) use unsent::{PushesOut, Unsent};
#[cfg(feature = "async")]
pub(crate) use writable::HasRoom;
pub use writable::Writable;
