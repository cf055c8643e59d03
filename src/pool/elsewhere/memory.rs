//! Constant memory that goes along with a task, by its content.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys::memory::frozen;

/// A memory file that nobody can change any more: what a [`SharedSlice`](crate::SharedSlice) among
/// the arguments of a task is in. Of all that has a descriptor, this alone can be had on another
/// machine, as a copy is as good.
#[derive(Clone, Debug)]
pub struct Memory(Arc<OwnedFd>);

impl Memory {
    /// Takes a descriptor for constant memory.
    ///
    /// # Errors
    /// It is something else; the text names it.
    pub fn new(fd: Arc<OwnedFd>) -> Result<Memory, String> {
        match frozen::is_constant(&fd) {
            Ok(()) => Ok(Memory(fd)),
            Err(what) => Err(what),
        }
    }

    /// Takes all of them, or none.
    ///
    /// # Errors
    /// One or more are something else; the text names them.
    pub(crate) fn all<'a>(
        fds: impl IntoIterator<Item = &'a Arc<OwnedFd>>,
    ) -> Result<Vec<Memory>, String> {
        let (mut memories, mut others) = (Vec::new(), Vec::new());
        for fd in fds {
            match Memory::new(Arc::clone(fd)) {
                Ok(memory) => memories.push(memory),
                Err(other) => others.push(other),
            }
        }
        if others.is_empty() { Ok(memories) } else { Err(others.join(", ")) }
    }

    /// Returns its descriptor.
    #[must_use]
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.0
    }
}
