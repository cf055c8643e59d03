//! Shared slices out of iterators.

use bytemuck::Pod;

use super::buffer::SharedBuffer;
use super::slice::SharedSlice;
use crate::error::Result;

impl<T: Pod> SharedSlice<T> {
    /// Makes constant memory of the elements that an iterator gives. (`collect` could not say that
    /// there is no memory.)
    ///
    /// # Errors
    /// As for [`from_slice`](SharedSlice::from_slice).
    ///
    /// ```
    /// let odd = multiproc::SharedSlice::try_from_iter((0..10).filter(|n| n % 2 == 1))?;
    /// assert_eq!(*odd, [1, 3, 5, 7, 9]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_from_iter(elements: impl IntoIterator<Item = T>) -> Result<SharedSlice<T>> {
        let mut elements = elements.into_iter();
        let (least, most) = elements.size_hint();
        // Of an iterator that does not know how many it gives, the length of the memory is not
        // known either.
        if most != Some(least) {
            return SharedSlice::from_slice(&elements.collect::<Vec<T>>());
        }
        let mut buffer = SharedBuffer::new(least)?;
        let mut count = 0;
        for (place, element) in buffer.iter_mut().zip(elements.by_ref()) {
            *place = element;
            count += 1;
        }
        // An iterator may promise too little or too much.
        let more: Vec<T> = elements.collect();
        if more.is_empty() {
            return Ok(buffer.freeze()?.slice(..count));
        }
        SharedSlice::from_slice(&[&buffer[..count], &more].concat())
    }
}
