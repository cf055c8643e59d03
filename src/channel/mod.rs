//! Messages between processes: what carries them, and its two ends.

mod error;
pub(crate) mod fault;

pub use error::{RecvError, RecvIntoError, SendError};
