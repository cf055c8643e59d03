//! Memory of one process, to be frozen and then shared.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytemuck::Pod;

use super::pool::{self, Contents};
use super::size::{no_memory, size_of_elements};
use super::slice::SharedSlice;
use crate::error::{Error, Result};
use crate::sys::memory::exclusive::Exclusive;

/// A slice of fixed length that one process fills in, and then [freezes](SharedBuffer::freeze) into
/// a [`SharedSlice`], which goes to other processes without being copied.
///
/// Until then nobody else has the memory, so it is an ordinary `[T]` with everything that belongs
/// to one. Memory of buffers that are dropped without being frozen is kept for the next ones (up to
/// 64 MiB in 4 parts, each with a descriptor).
///
/// A forked copy of the process does not own the memory: there, using the buffer panics, and
/// freezing it is an error. (Each use looks whether this is a copy; in a loop that should be quick,
/// use `&mut buffer[..]`.) Slices that were borrowed before, for ever (`Box::leak`), stay valid in
/// a copy that this library makes: it sees what was there when it was made, and what either process
/// writes later is its own. A buffer that was in use then is copied when it is frozen. Where other
/// code forks (`libc::fork`), such slices lead nowhere in the copy.
///
/// ```
/// use multiproc::{Process, SharedBuffer, SharedSlice};
///
/// fn squares(count: usize) -> SharedSlice<u64> {
///     let mut buffer = SharedBuffer::new(count).expect("memory");
///     for (square, n) in buffer.iter_mut().zip(0..) {
///         *square = n * n;
///     }
///     buffer.freeze().expect("memory")
/// }
///
/// let squares = Process::new(squares, (1_000_000,)).start()?.join()?;
/// assert_eq!(squares[999_999], 999_999 * 999_999);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct SharedBuffer<T: Pod> {
    /// At least as many bytes as the elements take; nothing if there are none.
    memory: Option<Exclusive>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> SharedBuffer<T> {
    /// Makes a buffer of `len` elements, all zero. The kernel takes pages as they are written to.
    ///
    /// # Errors
    /// There is no memory, no descriptor or no address left, or this process may not have files of
    /// that size (`RLIMIT_FSIZE`). More elements than can be addressed are an error, too.
    ///
    /// ```
    /// let mut buffer = multiproc::SharedBuffer::<f64>::new(3)?;
    /// buffer[1] = 0.5;
    /// assert_eq!(*buffer, [0.0, 0.5, 0.0]);
    /// assert!(multiproc::SharedBuffer::<f64>::new(usize::MAX).is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new(len: usize) -> Result<SharedBuffer<T>> {
        SharedBuffer::take(len, Contents::Zeroed)
    }

    /// Makes a buffer with a copy of a slice.
    ///
    /// # Errors
    /// As for [`new`](SharedBuffer::new).
    ///
    /// ```
    /// let mut buffer = multiproc::SharedBuffer::from_slice(&[3, 1, 2])?;
    /// buffer.sort();
    /// assert_eq!(*buffer, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn from_slice(slice: &[T]) -> Result<SharedBuffer<T>> {
        let mut buffer = SharedBuffer::take(slice.len(), Contents::Any)?;
        buffer.copy_from_slice(slice);
        Ok(buffer)
    }

    /// Takes memory, used or new. There is none for no elements: the kernel maps nothing of no
    /// length.
    fn take(len: usize, contents: Contents) -> Result<SharedBuffer<T>> {
        let size = size_of_elements::<T>(len)?;
        let memory = if size == 0 {
            None
        } else {
            // Used memory, which is warm, or new.
            Some(pool::take(size, contents).map_err(|error| no_memory(size, error))?)
        };
        Ok(SharedBuffer { memory, len, element: PhantomData })
    }

    /// Makes the contents constant for ever: after this, the kernel lets nobody write to them, this
    /// process included.
    ///
    /// Nothing is copied. (Only if this process was forked while it had the buffer, or if somebody
    /// else can write to the memory, such as a device that a direct transfer was started with, it
    /// is a copy that becomes constant.)
    ///
    /// # Errors
    /// There is no memory or no address left, or this is a forked copy of the process that has the
    /// buffer. The buffer is gone then.
    ///
    /// ```
    /// let slice = multiproc::SharedBuffer::from_slice(b"constant")?.freeze()?;
    /// assert_eq!(&*slice, b"constant");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn freeze(mut self) -> Result<SharedSlice<T>> {
        // Taken out first, so that the drop does not give it to the next buffer.
        let Some(memory) = self.memory.take() else { return Ok(SharedSlice::default()) };
        let size = self.len * size_of::<T>();
        let frozen =
            memory.freeze(size).map_err(|error| Error::os("cannot freeze shared memory", error))?;
        Ok(SharedSlice::whole(Arc::new(frozen)))
    }
}

impl<T: Pod> Deref for SharedBuffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.memory {
            Some(memory) => bytemuck::cast_slice(&memory.bytes()[..self.len * size_of::<T>()]),
            None => &[],
        }
    }
}

impl<T: Pod> DerefMut for SharedBuffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Some(memory) => {
                bytemuck::cast_slice_mut(&mut memory.bytes_mut()[..self.len * size_of::<T>()])
            }
            None => &mut [],
        }
    }
}

impl<T: Pod> Drop for SharedBuffer<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            pool::give_back(memory);
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_all_sizes_freeze_into_what_was_written() {
        for len in [0, 1, 7, 511, 512, 513, 100_000] {
            let mut buffer = SharedBuffer::<u64>::new(len).expect("new");
            assert!(buffer.iter().all(|element| *element == 0));
            buffer.iter_mut().zip(1..).for_each(|(element, n)| *element = n);
            let frozen = buffer.freeze().expect("freeze");
            assert_eq!(frozen.len(), len);
            assert!(frozen.iter().copied().eq(1..=len as u64));
        }
    }

    #[test]
    fn elements_of_any_size_and_alignment() {
        let elements = [[1_u8, 2, 3], [4, 5, 6]];
        assert_eq!(
            *SharedBuffer::from_slice(&elements).expect("new").freeze().expect("freeze"),
            elements
        );
        assert_eq!(
            *SharedBuffer::from_slice(&[1_u128, 2]).expect("new").freeze().expect("freeze"),
            [1, 2]
        );
    }

    #[test]
    fn used_memory_shows_nothing_of_what_it_was_used_for() {
        let len = 300_000;
        drop(SharedBuffer::from_slice(&vec![0xff_u8; len]).expect("new"));
        let buffer = SharedBuffer::<u8>::new(len - 1000).expect("new");
        let frozen = buffer.freeze().expect("freeze");
        assert!(frozen.iter().all(|byte| *byte == 0));
        assert_eq!(frozen.file_length(), Some(len - 1000), "what is behind the end goes along");
    }

    #[test]
    fn sizes_that_cannot_be_are_errors() {
        assert!(
            SharedBuffer::<u64>::new(usize::MAX)
                .expect_err("overflow")
                .to_string()
                .contains("addressed")
        );
        let error = SharedBuffer::<u8>::new(isize::MAX.unsigned_abs()).expect_err("no such memory");
        assert!(error.os_error().is_some(), "{error}");
    }
}
