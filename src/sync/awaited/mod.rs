//! Waiting for what only a thread can wait for, without blocking the thread that polls: what the
//! futures of this floor do. It knows none of the objects; they say what a thread is to do in a
//! task's place.

pub(super) mod deputy;
mod rounds;
pub(super) mod turnstile;
pub(super) mod watch;
