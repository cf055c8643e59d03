//! Generic functions, which are compiled in the crate that uses them.

use std::collections::BTreeMap;

use multiproc::{Process, Result, StartMethod};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How often each value occurs.
pub fn count<T: Ord>(values: Vec<T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// The same, in a process.
pub fn count_in_a_process<T>(method: StartMethod, values: Vec<T>) -> Result<BTreeMap<T, usize>>
where
    T: Ord + Serialize + DeserializeOwned,
{
    Ok(Process::new(count::<T>, (values,)).start_method(method).start()?.join()?)
}
