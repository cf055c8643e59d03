//! Shared memory as ordinary slices, on the caller's word.
#![expect(unsafe_code, reason = "functions whose callers must promise something")]

use bytemuck::Pod;

use super::access::Access;
use super::array::SharedArray;
use super::memory::SharedMemory;

impl<A: Access> SharedMemory<A> {
    /// Borrows all bytes, without copies.
    ///
    /// # Safety
    /// As long as the slice lives, nobody writes to the memory, in no process that has it. Whoever
    /// has a writable handle must be trusted with that.
    ///
    /// ```
    /// let memory = multiproc::SharedMemory::new(3)?;
    /// // SAFETY: nobody else has it.
    /// assert_eq!(unsafe { memory.as_slice() }, [0, 0, 0]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped as long as the borrow lasts; the caller promises the rest.
        unsafe { std::slice::from_raw_parts(self.start(), self.len()) }
    }
}

impl SharedMemory {
    /// Borrows all bytes, to be changed in place.
    ///
    /// # Safety
    /// As long as the slice lives, nobody else reads or writes the memory, in no process that has
    /// it, and not by another handle in this one.
    ///
    /// ```
    /// let mut memory = multiproc::SharedMemory::new(3)?;
    /// // SAFETY: nobody else has it.
    /// unsafe { memory.as_mut_slice() }.fill(7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: mapped writable as long as the borrow lasts; the caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len()) }
    }
}

impl<T: Pod, A: Access> SharedArray<T, A> {
    /// Borrows all elements, without copies.
    ///
    /// # Safety
    /// As for [`SharedMemory::as_slice`].
    ///
    /// ```
    /// let array = multiproc::SharedArray::from_slice(&[1, 2, 3])?;
    /// // SAFETY: nobody else has it.
    /// assert_eq!(unsafe { array.as_slice() }, [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: the elements are inside the mapping and aligned, as was checked when the array
        // was made; any bytes are a value of `T`; the caller promises the rest.
        unsafe {
            std::slice::from_raw_parts(self.memory().start().add(self.offset()).cast(), self.len())
        }
    }
}

impl<T: Pod> SharedArray<T> {
    /// Borrows all elements, to be changed in place.
    ///
    /// # Safety
    /// As for [`SharedMemory::as_mut_slice`].
    ///
    /// ```
    /// let mut array = multiproc::SharedArray::from_slice(&[3, 1, 2])?;
    /// // SAFETY: nobody else has it.
    /// unsafe { array.as_mut_slice() }.sort();
    /// assert_eq!(array.read(..), [1, 2, 3]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and the mapping is writable.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory().start().add(self.offset()).cast(),
                self.len(),
            )
        }
    }
}
