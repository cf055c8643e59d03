//! Elements of one type that several processes write to.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use bytemuck::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::access::{Access, OutOfBounds, ReadOnly, ReadWrite};
use super::memory::SharedMemory;
use super::size::size_of_elements;
use super::slice::bounds;
use crate::error::{Cause, Result};
use crate::sys::memory::bytes;

/// An array of fixed length that everybody who has a handle reads and writes. (CPython's
/// `RawArray`.)
///
/// As others may write at any time, elements are copied in and out. An element of 1, 2, 4 or 8
/// bytes that is aligned as it is long comes whole: nobody sees half of it. Of bigger ones, and of
/// several, some bytes may be old and some new, unless a lock or the order of events keeps writers
/// away. For data that is written once and then read, [`SharedSlice`] needs no copies.
///
/// [`SharedSlice`]: crate::SharedSlice
///
/// ```
/// use multiproc::{Process, SharedArray};
///
/// fn double(numbers: SharedArray<i32>, index: usize) {
///     numbers.set(index, numbers.get(index) * 2);
/// }
///
/// let numbers = SharedArray::from_slice(&[1, 2, 3])?;
/// for index in 0..numbers.len() {
///     Process::new(double, (numbers.clone(), index)).start()?.join()?;
/// }
/// assert_eq!(numbers.read(..), [2, 4, 6]);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct SharedArray<T: Pod, A: Access = ReadWrite> {
    memory: SharedMemory<A>,
    /// In bytes; aligned. That all elements are inside has been made sure of.
    offset: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> SharedArray<T> {
    /// Makes an array of `len` elements, all zero. The kernel takes pages as they are written to.
    ///
    /// # Errors
    /// There is no memory, no descriptor or no address left, or this process may not have files of
    /// that size. More elements than can be addressed are an error, too.
    ///
    /// ```
    /// let array = multiproc::SharedArray::<u16>::new(3)?;
    /// assert_eq!(array.read(..), [0, 0, 0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(len: usize) -> Result<SharedArray<T>> {
        let memory = SharedMemory::for_elements(size_of_elements::<T>(len)?)?;
        Ok(SharedArray { memory, offset: 0, len, element: PhantomData })
    }

    /// Makes an array with a copy of a slice.
    ///
    /// # Errors
    /// As for [`new`](SharedArray::new).
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[0.5, 1.5])?;
    /// assert_eq!(array.get(1), 1.5);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn from_slice(slice: &[T]) -> Result<SharedArray<T>> {
        let array = SharedArray::new(slice.len())?;
        array.copy_from_slice(0, slice);
        Ok(array)
    }

    /// Changes the element at `index`.
    ///
    /// # Panics
    /// There is none at `index`, as with an ordinary array.
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2])?;
    /// array.set(0, 7);
    /// assert_eq!(array.read(..), [7, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn set(&self, index: usize, value: T) {
        self.check(index);
        let cells = self.memory.cells(self.offset + index * size_of::<T>(), size_of::<T>());
        bytes::store(cells, bytemuck::bytes_of(&value));
    }

    /// Copies a slice to the elements from `at` on.
    ///
    /// # Panics
    /// It does not all fit, as with an ordinary array.
    ///
    /// ```
    /// let array = multiproc::SharedArray::<u8>::new(5)?;
    /// array.copy_from_slice(1, b"abc");
    /// assert_eq!(array.read(..), b"\0abc\0");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[track_caller]
    pub fn copy_from_slice(&self, at: usize, slice: &[T]) {
        let (start, end) = bounds(at..at.saturating_add(slice.len()), self.len);
        bytes::store(self.cells(start, end), bytemuck::cast_slice(slice));
    }

    /// Sets all elements to one value.
    ///
    /// ```
    /// let array = multiproc::SharedArray::new(3)?;
    /// array.fill(7_u64);
    /// assert_eq!(array.read(..), [7, 7, 7]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fill(&self, value: T) {
        let some = vec![value; self.len.min(CHUNK.div_ceil(size_of::<T>()))];
        let mut at = 0;
        while at < self.len {
            let count = some.len().min(self.len - at);
            self.copy_from_slice(at, &some[..count]);
            at += count;
        }
    }

    /// Returns a handle that can only read, here and wherever it is sent: see [`ReadOnly`].
    ///
    /// # Errors
    /// There is no descriptor or no address left, or no `/proc`.
    ///
    /// ```
    /// use multiproc::{Process, ReadOnly, SharedArray};
    ///
    /// fn sum(numbers: SharedArray<u32, ReadOnly>) -> u32 {
    ///     numbers.iter().sum()
    /// }
    ///
    /// let numbers = SharedArray::from_slice(&[1, 2, 3])?;
    /// assert_eq!(Process::new(sum, (numbers.read_only()?,)).start()?.join()?, 6);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn read_only(&self) -> Result<SharedArray<T, ReadOnly>> {
        let memory = self.memory.read_only()?;
        Ok(SharedArray { memory, offset: self.offset, len: self.len, element: PhantomData })
    }
}

/// Bytes that are copied at a time where it could be any number.
const CHUNK: usize = 4096;

impl<T: Pod, A: Access> SharedArray<T, A> {
    /// Makes an array of elements in shared memory.
    ///
    /// # Errors
    /// They do not all fit, or are not aligned.
    pub(super) fn part(
        memory: SharedMemory<A>,
        offset: usize,
        len: usize,
    ) -> Result<SharedArray<T, A>> {
        let size = size_of_elements::<T>(len)?;
        OutOfBounds::check(offset, size, memory.len())
            .map_err(|error| Cause::BadInput(error.to_string()))?;
        if !offset.is_multiple_of(align_of::<T>()) {
            let why = format!(
                "elements that are aligned to {} bytes cannot begin at {offset}",
                align_of::<T>()
            );
            return Err(Cause::BadInput(why).into());
        }
        Ok(SharedArray { memory, offset, len, element: PhantomData })
    }

    /// Returns how many elements there are.
    ///
    /// ```
    /// assert_eq!(multiproc::SharedArray::<u64>::new(3)?.len(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if there are none.
    ///
    /// ```
    /// assert!(multiproc::SharedArray::<u64>::new(0)?.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the memory that it lies in, at [`offset`](SharedArray::offset).
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1_u16, 2])?;
    /// assert_eq!(array.memory().len(), 4);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> &SharedMemory<A> {
        &self.memory
    }

    /// Returns where it begins in its memory, in bytes.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::new(64)?;
    /// assert_eq!(memory.array::<u32>(8, 2)?.offset(), 8);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns a copy of the element at `index`.
    ///
    /// # Panics
    /// There is none at `index`, as with an ordinary array.
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2])?;
    /// assert_eq!(array.get(1), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn get(&self, index: usize) -> T {
        self.check(index);
        let cells = self.memory.cells(self.offset + index * size_of::<T>(), size_of::<T>());
        let mut value = T::zeroed();
        bytes::load(cells, bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Returns a copy of the element at `index`, if there is one.
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2])?;
    /// assert_eq!((array.try_get(1), array.try_get(2)), (Some(2), None));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn try_get(&self, index: usize) -> Option<T> {
        (index < self.len).then(|| self.get(index))
    }

    /// Returns a copy of the elements in `range`.
    ///
    /// # Panics
    /// They are not all there, as with an ordinary array.
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2, 3])?;
    /// assert_eq!(array.read(1..), [2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn read(&self, range: impl RangeBounds<usize>) -> Vec<T> {
        let (start, end) = bounds(range, self.len);
        let mut elements = vec![T::zeroed(); end - start];
        bytes::load(self.cells(start, end), bytemuck::cast_slice_mut(&mut elements));
        elements
    }

    /// Copies as many elements from `at` on as `slice` has into it.
    ///
    /// # Panics
    /// There are not so many, as with an ordinary array.
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2, 3])?;
    /// let mut last = [0; 2];
    /// array.copy_to_slice(1, &mut last);
    /// assert_eq!(last, [2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[track_caller]
    pub fn copy_to_slice(&self, at: usize, slice: &mut [T]) {
        let (start, end) = bounds(at..at.saturating_add(slice.len()), self.len);
        bytes::load(self.cells(start, end), bytemuck::cast_slice_mut(slice));
    }

    /// Iterates over copies of all elements, each as it is when its turn comes.
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2, 3])?;
    /// assert_eq!(array.iter().rev().collect::<Vec<_>>(), [3, 2, 1]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + '_ {
        (0..self.len).map(|index| self.get(index))
    }

    /// Panics as an ordinary array does.
    #[inline]
    #[track_caller]
    fn check(&self, index: usize) {
        assert!(
            index < self.len,
            "index out of bounds: the length is {} but the index is {index}",
            self.len
        );
    }

    /// The cells of some elements, which are inside.
    fn cells(&self, start: usize, end: usize) -> &[std::sync::atomic::AtomicU8] {
        self.memory.cells(self.offset + start * size_of::<T>(), (end - start) * size_of::<T>())
    }
}

impl<T: Pod, A: Access> Clone for SharedArray<T, A> {
    fn clone(&self) -> Self {
        SharedArray {
            memory: self.memory.clone(),
            offset: self.offset,
            len: self.len,
            element: PhantomData,
        }
    }
}

impl<T: Pod + fmt::Debug, A: Access> fmt::Debug for SharedArray<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Pod, A: Access> Serialize for SharedArray<T, A> {
    /// As a descriptor, so only to a process.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.memory, self.offset, self.len).serialize(serializer)
    }
}

impl<'de, T: Pod, A: Access> Deserialize<'de> for SharedArray<T, A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (memory, offset, len) = <(SharedMemory<A>, usize, usize)>::deserialize(deserializer)?;
        SharedArray::part(memory, offset, len).map_err(D::Error::custom)
    }
}

impl<A: Access> SharedMemory<A> {
    /// `len` elements from `offset` on, as an array in the same memory.
    ///
    /// # Errors
    /// They do not all fit, or the offset is no multiple of their alignment.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::new(64)?;
    /// let numbers = memory.array::<u32>(8, 2)?;
    /// numbers.set(1, 7);
    /// assert_eq!(memory.array::<u32>(0, 16)?.get(3), 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn array<T: Pod>(&self, offset: usize, len: usize) -> Result<SharedArray<T, A>> {
        SharedArray::part(self.clone(), offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn elements_of_every_kind_come_out_as_they_went_in() {
        fn check<T: Pod + PartialEq + fmt::Debug>(elements: &[T]) {
            let array = SharedArray::from_slice(elements).expect("new");
            assert_eq!(array.read(..), elements);
            assert!(array.iter().eq(elements.iter().copied()));
            let parcel = codec::encode(&array).expect("encode");
            let other: SharedArray<T> = codec::decode(&parcel.bytes, parcel.fds).expect("decode");
            if let (Some(first), Some(last)) = (elements.first(), elements.last()) {
                other.set(0, *last);
                assert_eq!(array.get(0), *last);
                array.fill(*first);
                assert!(other.iter().all(|element| element == *first));
            }
        }
        check::<u64>(&[]);
        check(&[1_u8, 2, 3]);
        check(&[1.5_f32, -2.5]);
        check(&[[1_u8, 2, 3], [4, 5, 6]]);
        check(&[u128::MAX, 5]);
        check(&(0..10_000).collect::<Vec<u16>>());
    }

    #[test]
    fn arrays_that_are_not_there_are_refused() {
        let memory = SharedMemory::new(100).expect("new");
        let decoded = |offset: usize, len: usize| {
            let parcel = codec::encode(&(&memory, offset, len)).expect("encode");
            codec::decode::<SharedArray<u64>>(&parcel.bytes, parcel.fds).is_ok()
        };
        assert!(decoded(8, 11));
        for (offset, len) in
            [(8, 12), (4, 1), (104, 0), (usize::MAX, 1), (8, usize::MAX), (8, usize::MAX / 8)]
        {
            assert!(!decoded(offset, len), "{len} elements at {offset}");
        }
    }
}
