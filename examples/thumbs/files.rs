//! The files that there are.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ENDINGS: [&str; 6] = ["bmp", "gif", "jpg", "jpeg", "png", "toy"];

/// A file that is called like a picture.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// What it is called: below its folder, and below that one's name if there are several.
    pub(crate) name: PathBuf,
    pub(crate) bytes: u64,
}

/// What was found below some folders.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The folders, with all links followed.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) files: Vec<File>,
    /// What could not be read, and why.
    pub(crate) unread: Vec<(PathBuf, io::Error)>,
    seen: HashSet<PathBuf>,
}

/// All pictures below `folders`, in the order of their names, each once. Links are not followed,
/// but those given. What is in `except` is left out.
pub(crate) fn find(folders: &[PathBuf], except: &[PathBuf]) -> Found {
    let mut found = Found::default();
    found.seen.extend(except.iter().filter_map(|path| path.canonicalize().ok()));
    let mut titles: Vec<OsString> = Vec::new();
    for given in folders {
        let folder = match given.canonicalize() {
            Ok(folder) => folder,
            Err(error) => {
                found.unread.push((given.clone(), error));
                continue;
            }
        };
        let mut title = PathBuf::new();
        if folders.len() > 1 {
            title =
                unique(folder.file_name().unwrap_or("root".as_ref()).to_owned(), &titles).into();
            titles.push(title.clone().into());
        }
        if found.look(&folder, &title) {
            found.folders.push(folder);
        }
    }
    found.files.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The title, with a number if there is one like it.
fn unique(title: OsString, titles: &[OsString]) -> OsString {
    let numbered = |number: usize| {
        let mut longer = title.clone();
        longer.push(format!("-{number}"));
        longer
    };
    let all = std::iter::once(title.clone()).chain((2..).map(numbered));
    all.into_iter().find(|title| !titles.contains(title)).unwrap_or_default()
}

impl Found {
    /// Takes in what is below a folder; whether that could be read.
    fn look(&mut self, folder: &Path, title: &Path) -> bool {
        let mut left = vec![(folder.to_owned(), title.to_owned())];
        let mut is_read = true;
        while let Some((path, name)) = left.pop() {
            if !self.seen.insert(path.clone()) {
                continue;
            }
            match fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => {
                    for entry in entries {
                        let name = name.join(entry.file_name());
                        match entry.file_type() {
                            Ok(kind) if kind.is_dir() => left.push((entry.path(), name)),
                            // To open a named pipe could take for ever.
                            Ok(kind) if kind.is_file() && is_picture(&name) => {
                                self.add(entry.path(), name)
                            }
                            _ => {}
                        }
                    }
                }
                Err(error) => {
                    is_read &= path != folder;
                    self.unread.push((path, error));
                }
            }
        }
        is_read
    }

    fn add(&mut self, path: PathBuf, name: PathBuf) {
        if self.seen.insert(path.clone()) {
            let bytes = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
            self.files.push(File { path, name, bytes });
        }
    }
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}
