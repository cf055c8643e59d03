//! Sleeping and waking.

pub(crate) mod futex;
pub(crate) mod poll;
pub(crate) mod robust;
