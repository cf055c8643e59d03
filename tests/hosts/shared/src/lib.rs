//! A Rust library that is linked dynamically, and has multiproc in it, also the multiproc that the
//! program uses.

pub use multiproc;
use multiproc::{Process, Result, StartMethod};

pub fn triple(n: u32) -> u32 {
    3 * n
}

pub fn triple_in_a_process(method: StartMethod, n: u32) -> Result<u32> {
    Ok(Process::new(triple, (n,)).start_method(method).start()?.join()?)
}
