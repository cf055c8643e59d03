//! Errors: of the library as a whole, and how processes and tasks fail.
//!
//! `Error` is what prepares, starts or asks processes answers with; it is opaque. `JoinError` and
//! `TaskError` say which process or task failed, and answer through one `Failure`. Channels and
//! locks have errors of their own, which convert into `Error`, so that one `?` serves in `main`.
//!
//! `PortableError` is what functions of users carry errors of any type to this process with, as a
//! `RemoteError`.
//!
//! Texts are lower case, name the process with its number and function, and say what to do where
//! there is something. Where CPython has a text for the same fault, it is CPython's.

mod failure;
mod general;
mod io_facts;
mod join;
mod portable;
mod remote;
mod task;

pub use failure::Failure;
pub(crate) use general::{Cause, os};
pub use general::{Error, Result};
pub use join::JoinError;
pub use portable::PortableError;
pub use remote::RemoteError;
pub use task::TaskError;
