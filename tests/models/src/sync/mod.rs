//! The files of `src/sync`; the shared memory under them is ours.

#[path = "../../../../src/sync/barrier.rs"]
pub(crate) mod barrier;
#[path = "../../../../src/sync/condition.rs"]
pub(crate) mod condition;
#[path = "../../../../src/sync/error.rs"]
pub(crate) mod error;
#[path = "../../../../src/sync/lock.rs"]
pub(crate) mod lock;
#[path = "../../../../src/sync/owner.rs"]
pub(crate) mod owner;
#[path = "../../../../src/sync/permit.rs"]
pub(crate) mod permit;
pub(crate) mod raw;
#[path = "../../../../src/sync/rlock.rs"]
pub(crate) mod rlock;
#[path = "../../../../src/sync/rwlock.rs"]
pub(crate) mod rwlock;
pub(crate) mod segment;
#[path = "../../../../src/sync/semaphore.rs"]
pub(crate) mod semaphore;
pub(crate) mod table;
