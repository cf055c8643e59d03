//! The directory in which a process starts: checked, made absolute, or made for it.

use std::path::PathBuf;

use super::children::private_dir::PrivateDir;
use crate::error::{Cause, Result, os};
use crate::start::ProcessSpec;
use crate::sys::program::environ::Environment;

/// The directory in which a process starts, and its private directory if it has one.
pub(super) struct WorkDir {
    pub(super) directory: Option<PathBuf>,
    /// The directory that was made for the process, removed on drop unless it is kept.
    pub(super) private: Option<PrivateDir>,
}

impl WorkDir {
    /// Checks the `directory` that was asked for, or makes a private one below `temporary`.
    ///
    /// A private directory becomes the working directory and the value of `TMPDIR` in
    /// `environment`, which is copied from this process's if it was `None`. Dropping the result
    /// removes the private directory, so a start that fails leaves nothing behind.
    ///
    /// # Errors
    /// `directory` is relative (this process's own working directory was gone when it was given);
    /// both kinds of directory are asked for; `mkdtemp` failed.
    pub(super) fn make(
        spec: &ProcessSpec,
        directory: Option<PathBuf>,
        temporary: Option<PathBuf>,
        environment: &mut Option<Environment>,
    ) -> Result<WorkDir> {
        if let Some(path) = directory.as_ref().filter(|path| !path.is_absolute()) {
            let text =
                format!("the working directory {path:?} of a process cannot be told from here");
            return Err(Cause::BadInput(text).into());
        }
        if !spec.limits.wants_dir() {
            return Ok(WorkDir { directory, private: None });
        }
        if directory.is_some() {
            let text = "a process cannot have a private directory and another one to work in";
            return Err(Cause::BadInput(text.to_owned()).into());
        }
        let parent = temporary.unwrap_or_else(temporary_directory);
        let made = PrivateDir::make(&parent)
            .map_err(os(format!("cannot make a private directory in {}", parent.display())))?;
        let variables = environment.get_or_insert_with(Environment::now);
        // Also in an environment that the user cleared: it is what the limit promises.
        variables.remove(|name| name == "TMPDIR");
        variables.push("TMPDIR".as_ref(), made.path().as_ref());
        Ok(WorkDir { directory: Some(made.path().to_owned()), private: Some(made) })
    }
}

/// Makes a path absolute by the working directory of this moment; leaves it as it is if it is
/// empty, or the working directory is gone.
pub(super) fn whole(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns the directory for temporary files as an absolute path: `TMPDIR`, or `/tmp`.
pub(crate) fn temporary_directory() -> PathBuf {
    let named = std::env::temp_dir();
    // A variable that is set to nothing names none.
    if named.as_os_str().is_empty() { PathBuf::from("/tmp") } else { whole(named) }
}
