//! The pool: its scheduler and its worker's loop, the very files, and the words that they share.

pub(crate) mod child;
pub(crate) mod protocol;
pub(crate) mod scheduler;
