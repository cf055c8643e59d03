//! The size of shared memory, and what to say when there is none.

use std::io;

use bytemuck::Pod;

use crate::error::{Cause, Error, Result};

/// Returns how many bytes the elements take. Types without a size do not compile.
pub(super) fn size_of_elements<T: Pod>(len: usize) -> Result<usize> {
    const {
        assert!(size_of::<T>() > 0, "elements of shared memory have a size");
        assert!(align_of::<T>() <= 4096, "elements of shared memory are aligned to a page at most");
    }
    let size = len.checked_mul(size_of::<T>()).filter(|size| isize::try_from(*size).is_ok());
    size.ok_or_else(|| {
        Cause::BadInput(format!("{len} elements of {} bytes cannot be addressed", size_of::<T>()))
            .into()
    })
}

/// Words an error of the system.
pub(super) fn no_memory(size: usize, error: io::Error) -> Error {
    Error::os(format!("cannot make {size} bytes of shared memory"), error)
}
