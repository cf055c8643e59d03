//! Removes a folder with all that is in it, whatever its depth and size, step by step.
//!
//! The folder may have been left by hostile code: nested so deep that recursion would overflow the
//! stack, with paths longer than the kernel takes, without the rights to enter or change it, and
//! with writers that are still alive. So there is no recursion and no path: what is nested is moved
//! up into the outermost folder, which is emptied until nothing is left. Links are removed and
//! never followed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// The rights that emptying a folder takes: the owner's.
const ALL: Mode = Mode::RWXU;

/// A removal that was begun.
#[derive(Debug)]
pub(crate) struct Removal {
    path: PathBuf,
    root: OwnedFd,
    /// Number of folders that were moved up: the next one's name.
    moved: u64,
}

/// The rest of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Nothing,
    /// The steps that were allowed are used up.
    Some,
}

/// The outcome of one pass over the outermost folder: numbers of entries seen and removed, and the
/// first error.
#[derive(Default)]
struct Pass {
    seen: u64,
    removed: u64,
    refused: Option<Errno>,
}

impl Pass {
    /// Counts an entry: one that somebody else removed counts as removed.
    fn note(&mut self, done: Result<(), Errno>) {
        match done {
            Ok(()) | Err(Errno::NOENT) => self.removed += 1,
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
    }
}

impl Removal {
    /// Begins with the folder at `path`; `None` if it is gone.
    pub(crate) fn begin(path: PathBuf) -> io::Result<Option<Removal>> {
        match open(CWD, &path) {
            Ok(root) => Ok(Some(Removal { path, root, moved: 0 })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the folder's path, for an error.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes on for `steps` steps, each a few system calls.
    ///
    /// 1. Remove each entry of the outermost folder. A folder that is not empty is emptied first,
    ///    one level deep: what is nested in it is moved up, under a new name.
    /// 2. If the pass saw nothing, remove the outermost folder.
    /// 3. Otherwise begin again, unless nothing could be removed.
    ///
    /// Each pass lowers the depth by one, so it ends, unless somebody writes to the tree all the
    /// time: hence the steps.
    ///
    /// # Errors
    /// Something cannot be removed. All that can is gone.
    pub(crate) fn go_on(&mut self, mut steps: u64) -> io::Result<Rest> {
        loop {
            let mut pass = Pass::default();
            for entry in Dir::read_from(&self.root)? {
                let entry = entry?;
                let name = entry.file_name();
                if is_self_or_parent(name.to_bytes()) {
                    continue;
                }
                if steps == 0 {
                    return Ok(Rest::Some);
                }
                pass.seen += 1;
                self.remove(name, &mut pass, &mut steps);
            }
            if pass.seen == 0 {
                return match fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => Ok(Rest::Nothing),
                    // Somebody still writes there.
                    Err(Errno::NOTEMPTY | Errno::EXIST) => continue,
                    Err(error) => Err(error.into()),
                };
            }
            if steps == 0 {
                return Ok(Rest::Some);
            }
            if pass.removed == 0 {
                return Err(pass.refused.unwrap_or(Errno::NOTEMPTY).into());
            }
        }
    }

    /// Removes an entry of the outermost folder; of a folder, all that is in it at first.
    fn remove(&mut self, name: &std::ffi::CStr, pass: &mut Pass, steps: &mut u64) {
        let refused = match unlink(self.root.as_fd(), name) {
            Err(refused @ (Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS | Errno::PERM)) => {
                refused
            }
            done => {
                *steps -= 1;
                return pass.note(done);
            }
        };
        let opened = open(self.root.as_fd(), name).map_err(|error| no_folder(error, refused));
        let emptied = opened.and_then(|folder| self.empty(folder.as_fd(), pass, steps));
        match emptied {
            Ok(()) => {
                if let Err(error) = unlink(self.root.as_fd(), name) {
                    // It is not empty yet if the steps were used up; what was refused is noted.
                    if error != Errno::NOTEMPTY {
                        pass.note(Err(error));
                    }
                } else {
                    pass.removed += 1;
                }
            }
            Err(error) => pass.note(Err(error)),
        }
    }

    /// Removes what is in a folder, and moves the folders in it that are not empty up.
    fn empty(
        &mut self,
        folder: BorrowedFd<'_>,
        pass: &mut Pass,
        steps: &mut u64,
    ) -> Result<(), Errno> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_self_or_parent(name.to_bytes()) {
                continue;
            }
            if *steps == 0 {
                break;
            }
            *steps -= 1;
            match unlink(folder, name) {
                Err(refused @ (Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS | Errno::PERM)) => {
                    // To move a folder changes what `..` in it is, which takes the right to write
                    // to it.
                    let opened = open(folder, name).map_err(|error| no_folder(error, refused));
                    pass.note(opened.and_then(|_| self.move_up(folder, name)));
                }
                done => pass.note(done),
            }
        }
        Ok(())
    }

    /// Moves a folder up into the outermost one, under a name that is free (`RENAME_NOREPLACE`).
    fn move_up(&mut self, folder: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Errno> {
        loop {
            let to = format!("multiproc-removed-{}", self.moved);
            self.moved += 1;
            match fs::renameat_with(folder, name, &self.root, to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                done => return done,
            }
        }
    }
}

/// Returns `true` if an entry is the folder itself or its parent.
fn is_self_or_parent(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Why something is left: if it is no folder, why it could not be removed.
fn no_folder(error: Errno, refused: Errno) -> Errno {
    if matches!(error, Errno::NOTDIR | Errno::LOOP) { refused } else { error }
}

/// Removes what is no folder, or an empty one.
fn unlink(folder: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Errno> {
    match fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
        done => done,
    }
}

/// Opens a folder, and takes all rights in it if it is ours to take.
fn open(at: BorrowedFd<'_>, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // By a descriptor that takes no rights, so that no link that came in its place is
            // followed.
            let found = fs::openat(at, name, flags | OFlags::PATH, Mode::empty())?;
            fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), ALL)?;
            fs::openat(at, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    if !Mode::from_raw_mode(fs::fstat(&folder)?.st_mode).contains(ALL) {
        let _ = fs::fchmod(&folder, ALL);
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("multiproc-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a new folder");
        path
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let kept = folder("kept");
        std::fs::write(kept.join("file"), "x").expect("write");
        let path = folder("links");
        std::os::unix::fs::symlink(&kept, path.join("link")).expect("link");
        std::fs::create_dir(path.join("inner")).expect("folder");
        std::os::unix::fs::symlink(&kept, path.join("inner/link")).expect("link");
        let mut removal = Removal::begin(path.clone()).expect("begin").expect("it is there");
        assert_eq!(removal.go_on(u64::MAX).expect("removed"), Rest::Nothing);
        assert!(!path.exists() && kept.join("file").exists());
        std::fs::remove_dir_all(kept).expect("remove");
        assert!(Removal::begin(path).expect("begin").is_none());
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        let path = folder("steps");
        for inner in ["a/b/c", "d/e"] {
            std::fs::create_dir_all(path.join(inner)).expect("folders");
            std::fs::write(path.join(inner).join("file"), "x").expect("write");
        }
        let mut removal = Removal::begin(path.clone()).expect("begin").expect("it is there");
        let mut rounds = 0;
        while removal.go_on(1).expect("a step") == Rest::Some {
            rounds += 1;
        }
        assert!(rounds > 3 && !path.exists(), "{rounds} rounds");
    }
}
