//! As whom this process acts.

use rustix::process as p;

/// The user and group that decide what a process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    user: u32,
    effective_user: u32,
    group: u32,
    effective_group: u32,
}

impl Credentials {
    /// Those of this process, now.
    pub(crate) fn now() -> Credentials {
        Credentials {
            user: p::getuid().as_raw(),
            effective_user: p::geteuid().as_raw(),
            group: p::getgid().as_raw(),
            effective_group: p::getegid().as_raw(),
        }
    }
}
