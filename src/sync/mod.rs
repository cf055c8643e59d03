//! Locks and their like, between threads and processes, that survive the death of whoever uses
//! them.

mod barrier;
mod condition;
mod error;
mod event;
mod lock;
pub(crate) mod outstanding;
mod owner;
mod permit;
pub(crate) mod raw;
mod rlock;
mod rwlock;
pub(crate) mod segment;
mod semaphore;
mod table;
mod value;

pub use barrier::{Barrier, BarrierError};
pub use condition::Condition;
pub use error::{AcquireError, Poisoned};
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use permit::Permit;
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use semaphore::{BoundedSemaphore, Semaphore};
pub use value::{SharedValue, SharedValueGuard};
