//! Locks, semaphores, conditions, events, barriers and shared values, between threads of any
//! processes.
//!
//! A program that shares memory must survive a process that is killed while it holds a lock. So
//! every object here has three properties:
//!
//! - The kernel finds the dead. What a thread holds or waits for is a *cell* (`RobustCell`) in the
//!   robust list that the thread registered with the kernel (`get_robust_list(2)`). When the thread
//!   ends, however that happens, the kernel marks its cells and wakes somebody for each.
//! - Nothing is counted. The number of permits, readers or waiters is the number of living cells,
//!   so a death cannot leave a count too high.
//! - Each change is one store, and whoever is to be woken is woken before it, or by the kernel from
//!   the robust list. Killed between two steps, a thread leaves a state that the next one can go on
//!   from.
//!
//! `raw` has the state machines; they speak with nothing but `raw::platform`, so that the models
//! (`tests/models`) run the same code with a death at each step. The files here give them memory
//! (`segment`, `table`) and types.
//!
//! All calls may sleep or take an internal lock: none may be made in a signal handler. All may be
//! made in a copy of the process that somebody forked: the copy holds none of what its original
//! holds, and dropping its copies of guards changes nothing.

#[cfg(feature = "async")]
mod awaited;
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
