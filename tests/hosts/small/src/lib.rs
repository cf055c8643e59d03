//! A function so small that every crate that uses it has a copy of its own.

use multiproc::{Process, Result, StartMethod};

#[inline]
pub fn add(a: u32, b: u32) -> u32 {
    a + b
}

/// The same function as seen from this crate.
pub fn add_in_a_process(method: StartMethod, a: u32, b: u32) -> Result<u32> {
    Ok(Process::new(add, (a, b)).start_method(method).start()?.join()?)
}
