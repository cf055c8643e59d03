//! The files of `src/sync/raw`.

#[path = "../../../../../src/sync/raw/alarm.rs"]
pub(crate) mod alarm;
#[path = "../../../../../src/sync/raw/event.rs"]
pub(crate) mod event;
#[path = "../../../../../src/sync/raw/fair.rs"]
mod fair;
#[path = "../../../../../src/sync/raw/gate.rs"]
pub(crate) mod gate;
#[path = "../../../../../src/sync/raw/members.rs"]
pub(crate) mod members;
#[path = "../../../../../src/sync/raw/mutex.rs"]
pub(crate) mod mutex;
#[path = "../../../../../src/sync/raw/permits.rs"]
pub(crate) mod permits;
pub(crate) mod platform;
