//! Memory that processes share: constant, writable by all, or a list of mixed values.
//!
//! | type | who writes | how it is read |
//! |---|---|---|
//! | `SharedSlice` | nobody any more (the kernel's seals) | as `&[T]`, without copies |
//! | `SharedBuffer` | one process, until it is frozen into a slice | as `&mut [T]` |
//! | `SharedMemory`, `SharedArray` | anybody who has it | by copies, or as atomics |
//! | `ShareableList` | anybody who has it | by checked copies of whole values |
//!
//! All of them cross by a descriptor, and go when the last process lets them go. What comes in a
//! message is checked before it is used: size, seals, alignment. What others wrote is copied first
//! and checked then; no reference leads to memory that they may write to.

mod access;
mod array;
mod buffer;
mod collect;
mod item;
mod list;
mod memory;
mod name;
mod pool;
mod record;
mod size;
mod slice;
mod unchecked;

pub use access::{Access, Atomic, OutOfBounds, ReadOnly, ReadWrite};
pub use array::SharedArray;
pub use buffer::SharedBuffer;
pub use item::Item;
pub use list::{ListError, SetError, ShareableList};
pub use memory::SharedMemory;
pub use slice::SharedSlice;
