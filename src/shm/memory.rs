//! Bytes that several processes write to: CPython's `shared_memory.SharedMemory`.
//!
//! The base of arrays and lists. Accesses go through atomics, byte by byte or word by word
//! (`sys::memory::bytes`).

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::access::{Access, Atomic, OutOfBounds, ReadOnly, ReadWrite};
use super::name::{Given, Name};
use super::size::no_memory;
use crate::codec::Carried;
use crate::error::{Cause, Error, Result};
use crate::sys::memory::bytes;
use crate::sys::memory::shared::{Shared, SharedFile};

/// Memory that everybody who has a handle reads and writes.
///
/// It is anonymous, and goes when the last process lets it go: a handle crosses as an argument, a
/// result or inside a message to any process, and there is nothing to leak or to unlink. Nobody can
/// change its size, so no access is ever a crash.
///
/// Others may write at any time. So bytes are copied in and out
/// ([`read_at`](SharedMemory::read_at), [`write_at`](SharedMemory::write_at)), or used as
/// [atomics](SharedMemory::atomics); what is copied while somebody writes may be partly old and
/// partly new. [`SharedArray`](crate::SharedArray) has elements; for memory that is written once
/// and then read, [`SharedSlice`] needs no copies.
///
/// # Names
/// Memory that was [created with a name](SharedMemory::create_named) can also be
/// [attached](SharedMemory::attach) to by any process of the same user. The name lasts as long as
/// the handle that it was given by, and its clones, in the process that gave it: it goes when the
/// last of them is dropped, when the process ends, however it ends, or by
/// [`unlink`](SharedMemory::unlink). The memory itself lasts as long as anybody has it. (CPython's
/// names last until somebody removes them.)
///
/// A name is followed by way of the descriptors of the process that gave it, which the kernel does
/// not show to everybody: a process that has changed its user since its start (a daemon that was
/// root), that set `PR_SET_DUMPABLE` to 0, or that has capabilities shows them only to itself and
/// to those with more rights. There, to attach is an error that says so; pass the memory itself
/// instead.
///
/// [`SharedSlice`]: crate::SharedSlice
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use multiproc::{Process, SharedMemory};
///
/// fn count(memory: SharedMemory) {
///     memory.atomics::<AtomicU64>()[0].fetch_add(1, Ordering::Relaxed);
///     memory.write_at(8, b"done").expect("there is room");
/// }
///
/// let memory = SharedMemory::new(4096)?;
/// let children = [(); 2].map(|()| Process::new(count, (memory.clone(),)).start());
/// for child in children {
///     child?.join()?;
/// }
/// assert_eq!(memory.atomics::<AtomicU64>()[0].load(Ordering::Relaxed), 2);
/// let mut text = [0; 4];
/// memory.read_at(8, &mut text)?;
/// assert_eq!(&text, b"done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedMemory<A: Access = ReadWrite> {
    inner: Arc<Inner>,
    access: PhantomData<A>,
}

/// The memory, its name and its file, shared by all clones of a handle.
struct Inner {
    // Before the file: while there is a name, it leads there.
    title: Title,
    mapped: Shared,
    file: SharedFile,
}

/// The name by which others can find memory.
enum Title {
    None,
    /// Given here, and so to be removed here.
    Given(Given),
    /// Somebody else's.
    Known(Name),
}

impl Title {
    /// The name, given here or known.
    fn name(&self) -> Option<&Name> {
        match self {
            Title::None => None,
            Title::Given(given) => Some(&given.name),
            Title::Known(name) => Some(name),
        }
    }
}

impl SharedMemory {
    /// Makes memory of `size` bytes, all zero. The kernel takes pages as they are written to.
    ///
    /// # Errors
    /// The size is zero; there is no memory, no descriptor or no address left; or this process may
    /// not have files of that size (`RLIMIT_FSIZE`).
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// assert_eq!(SharedMemory::new(100)?.len(), 100);
    /// assert!(SharedMemory::new(0).is_err());
    /// assert!(SharedMemory::new(usize::MAX).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(size: usize) -> Result<SharedMemory> {
        check_size(size)?;
        let file = SharedFile::create("multiproc", size).map_err(|error| no_memory(size, error))?;
        SharedMemory::map(file, Title::None)
    }

    /// Makes memory of `size` bytes, all zero, that other processes of this user can
    /// [attach](SharedMemory::attach) to. CPython's `SharedMemory(name, create=True, size=..)`.
    ///
    /// # Errors
    /// As for [`new`](SharedMemory::new). A name that exists is an `AlreadyExists`
    /// ([`Error::os_error`] has the kind); one that is empty, begins with a dot, has a `/` or a NUL
    /// in it, or more than 200 bytes is refused. Names need `/dev/shm` and `/proc`.
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let memory = SharedMemory::create_named("documentation-1", 16)?;
    /// memory.write_at(0, b"hello").expect("there is room");
    ///
    /// let mut text = [0; 5];
    /// SharedMemory::attach("documentation-1")?.read_at(0, &mut text).expect("it is there");
    /// assert_eq!(&text, b"hello");
    ///
    /// drop(memory);
    /// assert!(SharedMemory::attach("documentation-1").is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn create_named(name: &str, size: usize) -> Result<SharedMemory> {
        check_size(size)?;
        let (file, given) = Name::create(name, size)?;
        SharedMemory::map(file, Title::Given(given))
    }

    /// Makes memory of `size` bytes, all zero, under a [name](SharedMemory::name) that nobody has
    /// yet. CPython's `SharedMemory(create=True, size=..)`.
    ///
    /// # Errors
    /// As for [`create_named`](SharedMemory::create_named).
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let memory = SharedMemory::create_unique(16)?;
    /// let again = SharedMemory::attach(memory.name().expect("it has one"))?;
    /// assert_eq!(again.len(), 16);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn create_unique(size: usize) -> Result<SharedMemory> {
        check_size(size)?;
        let (file, given) = Name::create_first(Name::generate, size)?;
        SharedMemory::map(file, Title::Given(given))
    }

    /// Finds the memory that has a name, given by a process of this user. CPython's
    /// `SharedMemory(name)`.
    ///
    /// # Errors
    /// No memory has it, or the process that gave it is gone: `NotFound`, by [`Error::os_error`].
    /// That process does not let this one have it (see [Names](SharedMemory#names)):
    /// `PermissionDenied`, with the reason; this process may have the memory otherwise, by an
    /// argument or as a forked copy, and then it is found. What cannot be a name is refused.
    ///
    /// ```
    /// use multiproc::SharedMemory;
    ///
    /// let error = SharedMemory::attach("nobody-has-this").unwrap_err();
    /// assert_eq!(error.os_error().unwrap().kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn attach(name: &str) -> Result<SharedMemory> {
        let (file, name) = Name::attach(name)?;
        SharedMemory::map(file, Title::Known(name))
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    /// They do not all fit; nothing is written then.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::new(8)?;
    /// memory.write_at(6, b"ab").expect("they fit");
    /// assert!(memory.write_at(7, b"ab").is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        OutOfBounds::check(offset, bytes.len(), self.len())?;
        bytes::store(self.cells(offset, bytes.len()), bytes);
        Ok(())
    }

    /// Returns all of it as atomics, as many as fit.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicI32, Ordering};
    ///
    /// let memory = multiproc::SharedMemory::new(10)?;
    /// let numbers = memory.atomics::<AtomicI32>();
    /// assert_eq!(numbers.len(), 2);
    /// assert_eq!(numbers[1].fetch_sub(1, Ordering::AcqRel), 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn atomics<T: Atomic>(&self) -> &[T] {
        self.inner.mapped.many(0, self.len() / size_of::<T>())
    }

    /// Returns a handle that can only read, here and wherever it is sent: see [`ReadOnly`].
    ///
    /// # Errors
    /// There is no descriptor or no address left, or no `/proc`.
    ///
    /// ```
    /// use multiproc::{Process, ReadOnly, SharedMemory};
    ///
    /// fn first(memory: SharedMemory<ReadOnly>) -> u8 {
    ///     let mut byte = [0];
    ///     memory.read_at(0, &mut byte).expect("it is there");
    ///     byte[0]
    /// }
    ///
    /// let memory = SharedMemory::new(1)?;
    /// memory.write_at(0, &[7]).expect("there is room");
    /// assert_eq!(Process::new(first, (memory.read_only()?,)).start()?.join()?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_only(&self) -> Result<SharedMemory<ReadOnly>> {
        let file = match self.inner.title.name() {
            Some(_) => self.inner.file.read_only_by_name(),
            None => self.inner.file.read_only(),
        };
        let file =
            file.map_err(|error| Error::os("cannot open shared memory for reading", error))?;
        SharedMemory::map(file, self.inner.title.name().cloned().map_or(Title::None, Title::Known))
    }

    /// As `new`, but no bytes are allowed: there is one then, as the kernel maps nothing else.
    pub(super) fn for_elements(size: usize) -> Result<SharedMemory> {
        SharedMemory::new(size.max(1))
    }
}

impl<A: Access> SharedMemory<A> {
    /// Maps all of a file, as `A` allows.
    fn map(file: SharedFile, title: Title) -> Result<SharedMemory<A>> {
        let mapped = if A::WRITES { file.map_all() } else { file.map_to_read() };
        let mapped = mapped.map_err(|error| {
            Error::os(format!("cannot map {} bytes of shared memory", file.length()), error)
        })?;
        mapped.advise_huge();
        let inner = Inner { title, mapped, file };
        Ok(SharedMemory { inner: Arc::new(inner), access: PhantomData })
    }

    /// Returns how many bytes there are; never zero.
    ///
    /// ```
    /// assert_eq!(multiproc::SharedMemory::new(100)?.len(), 100);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.inner.mapped.length()
    }

    /// Returns the name, if it was made with one, even if that has been unlinked.
    ///
    /// ```
    /// assert_eq!(multiproc::SharedMemory::new(100)?.name(), None);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.title.name().map(|name| name.text.as_str())
    }

    /// Takes the name away, so that nobody can attach any more. Whoever has the memory keeps it.
    ///
    /// # Errors
    /// It has no name, or no longer: `NotFound`, by [`Error::os_error`].
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::create_unique(16)?;
    /// memory.unlink()?;
    /// let error = memory.unlink().unwrap_err();
    /// assert_eq!(error.os_error().unwrap().kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn unlink(&self) -> Result<()> {
        let name = self.inner.title.name();
        name.ok_or_else(|| {
            Error::from(Cause::BadInput("the shared memory has no name".to_owned()))
        })?
        .unlink()
    }

    /// Copies as many bytes from `offset` as `bytes` has.
    ///
    /// # Errors
    /// There are not so many; nothing is copied then.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::new(8)?;
    /// let mut bytes = [1; 2];
    /// memory.read_at(6, &mut bytes).expect("they are there");
    /// assert_eq!(bytes, [0, 0]);
    /// assert!(memory.read_at(7, &mut bytes).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<(), OutOfBounds> {
        OutOfBounds::check(offset, bytes.len(), self.len())?;
        bytes::load(self.cells(offset, bytes.len()), bytes);
        Ok(())
    }

    /// Some of the bytes, of which the caller has made sure that they are inside. They are stored
    /// to only if `A` writes.
    pub(super) fn cells(&self, offset: usize, count: usize) -> &[AtomicU8] {
        self.inner.mapped.many(offset, count)
    }

    /// Where it begins.
    pub(super) fn start(&self) -> *mut u8 {
        self.inner.mapped.start()
    }
}

/// Checks that memory of this size can be: not zero, which the kernel does not map.
fn check_size(size: usize) -> Result<()> {
    if size == 0 {
        return Err(
            Cause::BadInput("the size of shared memory is at least one byte".to_owned()).into()
        );
    }
    if isize::try_from(size).is_err() {
        return Err(
            Cause::BadInput(format!("{size} bytes of shared memory cannot be addressed")).into()
        );
    }
    Ok(())
}

impl<A: Access> Clone for SharedMemory<A> {
    fn clone(&self) -> Self {
        SharedMemory { inner: Arc::clone(&self.inner), access: PhantomData }
    }
}

impl<A: Access> fmt::Debug for SharedMemory<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SharedMemory");
        if let Some(name) = self.name() {
            debug.field("name", &name);
        }
        debug.field("size", &self.len()).finish()
    }
}

impl<A: Access> Serialize for SharedMemory<A> {
    /// As a descriptor, so only to a process.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Carried(Arc::clone(self.inner.file.fd())), self.inner.title.name()).serialize(serializer)
    }
}

impl<'de, A: Access> Deserialize<'de> for SharedMemory<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Carried(fd), name) = <(Carried, Option<Name>)>::deserialize(deserializer)?;
        let file = SharedFile::open(fd).map_err(D::Error::custom)?;
        SharedMemory::map(file, name.map_or(Title::None, Title::Known)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::codec;
    use crate::sys::fd;
    use crate::sys::memory::sealed;

    #[test]
    fn handles_see_the_same_bytes() {
        let memory = SharedMemory::new(10).expect("new");
        let parcel = codec::encode(&memory).expect("encode");
        let other: SharedMemory = codec::decode(&parcel.bytes, parcel.fds).expect("decode");
        other.write_at(3, b"abc").expect("write");
        let reader = memory.read_only().expect("read only");
        let mut bytes = [0; 10];
        reader.read_at(0, &mut bytes).expect("read");
        assert_eq!(&bytes, b"\0\0\0abc\0\0\0\0");
        assert_eq!(
            memory.atomics::<AtomicU16>()[2].load(Ordering::Relaxed),
            u16::from_ne_bytes(*b"bc")
        );
        assert_eq!(format!("{memory:?}"), "SharedMemory { size: 10 }");
    }

    #[test]
    fn what_can_only_be_read_does_not_become_writable() {
        let memory = SharedMemory::new(10).expect("new");
        let parcel = codec::encode(&memory.read_only().expect("read only")).expect("encode");
        assert!(codec::decode::<SharedMemory>(&parcel.bytes, parcel.fds.clone()).is_err());
        assert!(codec::decode::<SharedMemory<ReadOnly>>(&parcel.bytes, parcel.fds).is_ok());
    }

    #[test]
    fn what_is_no_shared_memory_is_refused() {
        let (read, _write) = fd::pipe().expect("pipe");
        let others = [
            read,
            fd::null().expect("open"),
            sealed::seal(&[b"constant, so not writable"]).expect("seal"),
            sealed::seal(&[b""]).expect("seal"),
        ];
        for fd in others {
            let parcel = codec::encode(&(Carried::from(fd), None::<Name>)).expect("encode");
            assert!(codec::decode::<SharedMemory>(&parcel.bytes, parcel.fds).is_err());
        }
        let unsealed = SharedFile::create_unsealed("test", 4096).expect("create");
        let parcel =
            codec::encode(&(Carried(Arc::clone(unsealed.fd())), None::<Name>)).expect("encode");
        assert!(codec::decode::<SharedMemory>(&parcel.bytes, parcel.fds).is_err());
    }
}
