//! Numbers of processes.

/// That of its only thread.
pub(crate) fn pid() -> u32 {
    super::wait::robust::tid()
}

/// The copies of a process, of which models have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation;

impl Generation {
    pub(crate) fn current() -> Generation {
        Generation
    }
}
