//! A process as it sees itself: how it begins as a child, who it is, how it ends.
//!
//! In the order of a life: `hook` (before `main`, in a process that we executed), `bootstrap` (from
//! there to the function and back), `parentage` (what ties a child to its parent), `current` (what
//! the function may ask), `exit` (the way out, which the main process takes, too).

pub(crate) mod bootstrap;
pub(crate) mod current;
pub(crate) mod exit;
pub(crate) mod hook;
pub(crate) mod parentage;
