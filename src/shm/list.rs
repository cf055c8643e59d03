//! A list of mixed small values in shared memory: CPython's `shared_memory.ShareableList`.
//!
//! ```text
//!  word 0        MAGIC, written last of all
//!  word 1        how many items
//!  words 2..     the room of each item, in bytes
//!  then          a record for each item (see `record`), one behind the other
//! ```
//!
//! Where the records are is read once, when the list comes, and kept in this process's own memory:
//! who writes to the list cannot move them afterwards.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::item::Item;
use super::memory::SharedMemory;
use super::record::{HEADER, Record, Trouble};
use crate::error::{Cause, Result};

/// The first word of a list.
const MAGIC: u64 = u64::from_le_bytes(*b"mp list1");

/// A list of fixed length that everybody who has it reads and writes: whole numbers, floating-point
/// numbers, truth values, texts, bytes and [`Item::None`].
///
/// The room of each place is fixed when the list is made, in steps of 8 bytes: 8 for a number, and
/// for a text or bytes of `n` bytes `(n / 8 + 1) * 8`. A place takes a value of any type that fits.
///
/// A value that is being changed is never seen half changed: a reader waits a moment, and then says
/// so. A place that somebody was changing when he was killed says so, too, until it is
/// [set](ShareableList::set) again. What others write is not trusted: whatever it is, the outcome
/// is a value or a [`ListError`].
///
/// ```
/// use multiproc::{Item, Process, ShareableList};
///
/// fn change(list: ShareableList) {
///     list.set(0, "dry").expect("it fits");
///     list.set(-1, 42).expect("it fits");
/// }
///
/// let list = ShareableList::new([Item::from("howdy"), 273.154.into(), true.into(), ().into()])?;
/// Process::new(change, (list.clone(),)).start()?.join()?;
/// assert_eq!(list.get(0), Ok("dry".into()));
/// assert_eq!(list.get(-1), Ok(42.into()));
/// assert!(list.set(0, "longer than before").is_err());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone)]
pub struct ShareableList {
    memory: SharedMemory,
    /// Where the records are, as it was when the list came: nobody can change that behind our back.
    places: Arc<[Place]>,
}

/// The most bytes of a list, so that one from somebody else costs no more than that. The values are
/// to be small.
const LARGEST: usize = 256 << 20;

/// Where a record is, in words.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    /// Room for the value, in bytes.
    room: usize,
}

impl ShareableList {
    /// A list of these values, in anonymous memory.
    ///
    /// # Errors
    /// There is no memory, no descriptor or no address left; or the values take more than 256 MiB.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([1, 2, 3])?;
    /// assert_eq!(list.len(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(items: impl IntoIterator<Item = impl Into<Item>>) -> Result<ShareableList> {
        ShareableList::fill(items.into_iter().map(Into::into).collect(), SharedMemory::new)
    }

    /// A list of these values, with a name by which other processes of this user can
    /// [attach](ShareableList::attach) to it.
    ///
    /// # Errors
    /// As for [`SharedMemory::create_named`].
    ///
    /// ```
    /// use multiproc::ShareableList;
    ///
    /// let list = ShareableList::create_named("documentation-2", [1, 2, 3])?;
    /// ShareableList::attach("documentation-2")?.set(0, 7).expect("it fits");
    /// assert_eq!(list.get(0), Ok(7.into()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn create_named(
        name: &str,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<ShareableList> {
        let items = items.into_iter().map(Into::into).collect();
        ShareableList::fill(items, |size| SharedMemory::create_named(name, size))
    }

    /// The list that has a name.
    ///
    /// # Errors
    /// As for [`SharedMemory::attach`]; or what has the name is no list.
    ///
    /// ```
    /// use multiproc::ShareableList;
    ///
    /// let list = ShareableList::create_named("documentation-4", ["text"])?;
    /// assert_eq!(ShareableList::attach("documentation-4")?.get(0), list.get(0));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn attach(name: &str) -> Result<ShareableList> {
        ShareableList::in_memory(SharedMemory::attach(name)?)
    }

    /// A list of the same values in anonymous memory of its own.
    ///
    /// # Errors
    /// As for [`new`](ShareableList::new), and for [`get`](ShareableList::get) of any item.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([1, 2])?;
    /// let copy = list.copy()?;
    /// list.set(0, 7).expect("it fits");
    /// assert_eq!(copy.get(0), Ok(1.into()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn copy(&self) -> Result<ShareableList> {
        ShareableList::fill(self.to_copy()?, SharedMemory::new)
    }

    /// A list of the same values in memory of its own with a name.
    ///
    /// # Errors
    /// As for [`create_named`](ShareableList::create_named), and for [`get`](ShareableList::get) of
    /// any item.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([1, 2])?;
    /// let copy = list.copy_named("documentation-3")?;
    /// assert_eq!(copy.memory().name(), Some("documentation-3"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn copy_named(&self, name: &str) -> Result<ShareableList> {
        ShareableList::fill(self.to_copy()?, |size| SharedMemory::create_named(name, size))
    }

    /// Copies of all items, with the error of a list that cannot be copied.
    fn to_copy(&self) -> Result<Vec<Item>> {
        Ok(self
            .to_vec()
            .map_err(|error| Cause::BadInput(format!("cannot copy the list: {error}")))?)
    }

    /// Makes a list of the items in memory that `make` gives.
    ///
    /// 1. The number of items and the room of each.
    /// 2. `MAGIC`: from here on, it is a list.
    /// 3. The items. Whoever attaches by name between 2 and 3 finds items that are `Broken`.
    fn fill(
        items: Vec<Item>,
        make: impl FnOnce(usize) -> Result<SharedMemory>,
    ) -> Result<ShareableList> {
        let records: usize = items.iter().map(|item| HEADER + item.room() / 8).sum();
        let size = (2 + items.len() + records) * 8;
        if size > LARGEST {
            return Err(Cause::BadInput(format!(
                "a shared list of {size} bytes is too big (256 MiB)"
            ))
            .into());
        }
        let memory = make(size)?;
        let words = memory.atomics::<AtomicU64>();
        words[1].store(items.len() as u64, Ordering::Relaxed);
        for (word, item) in words[2..].iter().zip(&items) {
            word.store(item.room() as u64, Ordering::Relaxed);
        }
        // Last of all: before, this is no list.
        words[0].store(MAGIC, Ordering::Release);
        let list = ShareableList::in_memory(memory)?;
        for (place, item) in list.places.iter().zip(items) {
            let (kind, bytes) = item.written();
            let written = list.record(*place).map(|record| record.write(kind, &bytes));
            written
                .and_then(Result::ok)
                .ok_or_else(|| broken("somebody else wrote to it as it was made"))?;
        }
        Ok(list)
    }

    /// The list that is in memory, if it is one.
    fn in_memory(memory: SharedMemory) -> Result<ShareableList> {
        if memory.len() > LARGEST {
            return Err(broken("it is too big"));
        }
        let words = memory.atomics::<AtomicU64>();
        let [magic, count, rest @ ..] = words else { return Err(broken("it is too small")) };
        if magic.load(Ordering::Acquire) != MAGIC {
            return Err(broken("it does not begin like one"));
        }
        let count = usize::try_from(count.load(Ordering::Relaxed))
            .ok()
            .filter(|count| *count <= rest.len());
        let count = count.ok_or_else(|| broken("it is too small for its items"))?;
        let mut places = Vec::with_capacity(count);
        let mut start = 2 + count;
        for room in &rest[..count] {
            let room = usize::try_from(room.load(Ordering::Relaxed) / 8).unwrap_or(usize::MAX);
            let end = room.checked_add(HEADER).and_then(|size| start.checked_add(size));
            let end = end.filter(|end| *end <= words.len());
            places.push(Place { start, room });
            start = end.ok_or_else(|| broken("it is too small for its items"))?;
        }
        Ok(ShareableList { memory, places: places.into() })
    }

    /// Returns how many items there are.
    ///
    /// ```
    /// assert_eq!(multiproc::ShareableList::new([1, 2])?.len(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns `true` if there are none.
    ///
    /// ```
    /// assert!(multiproc::ShareableList::new([0; 0])?.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The memory that it lies in, with its name.
    ///
    /// ```
    /// let list = multiproc::ShareableList::create_named("documentation-5", [1])?;
    /// assert_eq!(list.memory().name(), Some("documentation-5"));
    /// list.memory().unlink()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// A copy of an item; -1 is the last.
    ///
    /// # Errors
    /// There is none at `index`; somebody is changing it, or was killed while doing so; what is
    /// there is no value.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new(["one", "two"])?;
    /// assert_eq!(list.get(1), Ok("two".into()));
    /// assert_eq!(list.get(-2), Ok("one".into()));
    /// assert!(list.get(2).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn get(&self, index: isize) -> Result<Item, ListError> {
        self.read(self.place(index)?)
    }

    /// Puts a value, of whatever type, in the place of an item; -1 is the last.
    ///
    /// # Errors
    /// There is none at `index`; the value is too long for it (nothing is changed then); somebody
    /// else is changing it all the time. The error has the value.
    ///
    /// ```
    /// use multiproc::{Item, ListError};
    ///
    /// let list = multiproc::ShareableList::new([Item::from(1), "text".into()])?;
    /// list.set(1, 2.5).expect("it fits");
    /// let error = list.set(0, "nine char").unwrap_err();
    /// assert_eq!(error.cause(), ListError::TooLong { length: 9, room: 8 });
    /// assert_eq!(error.into_item(), "nine char".into());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn set(&self, index: isize, item: impl Into<Item>) -> Result<(), SetError> {
        let item = item.into();
        self.try_set(index, &item).map_err(|cause| SetError { cause, item })
    }

    /// Writes an item, if it fits.
    fn try_set(&self, index: isize, item: &Item) -> Result<(), ListError> {
        let place = self.place(index)?;
        let (kind, bytes) = item.written();
        if bytes.len() > place.room * 8 {
            return Err(ListError::TooLong { length: bytes.len(), room: place.room * 8 });
        }
        let record = self.record(place).ok_or(ListError::Broken)?;
        record.write(kind, &bytes).map_err(ListError::from)
    }

    /// Copies of all items.
    ///
    /// # Errors
    /// As for [`get`](ShareableList::get), of any item.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([1, 2])?;
    /// assert_eq!(list.to_vec(), Ok(vec![1.into(), 2.into()]));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn to_vec(&self) -> Result<Vec<Item>, ListError> {
        self.iter().collect()
    }

    /// Copies of all items, one after the other.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([1, 2])?;
    /// assert!(list.iter().all(|item| item.is_ok()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = Result<Item, ListError>> + ExactSizeIterator + '_ {
        self.places.iter().map(|place| self.read(*place))
    }

    /// The first place of a value.
    ///
    /// # Errors
    /// As for [`get`](ShareableList::get), of an item before it.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([5, 7, 7])?;
    /// assert_eq!(list.index(7), Ok(Some(1)));
    /// assert_eq!(list.index(6), Ok(None));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn index(&self, item: impl Into<Item>) -> Result<Option<usize>, ListError> {
        let item = item.into();
        for (place, other) in self.iter().enumerate() {
            if other? == item {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Returns how often a value is there.
    ///
    /// # Errors
    /// As for [`get`](ShareableList::get), of any item.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([5, 7, 7])?;
    /// assert_eq!(list.count(7), Ok(2));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn count(&self, item: impl Into<Item>) -> Result<usize, ListError> {
        let item = item.into();
        let mut count = 0;
        for other in self.iter() {
            count += usize::from(other? == item);
        }
        Ok(count)
    }

    /// The types of all items, in the notation of Python's `struct`: `q` for a whole number, `d`
    /// for a floating-point number, `8s` for a text or bytes in 8 bytes, `xxxxxxx?` for a truth
    /// value, `xxxxxx?x` for none.
    ///
    /// # Errors
    /// As for [`get`](ShareableList::get), of any item.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new([multiproc::Item::from(1), "text".into()])?;
    /// assert_eq!(list.format(), Ok("q8s".to_owned()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn format(&self) -> Result<String, ListError> {
        self.iter()
            .zip(self.places.iter())
            .map(|(item, place)| Ok(item?.format(place.room * 8)))
            .collect()
    }

    /// Finds the place of an index, from the end if it is negative.
    fn place(&self, index: isize) -> Result<Place, ListError> {
        let len = self.places.len();
        let at = if index < 0 {
            len.checked_sub(index.unsigned_abs())
        } else {
            Some(index.unsigned_abs())
        };
        at.and_then(|at| self.places.get(at)).copied().ok_or(ListError::OutOfRange { index, len })
    }

    /// The record at a place. `None` cannot be, as places were checked when the list came.
    fn record(&self, place: Place) -> Option<Record<'_>> {
        let words = self.memory.atomics::<AtomicU64>();
        Record::new(words.get(place.start..place.start + HEADER + place.room)?)
    }

    /// Reads and checks the value at a place.
    fn read(&self, place: Place) -> Result<Item, ListError> {
        let (kind, bytes) = self.record(place).ok_or(ListError::Broken)?.read()?;
        Item::read(kind, bytes).ok_or(ListError::Broken)
    }
}

/// The error of memory that is no list.
fn broken(why: &str) -> crate::error::Error {
    Cause::BadInput(format!("this shared memory is no list: {why}")).into()
}

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// An item, or why there is none.
        struct Entry(Result<Item, ListError>);
        impl fmt::Debug for Entry {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match &self.0 {
                    Ok(item) => item.fmt(f),
                    Err(error) => write!(f, "<{error}>"),
                }
            }
        }
        f.write_str("ShareableList(")?;
        f.debug_list().entries(self.iter().map(Entry)).finish()?;
        match self.memory.name() {
            Some(name) => write!(f, ", name={name:?})"),
            None => f.write_str(")"),
        }
    }
}

impl Serialize for ShareableList {
    /// As a descriptor, so only to a process; as many bytes whatever is in it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.memory.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ShareableList::in_memory(SharedMemory::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Why an item of a [`ShareableList`] could not be read or changed.
///
/// ```
/// let error = multiproc::ShareableList::new([1, 2])?.get(5).unwrap_err();
/// assert_eq!(error.to_string(), "there is no item 5 in a list of 2");
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// There is no such item.
    OutOfRange {
        /// The index that was asked for.
        index: isize,
        /// Length of the list, in items.
        len: usize,
    },
    /// The value is too long for the place.
    TooLong {
        /// Length of the value, in bytes.
        length: usize,
        /// Room of the place, in bytes.
        room: usize,
    },
    /// Somebody is changing the item, or was killed while doing so. To set it puts that right.
    Unfinished,
    /// There is no value: somebody wrote to the memory by other means. To set it puts that right.
    Broken,
}

impl From<Trouble> for ListError {
    fn from(trouble: Trouble) -> ListError {
        match trouble {
            Trouble::Unfinished => ListError::Unfinished,
            Trouble::Broken => ListError::Broken,
        }
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::OutOfRange { index, len } => {
                write!(f, "there is no item {index} in a list of {len}")
            }
            ListError::TooLong { length, room } => {
                write!(
                    f,
                    "a value of {length} bytes exceeds the {room} bytes of its place in the list"
                )
            }
            ListError::Unfinished => {
                f.write_str("the item of the list is being changed, by a process that may be dead")
            }
            ListError::Broken => f.write_str("the item of the list is no value"),
        }
    }
}

impl std::error::Error for ListError {}

/// Why an item of a [`ShareableList`] could not be changed, and what it was to become.
///
/// ```
/// let error = multiproc::ShareableList::new(["short"])?.set(0, "far too long").unwrap_err();
/// assert_eq!(error.into_item(), "far too long".into());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SetError {
    cause: ListError,
    item: Item,
}

impl SetError {
    /// Returns why.
    ///
    /// ```
    /// use multiproc::{ListError, ShareableList};
    ///
    /// let error = ShareableList::new([1])?.set(3, 2).unwrap_err();
    /// assert_eq!(error.cause(), ListError::OutOfRange { index: 3, len: 1 });
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn cause(&self) -> ListError {
        self.cause
    }

    /// Returns the value that was to be put there.
    ///
    /// ```
    /// let list = multiproc::ShareableList::new(["short"])?;
    /// let text = list.set(0, "far too long for it").unwrap_err().into_item();
    /// assert_eq!(text, "far too long for it".into());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn into_item(self) -> Item {
        self.item
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for SetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
