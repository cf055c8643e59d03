//! Memory that processes share: constant, writable by all, or a list of mixed values.

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
