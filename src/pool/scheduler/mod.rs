//! A pool's decisions, without the system: events go in, actions come out.
//!
//! Nothing here makes a system call, reads a clock, takes a lock of its own or waits. What happens
//! to the workers comes in as an [`Event`](event::Event) with the time at which it is handled; what
//! is to be done goes out as an [`Action`](event::Action). So each transition can be tested by
//! itself, the models run this very code, and workers need not be processes of this machine.
//!
//! The invariants, whatever order the events come in:
//!
//! - Every job is in exactly one place: the queue, or one worker's ledger.
//! - Every task of a call that somebody waits for gets exactly one outcome, delivered to its job's
//!   sink.
//! - A task is given out again only if the claim word says that it was not begun, or if a retry was
//!   asked for.
//! - A ready worker that has not begun its task, or whose task has a deadline, is looked at again
//!   within a bounded time, whatever it says or omits.
//!
//! `host` turns what the system reports into events and carries the actions out, with the driver's
//! lock held. The code of users that runs under it is the function of `Retry::only` alone.
#![deny(
    clippy::arithmetic_side_effects,
    reason = "what workers and iterators claim may be any number"
)]

mod assigning;
mod ending;
pub(crate) mod event;
mod expiry;
pub(crate) mod job;
pub(crate) mod ledger;
pub(crate) mod policy;
mod queue;
pub(crate) mod retry;
#[expect(clippy::module_inception, reason = "the room is called by what it is for")]
pub(crate) mod scheduler;
pub(crate) mod state;
mod time_limits;
pub(crate) mod worker;
pub(crate) mod worker_set;

#[cfg(test)]
mod tests;
