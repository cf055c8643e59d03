//! A pool's settings on their way to other machines.

/// The settings of a pool as bytes, which a process of the same file understands: what its workers
/// are to be like, wherever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charter(Vec<u8>);

impl Charter {
    /// Takes bytes for a charter; whether they are one is found out when a pool is made of it.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Charter {
        Charter(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
