//! Describes how a child comes to be: one file for each start method, and what they have in common.

pub(crate) mod boot;
mod execute;
pub(crate) mod fork;
pub(crate) mod forkserver;
pub(crate) mod launch;
mod lifeline;
pub(crate) mod method;
pub(crate) mod order;
pub(crate) mod preload;
mod spawn;
pub(crate) mod spec;
pub(crate) mod stdio;
pub(crate) mod wire;
pub(crate) mod zygote;

pub(crate) use launch::launch;
pub(crate) use order::{Launched, Order};
pub(crate) use spec::ProcessSpec;
