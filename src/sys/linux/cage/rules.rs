//! The rules of a cage, as the platform takes them.

use std::path::PathBuf;

/// Permissions; everything else is forbidden.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules<'a> {
    /// Files and folders that may be read, with all below them.
    pub(crate) read: &'a [PathBuf],
    /// Those that may be written to as well.
    pub(crate) write: &'a [PathBuf],
    /// It may open sockets.
    pub(crate) network: bool,
    /// It may execute programs, and make and signal processes inside.
    pub(crate) processes: bool,
    /// The least limit of the process's memory, which is not to be evaded by memory files.
    pub(crate) memory: Option<u64>,
    /// It has a limit of open descriptors of its own.
    pub(crate) limits_files: bool,
    /// No status flag of its standard streams is anybody else's.
    pub(crate) own_streams: bool,
    /// It may make memory files all the same.
    pub(crate) shared_memory: bool,
}

impl Rules<'_> {
    /// Returns `true` if it may have its descriptors not wait: sockets are made so, at times, and
    /// who has no network can do without.
    pub(super) fn sets_flags(&self) -> bool {
        self.network && self.own_streams
    }

    /// Returns `true` if it may make memory files, which no limit of its memory counts.
    pub(super) fn memory_files(&self) -> bool {
        self.shared_memory || self.memory.is_none()
    }
}
