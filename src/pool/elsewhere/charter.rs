//! A pool's settings on their way to other machines.

use super::memory::Memory;

/// The settings of a pool as bytes, which a process of the same file understands: what its workers
/// are to be like, wherever they are.
#[derive(Clone, Debug)]
pub struct Charter {
    bytes: Vec<u8>,
    memories: Vec<Memory>,
}

impl Charter {
    /// Takes bytes for a charter, with the memories that they refer to; whether they are one is
    /// found out when a pool is made of it.
    #[must_use]
    pub fn new(bytes: Vec<u8>, memories: Vec<Memory>) -> Charter {
        Charter { bytes, memories }
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the memories that its bytes refer to, by their order.
    #[must_use]
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }
}
