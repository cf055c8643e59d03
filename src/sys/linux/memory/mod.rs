//! Memory that processes share, and memory files (`memfd_create(2)`).
//!
//! | file | memory | who may write |
//! |---|---|---|
//! | `shared` | mapped shared, of fixed length | anybody who has it: through atomics only |
//! | `exclusive` | mapped shared, not in copies of the process | its one owner |
//! | `frozen`, `sealed` | sealed (`F_SEAL_WRITE`), mapped for reading | nobody |
//!
//! What came from another process is checked before it is mapped: it must be a memory file (or an
//! access could block or run a driver), of ordinary pages, and sealed against changes of its length
//! (or an access could be a SIGBUS). `bytes`, `copy` and `blocks` copy into and out of memory that
//! others write to.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod blocks;
pub(crate) mod bytes;
pub(crate) mod copy;
pub(crate) mod exclusive;
pub(crate) mod frozen;
pub(crate) mod huge;
pub(crate) mod memfd;
pub(crate) mod read_map;
pub(crate) mod sealed;
pub(crate) mod shared;
