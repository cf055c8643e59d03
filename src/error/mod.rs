//! Errors: of the library as a whole, and how processes and tasks fail.

mod failure;
mod general;
mod join;
mod task;

pub use failure::Failure;
pub(crate) use general::{Cause, os};
pub use general::{Error, Result};
pub use join::JoinError;
pub use task::TaskError;
