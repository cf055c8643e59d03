//! The environment that a process gets, as its builder collects it.
//!
//! What is collected is a list of changes and not an environment: the process has this one's as it
//! is at the start, which another thread may change until then.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::error::{Cause, Result};
use crate::start::boot;
use crate::sys::program::environ::Environment;

/// The differences between a process's environment and this one's.
#[derive(Debug, Default)]
pub(super) struct EnvironmentChange {
    pub(super) clear: bool,
    /// A value to set, or `None` to remove.
    pub(super) variables: BTreeMap<OsString, Option<OsString>>,
}

impl EnvironmentChange {
    /// Sets a variable that is neither set nor removed yet.
    pub(super) fn set_default(&mut self, name: &str, value: &str) {
        self.variables.entry(name.into()).or_insert_with(|| Some(value.into()));
    }

    /// Makes the environment, or `None` if there is nothing to change.
    ///
    /// # Errors
    /// A name is empty, has a `=` or a zero byte, or is the library's own; a value has a zero byte
    /// (`environ(7)` has no form for them).
    pub(super) fn apply(&self) -> Result<Option<Environment>> {
        for (name, value) in &self.variables {
            let bad = name.is_empty()
                || name == boot::VARIABLE
                || name.as_bytes().iter().any(|byte| matches!(byte, 0 | b'='))
                || value.as_ref().is_some_and(|value| value.as_bytes().contains(&0));
            if bad {
                let text = format!("{name:?} with its value cannot be an environment variable");
                return Err(Cause::BadInput(text).into());
            }
        }
        if !self.clear && self.variables.is_empty() {
            return Ok(None);
        }
        let mut environment = if self.clear { Environment::default() } else { Environment::now() };
        environment.remove(|name| self.variables.contains_key(name));
        for (name, value) in &self.variables {
            if let Some(value) = value {
                environment.push(name, value);
            }
        }
        Ok(Some(environment))
    }
}
