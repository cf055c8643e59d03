//! Making processes, signalling them and waiting for their ends.
//!
//! Three ways to make one: `exec` (vfork and execute our file), `clone` (a fork, or a sibling in
//! the fork server). All give a pidfd before anybody else can take the status, so that no number is
//! used that may be a stranger's. `tree` and `pidfd::reap_number` are the exceptions, and say why.

pub(crate) mod clone;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod leftovers;
pub(crate) mod namespaces;
pub(crate) mod pidfd;
pub(crate) mod reserve;
pub(crate) mod signals;
pub(crate) mod threads;
pub(crate) mod tree;
