//! Panics. A death is none, and what panics in a model ends it.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Panic;

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panic")
    }
}

pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    Ok(f())
}
