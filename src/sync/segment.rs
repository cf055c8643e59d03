//! The memory of a lock or the like: a memory file of its own, mapped here, that crosses by its
//! descriptor.
//!
//! One file an object, not one for many: whoever has an object can write to all of its memory, so
//! it must hold nothing else.
//!
//! A file that comes from elsewhere is checked before it is mapped (`SharedFile::open`): it must be
//! a memory file, sealed against changes of its length, as an access behind its end would be a
//! SIGBUS; and as long as the object needs. All that is in it may be nonsense: the state machines
//! in `raw` look at it through atomics, and check what they read.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Carried;
use crate::error::{Result, os};
use crate::sys::memory::shared::{Shared, SharedFile};
use crate::sys::wait::robust;

/// The memory of an object and its file: what all handles of the object share in this process.
#[derive(Debug)]
pub(crate) struct Segment {
    file: SharedFile,
    memory: Shared,
}

impl Segment {
    /// Makes new memory of `length` bytes, all zero. `what` is the kind of object, for errors and
    /// for the file's name in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// The system lacks descriptors or memory; the C library has no robust lists that we know how
    /// to share.
    pub(crate) fn create(what: &str, length: usize) -> Result<Arc<Segment>> {
        let file = SharedFile::create(&format!("multiproc-{what}"), length);
        file.and_then(Segment::over)
            .map_err(os(format!("cannot make the shared memory of a {what}")))
    }

    /// Maps memory that came in a message.
    ///
    /// # Errors
    /// The descriptor is not of a memory file, or of one whose length may change; it cannot be
    /// mapped.
    pub(crate) fn open(fd: Arc<OwnedFd>) -> io::Result<Arc<Segment>> {
        Segment::over(SharedFile::open(fd)?)
    }

    /// Checks first that this thread has a robust list: an object that cannot hear of deaths is not
    /// made.
    fn over(file: SharedFile) -> io::Result<Arc<Segment>> {
        robust::check()?;
        let memory = file.map_all()?;
        Ok(Arc::new(Segment { file, memory }))
    }

    /// Returns the mapping.
    pub(crate) fn memory(&self) -> &Shared {
        &self.memory
    }

    /// Returns `true` if `other` is the same memory, by device and inode: one file can be mapped
    /// twice here, if it came in two messages.
    pub(crate) fn is_same(&self, other: &Segment) -> bool {
        std::ptr::eq(self, other) || self.file.is_same(&other.file)
    }
}

impl Drop for Segment {
    /// A guard may have been forgotten: then the kernel's list leads into the memory for as long as
    /// its thread lives.
    fn drop(&mut self) {
        if robust::leads_into(self.memory.range()) {
            self.memory.keep();
        }
    }
}

thread_local! {
    /// The segment that this thread decoded last: of many objects in one file, all share it.
    static LAST: RefCell<Weak<Segment>> = const { RefCell::new(Weak::new()) };
}

/// Makes the place for it in this thread, so that a copy of this process need not.
pub(crate) fn prepare() {
    let _ = LAST.try_with(|_| {});
}

/// A segment as a field of what crosses: its descriptor. Decoding refuses memory that is shorter
/// than `LENGTH` bytes, so the object may use these without further checks.
#[derive(Clone, Debug)]
pub(crate) struct Crossing<const LENGTH: usize>(pub(crate) Arc<Segment>);

impl<const LENGTH: usize> Serialize for Crossing<LENGTH> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Carried(Arc::clone(self.0.file.fd())).serialize(serializer)
    }
}

impl<'de, const LENGTH: usize> Deserialize<'de> for Crossing<LENGTH> {
    fn deserialize<D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Crossing<LENGTH>, D::Error> {
        let Carried(fd) = Carried::deserialize(deserializer)?;
        // Ten thousand locks of one file come as as many fields with one descriptor: map it once. A
        // thread that is ending has no `LAST` any more, and maps it again.
        let last = LAST.try_with(|last| last.borrow().upgrade()).ok().flatten();
        let segment = match last.filter(|last| Arc::ptr_eq(last.file.fd(), &fd)) {
            Some(last) => last,
            None => Segment::open(fd).map_err(D::Error::custom)?,
        };
        // Checked here, so that objects can look at their fields without an error to return.
        if segment.memory.length() < LENGTH {
            return Err(D::Error::custom("shared memory that is too small"));
        }
        let _ = LAST.try_with(|last| last.replace(Arc::downgrade(&segment)));
        Ok(Crossing(segment))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::atomic::Ordering;

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::codec::{decode, encode};
    use crate::sys::fd;
    use crate::{Condition, Event, Lock, Semaphore};

    /// A value that comes with another descriptor than its own. (The codec keeps no reasons.)
    #[track_caller]
    fn refuse<T: Serialize + DeserializeOwned + Debug>(value: &T, fd: OwnedFd) {
        let parcel = encode(value).expect("encode");
        let fd = Arc::new(fd);
        let fds = parcel.fds.iter().map(|_| Arc::clone(&fd)).collect();
        assert!(decode::<T>(&parcel.bytes, fds).is_err(), "decoded");
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let (pipe, _write) = fd::pipe().expect("pipe");
        for fd in [
            pipe,
            fd::null().expect("open"),
            std::fs::File::open(std::env::current_exe().expect("a path")).expect("open").into(),
        ] {
            refuse(&Lock::new().expect("new"), fd.try_clone().expect("clone"));
            refuse(&Semaphore::new(1).expect("new"), fd.try_clone().expect("clone"));
            refuse(&Condition::new().expect("new"), fd.try_clone().expect("clone"));
            refuse(&Event::new().expect("new"), fd.try_clone().expect("clone"));
            let why = Segment::open(Arc::new(fd)).expect_err("opened").to_string();
            assert!(why.contains("no memory file"), "{why}");
        }
    }

    #[test]
    fn memory_that_is_too_small_or_could_shrink_is_refused() {
        let copy = |file: &SharedFile| file.fd().try_clone().expect("clone");
        let small = SharedFile::create("test", 8).expect("create");
        refuse(&Lock::new().expect("new"), copy(&small));
        let page = SharedFile::create("test", 4096).expect("create");
        refuse(&Semaphore::new(1).expect("new"), copy(&page));
        let unsealed = SharedFile::create_unsealed("test", 2 << 20).expect("create");
        refuse(&Semaphore::new(1).expect("new"), copy(&unsealed));
        let why = Segment::open(Arc::clone(unsealed.fd())).expect_err("opened").to_string();
        assert!(why.contains("change its length"), "{why}");
        let none = SharedFile::create("test", 0).expect("create");
        refuse(&Event::new().expect("new"), copy(&none));
    }

    #[test]
    fn a_lock_beyond_the_end_is_refused() {
        let locks = Lock::many(64).expect("locks");
        let last = encode(&locks[63]).expect("encode");
        assert!(decode::<Lock>(&last.bytes, last.fds).is_ok());
        let small = SharedFile::create("test", 64 * 63).expect("create");
        assert!(decode::<Lock>(&last.bytes, vec![Arc::clone(small.fd())]).is_err());
    }

    #[test]
    fn the_same_lock_at_two_addresses_is_one_lock() {
        let lock = Lock::new().expect("a lock");
        let condition = Condition::with_lock(&lock).expect("a condition");
        let parcel = encode(&condition).expect("encode");
        // As after another object in between, or in another message.
        let fds = parcel.fds.iter().map(|fd| Arc::new(fd.try_clone().expect("clone"))).collect();
        let other: Condition = decode(&parcel.bytes, fds).expect("decode");
        let mut guard = lock.acquire().expect("acquire");
        assert!(matches!(other.acquire(), Err(crate::AcquireError::Deadlock)));
        assert!(
            !other
                .wait_timeout(&mut guard, std::time::Duration::from_millis(1))
                .expect("the same lock")
        );
        assert!(lock.locked());
        drop((other, guard));
        assert!(!lock.locked());
        let again = lock.acquire().expect("acquire");
        drop(again);
    }

    #[test]
    fn a_lock_that_somebody_else_opened_is_given_up_all_the_same() {
        let (ours, theirs) = (Lock::new().expect("new"), Lock::new().expect("new"));
        let outer = ours.acquire().expect("acquire");
        for forget in [false, true] {
            let theirs = theirs.clone();
            let guard = theirs.acquire().expect("acquire");
            // By a process that has it, too, and means no good.
            theirs.cell().word.store(0, Ordering::Relaxed);
            if forget { std::mem::forget(guard) } else { drop(guard) }
        }
        // The kernel's list must not lead to where there is no memory.
        drop(theirs);
        drop(outer);
        drop(ours.acquire().expect("acquire"));
    }
}
