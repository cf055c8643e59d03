//! The memory of a lock or the like: a memory file of its own, mapped here, that crosses by its descriptor.
//!
//! One file an object, not one for many: whoever has an object can write to all of its memory, so it must hold nothing else.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Carried;
use crate::error::{Result, os};
use crate::sys::robust;
use crate::sys::shared::{Shared, SharedFile};

/// What all handles of an object share in this process.
#[derive(Debug)]
pub(crate) struct Segment {
    file: SharedFile,
    memory: Shared,
}

impl Segment {
    /// New memory, all zero. `what` is what it is for.
    pub(crate) fn create(what: &str, length: usize) -> Result<Arc<Segment>> {
        let create = || {
            robust::check()?;
            let file = SharedFile::create(&format!("multiproc-{what}"), length)?;
            let memory = file.map_all()?;
            Ok(Arc::new(Segment { file, memory }))
        };
        create().map_err(os(format!("cannot make the shared memory of a {what}")))
    }

    /// Memory that came from somewhere.
    pub(crate) fn open(fd: Arc<OwnedFd>) -> io::Result<Arc<Segment>> {
        robust::check()?;
        let file = SharedFile::open(fd)?;
        let memory = file.map_all()?;
        Ok(Arc::new(Segment { file, memory }))
    }

    pub(crate) fn memory(&self) -> &Shared {
        &self.memory
    }

    /// Whether `other` is the same memory.
    pub(crate) fn is_same(&self, other: &Segment) -> bool {
        std::ptr::eq(self, other) || self.file.is_same(&other.file)
    }
}

thread_local! {
    /// The segment that this thread decoded last: of many objects in one file, all share it.
    static LAST: RefCell<Weak<Segment>> = const { RefCell::new(Weak::new()) };
}

/// A segment as a field of what crosses, `LENGTH` bytes long at the least.
#[derive(Clone, Debug)]
pub(crate) struct Crossing<const LENGTH: usize>(pub(crate) Arc<Segment>);

impl<const LENGTH: usize> Serialize for Crossing<LENGTH> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Carried(Arc::clone(self.0.file.fd())).serialize(serializer)
    }
}

impl<'de, const LENGTH: usize> Deserialize<'de> for Crossing<LENGTH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Crossing<LENGTH>, D::Error> {
        let Carried(fd) = Carried::deserialize(deserializer)?;
        let last = LAST.try_with(|last| last.borrow().upgrade()).ok().flatten();
        let segment = match last.filter(|last| Arc::ptr_eq(last.file.fd(), &fd)) {
            Some(last) => last,
            None => Segment::open(fd).map_err(D::Error::custom)?,
        };
        if segment.memory.length() < LENGTH {
            return Err(D::Error::custom("shared memory that is too small"));
        }
        let _ = LAST.try_with(|last| last.replace(Arc::downgrade(&segment)));
        Ok(Crossing(segment))
    }
}
