//! Rights of a handle to shared memory, and types that may lie in it.

use std::fmt;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use crate::sys::memory::shared::Layout;

mod sealed {
    pub trait Sealed {}
}

/// Rights of a handle to shared memory: [`ReadWrite`] or [`ReadOnly`]. Sealed.
///
/// ```
/// use multiproc::{Access, SharedArray};
///
/// fn sum<A: Access>(numbers: &SharedArray<u32, A>) -> u32 {
///     numbers.iter().sum()
/// }
///
/// let numbers = SharedArray::from_slice(&[1, 2])?;
/// assert_eq!(sum(&numbers), sum(&numbers.read_only()?));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub trait Access: sealed::Sealed + Send + Sync + 'static {
    #[doc(hidden)]
    const WRITES: bool;
}

/// Reading and writing: what a handle may do unless it says otherwise.
///
/// ```
/// use multiproc::{ReadWrite, SharedMemory};
///
/// let memory: SharedMemory<ReadWrite> = SharedMemory::new(1)?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum ReadWrite {}

/// Reading. The descriptor behind such a handle is one that the kernel does not map writable, and
/// so is what another process gets when it is sent there.
///
/// That is a guard against mistakes, and against other users. A process of the same user that means
/// harm can open the same memory anew, as it could the memory of the whole program; not so a
/// process in a cage (feature `cage`), unless the memory has a name, or the cage lets it write some
/// file.
///
/// ```
/// use multiproc::{ReadOnly, SharedMemory};
///
/// let memory: SharedMemory<ReadOnly> = SharedMemory::new(1)?.read_only()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Such a handle has no way to write:
///
/// ```compile_fail
/// let memory = multiproc::SharedMemory::new(1)?.read_only()?;
/// memory.write_at(0, b"x");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum ReadOnly {}

impl sealed::Sealed for ReadWrite {}
impl sealed::Sealed for ReadOnly {}

impl Access for ReadWrite {
    const WRITES: bool = true;
}

impl Access for ReadOnly {
    const WRITES: bool = false;
}

/// The atomics of the standard library that shared memory can be seen as: those of which any bytes
/// are a value.
///
/// ```
/// use multiproc::{Atomic, SharedMemory};
///
/// fn how_many<T: Atomic>(memory: &SharedMemory) -> usize {
///     memory.atomics::<T>().len()
/// }
///
/// assert_eq!(how_many::<std::sync::atomic::AtomicU16>(&SharedMemory::new(8)?), 4);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub trait Atomic: Layout + sealed::Sealed + Sync + 'static {}

/// Makes types `Atomic`.
macro_rules! atomic {
    ($($name:ty),*) => {
        $(impl sealed::Sealed for $name {}
        impl Atomic for $name {})*
    };
}

atomic!(
    AtomicU8,
    AtomicU16,
    AtomicU32,
    AtomicU64,
    AtomicUsize,
    AtomicI8,
    AtomicI16,
    AtomicI32,
    AtomicI64,
    AtomicIsize
);

/// A place beyond the end of shared memory.
///
/// ```
/// let error = multiproc::SharedMemory::new(10)?.write_at(8, b"abc").unwrap_err();
/// assert_eq!(error.to_string(), "3 bytes at 8 are beyond the end of 10 bytes of shared memory");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    pub(super) offset: usize,
    pub(super) count: usize,
    pub(super) length: usize,
}

impl OutOfBounds {
    /// Checks that `count` bytes fit at `offset` of `length`.
    pub(super) fn check(offset: usize, count: usize, length: usize) -> Result<(), OutOfBounds> {
        match offset.checked_add(count) {
            Some(end) if end <= length => Ok(()),
            _ => Err(OutOfBounds { offset, count, length }),
        }
    }
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfBounds { offset, count, length } = self;
        write!(f, "{count} bytes at {offset} are beyond the end of {length} bytes of shared memory")
    }
}

impl std::error::Error for OutOfBounds {}
