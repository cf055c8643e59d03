//! Waiting in futures: for channels, listeners, processes and sets of them (feature `async`).
//!
//! No runtime is in here. What a future waits for is a descriptor, which the reactor of `async-io`
//! watches: under `smol` and `async_io::block_on` in the thread that polls, elsewhere in a thread
//! of that crate's.
//!
//! # How a future waits
//! 1. Try. If it is done, give the outcome. Who receives looks for a moment before (`brief`).
//! 2. Ask, as [`wait`](crate::wait) does, which makes sure that the descriptor tells of what comes.
//! 3. Have the reactor watch the descriptor, and return `Pending`.
//!
//! What comes between 2 and 3 makes the descriptor readable, of which the reactor tells then. A
//! future that is dropped leaves nothing but a wish that costs somebody one wake-up: what was not
//! taken in 1 is still in the channel.
//!
//! # Who may call
//! Users only. This room stands on all others, and nothing on it.

mod asynchronous;
mod brief;
mod bytes;
mod child;
mod listener;
mod queue;
mod readiness;
mod receive;
mod send;
mod source;
mod waiting;

pub use asynchronous::Async;
pub use bytes::ByteStream;
pub use child::{Exited, Joining};
