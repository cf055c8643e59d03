//! The seam for workers that are elsewhere: what a pool asks of them, and what it is told.
//!
//! The scheduler knows places, not processes. What it wants done goes either to processes of this
//! machine (`host::driver`) or through here to another crate, which needs a runtime and a network
//! that this one has not. `host::remote` is the pool's side of it, `api::station` that of a process
//! which runs tasks for a pool of another machine.

pub(crate) mod bell;
pub(crate) mod charter;
pub(crate) mod hands;
pub(crate) mod memory;
pub(crate) mod report;

pub use bell::Bell;
pub use charter::Charter;
pub use hands::{Hands, Workplace};
pub use memory::Memory;
pub use report::Report;
