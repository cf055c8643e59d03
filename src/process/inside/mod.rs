//! A process as it sees itself: how it begins as a child, who it is, how it ends.

pub(crate) mod bootstrap;
pub(crate) mod current;
pub(crate) mod exit;
pub(crate) mod hook;
pub(crate) mod parentage;
