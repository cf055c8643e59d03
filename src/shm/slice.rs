//! Constant memory, which processes read without copies.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::size::{no_memory, size_of_elements};
use crate::codec::Carried;
use crate::error::{Error, Result};
use crate::sys::memory::frozen::Frozen;
use crate::sys::memory::sealed;

/// A constant slice that any number of processes read without copies: passed as an argument, given
/// as a result, or inside a message to any process. What crosses is a descriptor and a few bytes.
///
/// The kernel keeps everybody from changing the elements (`F_SEAL_WRITE`), whoever made them: a
/// receiver checks that before it uses the memory, and so need not trust the sender. What is not
/// sealed, too small or no memory at all is an error there.
///
/// Clones and [parts](SharedSlice::slice) share the memory. It goes when the last process lets it
/// go.
///
/// The elements are of a type that [`bytemuck::Pod`] says to be plain bytes: numbers, arrays of
/// them, and structs that derive it (by the `derive` feature of the `bytemuck` crate).
///
/// ```
/// use multiproc::{Process, SharedSlice};
///
/// fn sum(part: SharedSlice<u32>) -> u64 {
///     part.iter().map(|n| u64::from(*n)).sum()
/// }
///
/// let numbers = SharedSlice::from_slice(&[1, 2, 3, 4, 5])?;
/// let first = Process::new(sum, (numbers.slice(..3),)).start()?;
/// let second = Process::new(sum, (numbers.slice(3..),)).start()?;
/// assert_eq!((first.join()?, second.join()?), (6, 9));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct SharedSlice<T: Pod> {
    /// Nothing if there are no elements.
    memory: Option<Arc<Frozen>>,
    /// In bytes.
    offset: usize,
    /// In elements.
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> SharedSlice<T> {
    /// Makes constant memory with a copy of a slice.
    ///
    /// # Errors
    /// There is no memory, no descriptor or no address left, or this process may not have files of
    /// that size.
    ///
    /// ```
    /// let text = multiproc::SharedSlice::from_slice("text".as_bytes())?;
    /// assert_eq!(&*text, b"text");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn from_slice(slice: &[T]) -> Result<SharedSlice<T>> {
        let size = size_of_elements::<T>(slice.len())?;
        if size == 0 {
            return Ok(SharedSlice::default());
        }
        // Writing to the file costs less than the page faults of a mapping.
        let fd = sealed::seal(&[bytemuck::cast_slice(slice)]);
        let frozen =
            fd.and_then(|fd| Frozen::open(Arc::new(fd))).map_err(|error| no_memory(size, error))?;
        Ok(SharedSlice::whole(Arc::new(frozen)))
    }

    /// Returns a part of it, which shares the memory. It crosses to other processes as cheaply as
    /// the whole.
    ///
    /// # Panics
    /// The range is not inside, as with an ordinary slice.
    ///
    /// ```
    /// let all = multiproc::SharedSlice::from_slice(&[1, 2, 3, 4])?;
    /// assert_eq!(*all.slice(1..=2), [2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> SharedSlice<T> {
        let (start, end) = bounds(range, self.len);
        // No elements need no memory: the last part does not keep it alive.
        let memory = if start == end { None } else { self.memory.clone() };
        SharedSlice {
            memory,
            offset: self.offset + start * size_of::<T>(),
            len: end - start,
            element: PhantomData,
        }
    }

    /// All of a frozen memory, whose length fits.
    pub(super) fn whole(memory: Arc<Frozen>) -> SharedSlice<T> {
        let len = memory.bytes().len() / size_of::<T>();
        SharedSlice { memory: Some(memory), offset: 0, len, element: PhantomData }
    }

    #[cfg(test)]
    pub(super) fn file_length(&self) -> Option<usize> {
        self.memory.as_ref().map(|memory| memory.bytes().len())
    }

    /// A part of memory that somebody sent, if it is inside and aligned.
    fn part(
        memory: Arc<Frozen>,
        offset: usize,
        len: usize,
    ) -> Result<SharedSlice<T>, &'static str> {
        let size = size_of_elements::<T>(len).map_err(|_| "more elements than can be addressed")?;
        let end = offset.checked_add(size).ok_or("more elements than can be addressed")?;
        if end > memory.bytes().len() {
            return Err("elements beyond the end of shared memory");
        }
        // The mapping begins with a page.
        if !offset.is_multiple_of(align_of::<T>()) {
            return Err("unaligned elements in shared memory");
        }
        Ok(SharedSlice { memory: Some(memory), offset, len, element: PhantomData })
    }
}

/// The ends of a range of a slice of `len` elements.
///
/// # Panics
/// It is not inside.
#[track_caller]
pub(super) fn bounds(range: impl RangeBounds<usize>, len: usize) -> (usize, usize) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    assert!(start <= end && end <= len, "range {start}..{end} out of range for {len} elements");
    (start, end)
}

impl<T: Pod> Deref for SharedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.memory {
            Some(memory) => {
                bytemuck::cast_slice(&memory.bytes()[self.offset..][..self.len * size_of::<T>()])
            }
            None => &[],
        }
    }
}

impl<T: Pod> AsRef<[T]> for SharedSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        SharedSlice {
            memory: self.memory.clone(),
            offset: self.offset,
            len: self.len,
            element: PhantomData,
        }
    }
}

impl<T: Pod> Default for SharedSlice<T> {
    /// An empty one, which needs no memory and no descriptor.
    fn default() -> Self {
        SharedSlice { memory: None, offset: 0, len: 0, element: PhantomData }
    }
}

impl<T: Pod> TryFrom<&[T]> for SharedSlice<T> {
    type Error = Error;

    fn try_from(slice: &[T]) -> Result<Self> {
        SharedSlice::from_slice(slice)
    }
}

impl<T: Pod> TryFrom<Vec<T>> for SharedSlice<T> {
    type Error = Error;

    fn try_from(elements: Vec<T>) -> Result<Self> {
        SharedSlice::from_slice(&elements)
    }
}

impl<'a, T: Pod> IntoIterator for &'a SharedSlice<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod + PartialEq> PartialEq for SharedSlice<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for SharedSlice<T> {}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Pod> Serialize for SharedSlice<T> {
    /// As a descriptor, so only to a process.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = self
            .memory
            .as_ref()
            .map(|memory| (Carried(Arc::clone(memory.fd())), self.offset, self.len));
        part.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for SharedSlice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = Option::<(Carried, usize, usize)>::deserialize(deserializer)?;
        let Some((Carried(fd), offset, len)) = part else { return Ok(SharedSlice::default()) };
        let frozen = Frozen::open(fd).map_err(|error: io::Error| D::Error::custom(error))?;
        SharedSlice::part(Arc::new(frozen), offset, len).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn crossed<T: Pod>(slice: &SharedSlice<T>) -> SharedSlice<T> {
        let parcel = codec::encode(slice).expect("encode");
        assert!(parcel.bytes.len() < 32, "{} bytes", parcel.bytes.len());
        codec::decode(&parcel.bytes, parcel.fds).expect("decode")
    }

    #[test]
    fn slices_and_parts_of_parts_cross() {
        let all = SharedSlice::try_from_iter(0..1000_u16).expect("new");
        assert_eq!(crossed(&all), all);
        let part = all.slice(10..20).slice(3..);
        assert_eq!(*part, [13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(crossed(&part), part);
        assert!(crossed(&all.slice(5..5)).is_empty());
        assert!(crossed(&SharedSlice::<u64>::default()).is_empty());
    }

    #[test]
    fn iterators_may_promise_too_much_or_too_little() {
        struct Liar(std::ops::Range<u32>, usize);
        impl Iterator for Liar {
            type Item = u32;
            fn next(&mut self) -> Option<u32> {
                self.0.next()
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                (self.1, Some(self.1))
            }
        }
        for promise in [0, 3, 10, 20] {
            let slice = SharedSlice::try_from_iter(Liar(0..10, promise)).expect("new");
            assert!(slice.iter().copied().eq(0..10), "promised {promise}");
        }
    }

    #[test]
    fn parts_that_are_not_there_are_refused() {
        let frozen = || Carried(Arc::new(sealed::seal(&[&[0; 100]]).expect("seal")));
        let decoded = |offset: usize, len: usize| {
            let parcel = codec::encode(&Some((frozen(), offset, len))).expect("encode");
            codec::decode::<SharedSlice<u64>>(&parcel.bytes, parcel.fds).is_ok()
        };
        assert!(decoded(8, 11));
        for (offset, len) in
            [(8, 12), (4, 1), (104, 0), (usize::MAX, 1), (8, usize::MAX), (8, usize::MAX / 8)]
        {
            assert!(!decoded(offset, len), "{len} elements at {offset}");
        }
    }

    #[test]
    #[should_panic(expected = "range 3..5 out of range for 4 elements")]
    fn a_part_beyond_the_end_panics() {
        let _ = SharedSlice::from_slice(&[1, 2, 3, 4]).expect("new").slice(3..5);
    }
}
