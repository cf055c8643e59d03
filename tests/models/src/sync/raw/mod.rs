//! The files of `src/sync/raw`.

#[path = "../../../../../src/sync/raw/alarm.rs"]
pub(crate) mod alarm;
#[path = "../../../../../src/sync/raw/event.rs"]
pub(crate) mod event;
#[path = "../../../../../src/sync/raw/members.rs"]
pub(crate) mod members;
#[path = "../../../../../src/sync/raw/mutex.rs"]
pub(crate) mod mutex;
pub(crate) mod platform;
