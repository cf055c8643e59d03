//! A directory for one process, which goes with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::sys::random;

/// A new directory, removed with all that is in it unless it is kept.
#[derive(Debug)]
pub(crate) struct PrivateDir(Option<PathBuf>);

impl PrivateDir {
    /// Makes a directory with a random name in `place`, with the mode 0700: only this user can
    /// enter it.
    ///
    /// # Errors
    /// `place` is relative, is not there or cannot be written to; a hundred names were taken.
    pub(crate) fn make(place: &Path) -> io::Result<PrivateDir> {
        /// Number of names that are tried. 64 random bits do not collide by chance; somebody who
        /// guesses them might.
        const ATTEMPTS: u32 = 100;
        if !place.is_absolute() {
            // What it is relative to is gone.
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut tried = 0;
        loop {
            let name = format!("multiproc-{:016x}", u64::from_le_bytes(random::bytes()?));
            let path = place.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < ATTEMPTS => {
                    tried += 1
                }
                made => return made.map(|()| PrivateDir(Some(path))),
            }
        }
    }

    /// Returns its absolute path.
    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Returns the path, and leaves it to the caller to remove the directory.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_dir(path);
        }
    }
}
