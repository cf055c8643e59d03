//! This program's own file, and how it is executed again.
//!
//! Mostly it is `/proc/self/exe`. Three cases differ: the loader was executed and told to run our
//! file (`ld.so ./program`); a tool runs the program without the kernel knowing (an emulator,
//! valgrind); an overlay shows the file by other numbers where it is mapped. So the file that this
//! code is mapped from is compared with the one that was executed.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sys::fd::{self, FileId};

/// The file that the kernel executed for this process, also after it was replaced or deleted on
/// disk.
const EXECUTED: &str = "/proc/self/exe";

/// The file that this code is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnFile {
    /// By which a child is known to run the same code.
    pub(crate) id: FileId,
    /// If the kernel executed the loader, which was told to run our file: how to tell it again.
    pub(crate) loader: Option<Loader>,
}

/// The command that tells the loader to run our file, by a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loader {
    /// Its command line, from its own name to the path.
    pub(crate) command: Vec<CString>,
    path: PathBuf,
    /// The file that the path led to when this was found out.
    file: FileId,
}

/// Returns this program's file.
///
/// # Errors
/// It cannot be executed again; the error says what is in the way.
pub(crate) fn own() -> io::Result<&'static OwnFile> {
    static OWN: OnceLock<OwnFile> = OnceLock::new();
    let own = match OWN.get() {
        Some(own) => own,
        None => {
            let own = find()?;
            OWN.get_or_init(|| own)
        }
    };
    own.loader.as_ref().map_or(Ok(()), Loader::check)?;
    Ok(own)
}

impl Loader {
    /// Finds out how the loader was told to run `path`.
    ///
    /// # Errors
    /// The path leads nowhere, or the command line was overwritten.
    fn new(path: PathBuf) -> io::Result<Loader> {
        let file = file_at(&path)?;
        let command = loader_command(&path).ok_or_else(|| {
            let why = format!(
                "it is the loader that runs this program, {}, but not told how",
                path.display()
            );
            io::Error::new(io::ErrorKind::NotFound, why)
        })?;
        Ok(Loader { command, path, file })
    }

    /// An error if the path does not lead to our file any more: the loader would run what is there
    /// now.
    fn check(&self) -> io::Result<()> {
        if file_at(&self.path)? == self.file {
            return Ok(());
        }
        let why = format!(
            "it is the loader that runs this program, {}, which was replaced",
            self.path.display()
        );
        Err(io::Error::new(io::ErrorKind::NotFound, why))
    }
}

/// Looks at the file that the loader runs, and words an error.
fn file_at(path: &Path) -> io::Result<FileId> {
    FileId::at(path).map_err(|error| {
        let why = format!(
            "it is the loader that runs this program, {}, which cannot be found: {error}",
            path.display()
        );
        io::Error::new(error.kind(), why)
    })
}

/// Returns `true` if this process runs the file that `id` names.
pub(crate) fn is_own(id: FileId) -> bool {
    FileId::at(EXECUTED).is_ok_and(|executed| executed == id)
        || mapped().is_ok_and(|mapped| mapped.id == id)
}

/// Compares the file that was executed with the one that this code is mapped from.
fn find() -> io::Result<OwnFile> {
    let executed = FileId::at(EXECUTED).map_err(fd::in_proc)?;
    let ordinary = OwnFile { id: executed, loader: None };
    let mapped = match mapped() {
        Ok(mapped) => mapped,
        // A program may have moved its code into memory of another kind.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ordinary),
        Err(error) => return Err(error),
    };
    if executed.inode == mapped.id.inode {
        return Ok(ordinary);
    }
    // The kernel may know a file (of an overlay) by other numbers where it is mapped.
    let is_same = match FileId::at(&mapped.path) {
        Ok(file) => file == executed,
        // Deleted, as both names say.
        Err(_) => std::fs::read_link(EXECUTED).is_ok_and(|path| path == mapped.path),
    };
    if is_same {
        return Ok(ordinary);
    }
    // SAFETY: getauxval has no preconditions.
    let loader_was_executed = unsafe { libc::getauxval(libc::AT_BASE) } == 0;
    if !loader_was_executed {
        let path = mapped.path.display();
        let why =
            format!("it is not this program's file, which is {path} (a tool seems to run that)");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(OwnFile { id: mapped.id, loader: Some(Loader::new(mapped.path)?) })
}

/// The command line that had the loader run our file: what stands before this program's own
/// arguments, with the path in the place of the first. Nothing if it was overwritten.
fn loader_command(program: &Path) -> Option<Vec<CString>> {
    let line = std::fs::read("/proc/self/cmdline").ok()?;
    let words: Vec<&[u8]> = line.strip_suffix(&[0])?.split(|byte| *byte == 0).collect();
    let own = words.len().checked_sub(std::env::args_os().count()).filter(|own| *own > 0)?;
    let command = words[..own].iter().copied().chain([program.as_os_str().as_bytes()]);
    command.map(|word| CString::new(word).ok()).collect()
}

/// A file as the kernel knows it where it is mapped.
#[derive(Debug)]
struct Mapped {
    id: FileId,
    path: PathBuf,
}

/// Finds the file that this very code is mapped from, in `/proc/self/maps`.
fn mapped() -> io::Result<Mapped> {
    let here = mapped as *const () as u64;
    let mut maps = BufReader::new(File::open("/proc/self/maps")?);
    let mut line = Vec::new();
    while maps.read_until(b'\n', &mut line)? > 0 {
        if let Some(mapped) = line.strip_suffix(b"\n").and_then(|line| parse(line, here)) {
            return Ok(mapped);
        }
        line.clear();
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "this program's code is not mapped from any file"))
}

/// A line of `/proc/self/maps`, if it is that of the mapping which `address` is in: `start-end
/// permissions offset major:minor inode   path`, the numbers but the inode in hexadecimal.
fn parse(line: &[u8], address: u64) -> Option<Mapped> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let (start, end) = text()?.split_once('-')?;
    if !(hexadecimal(start)?..hexadecimal(end)?).contains(&address) {
        return None;
    }
    let (_permissions, _offset) = (text()?, text()?);
    let (major, minor) = text()?.split_once(':')?;
    let (major, minor) =
        (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = text()?.parse().ok().filter(|inode| *inode != 0)?;
    let path = fields.next()?.trim_ascii_start();
    Some(Mapped {
        id: FileId { device: rustix::fs::makedev(major, minor), inode },
        path: PathBuf::from(OsStr::from_bytes(&without_escapes(path))),
    })
}

/// A path as it is: there, a line feed in it is written as `\012`.
fn without_escapes(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\012");
        plain.push(if escaped.is_some() { b'\n' } else { *first });
        rest = escaped.unwrap_or(behind);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_path_holds() {
        let line =
            b"55d0-55d8 r-xp 00001000 fe:01 10371094                   /tmp/a b\\012c (deleted)";
        let mapped = parse(line, 0x55d7).expect("its address");
        assert_eq!(mapped.id, FileId { device: rustix::fs::makedev(0xfe, 1), inode: 10_371_094 });
        assert_eq!(mapped.path, Path::new("/tmp/a b\nc (deleted)"));
        assert!(parse(line, 0x55d8).is_none());
        for line in [
            "",
            "5",
            "55d0-55d8",
            "55d0-55d8 r-xp 0 0:0 0",
            "55d0-55d8 r-xp 00000000 00:00 0 ",
            "x-y z",
        ] {
            assert!(parse(line.as_bytes(), 0x55d1).is_none(), "{line:?}");
        }
    }

    #[test]
    fn an_ordinary_process_runs_what_was_executed() {
        let own = own().expect("a file");
        assert!(own.loader.is_none());
        assert!(is_own(own.id));
        assert!(!is_own(FileId { inode: own.id.inode + 1, ..own.id }));
    }
}
