//! Making processes, signalling them and waiting for their ends.

pub(crate) mod clone;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod namespaces;
pub(crate) mod pidfd;
pub(crate) mod reserve;
pub(crate) mod signals;
pub(crate) mod threads;
pub(crate) mod tree;
