//! A set of things to wait for, which stays with the kernel between waits.

mod error;
mod rounds;
mod set;
mod watched;

pub use error::AddError;
pub use set::WaitSet;
