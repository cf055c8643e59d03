//! Numbers of processes.

/// That of its only thread.
pub(crate) fn pid() -> u32 {
    super::wait::robust::tid()
}
