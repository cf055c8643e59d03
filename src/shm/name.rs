//! Names of shared memory, which last as long as whoever gave them.
//!
//! # Order
//! 1. The name is entered into this process's list, so that there is no moment in which nobody
//!    would remove it.
//! 2. The link is made.
//! 3. At the drop of the handle, the list forgets it, then the link goes.
//!
//! A process that leaves by `exit` removes what is left in its list; one that is killed leaves a
//! link that leads nowhere, and whoever comes across it removes it (`sys::ipc::names`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Cause, Error, Result};
use crate::sys::ipc::names;
use crate::sys::memory::shared::SharedFile;
use crate::sys::per_process::{Generation, PerProcess};
use crate::sys::process::exit;
use crate::unwind;

/// A name, and the mark of the memory that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) text: String,
    mark: String,
}

/// The names that this process gave, by their marks.
static GIVEN: PerProcess<Mutex<BTreeMap<String, Name>>> = PerProcess::new();

impl Name {
    /// Makes memory of `size` bytes and gives it a name, for as long as the result's second half
    /// lives.
    pub(super) fn create(text: &str, size: usize) -> Result<(SharedFile, Given)> {
        check(text)?;
        let mark = names::new_mark().map_err(|error| Error::os("no random number", error))?;
        let file = SharedFile::create(&names::file_name(&mark), size);
        let file = file.map_err(|error| super::size::no_memory(size, error))?;
        let name = Name { text: text.to_owned(), mark };
        // Before the name is there, so that there is no moment in which nobody would remove it.
        let given = Given::new(name);
        let published = names::publish(&given.name.text, &given.name.mark, file.fd().as_fd());
        published.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::os(format!("shared memory {text:?} exists already"), error)
            }
            _ => Error::os(format!("cannot give shared memory the name {text:?}"), error),
        })?;
        Ok((file, given))
    }

    /// `create`, by the first of the names that `next` gives which does not exist.
    pub(super) fn create_first(
        mut next: impl FnMut() -> Result<String>,
        size: usize,
    ) -> Result<(SharedFile, Given)> {
        /// More than chance can explain.
        const ATTEMPTS: usize = 100;
        let mut tries = 0;
        loop {
            tries += 1;
            match Name::create(&next()?, size) {
                Err(error) if is_taken(&error) && tries < ATTEMPTS => {}
                created => return created,
            }
        }
    }

    /// Makes a name that nobody has chosen: `mp_` and 8 hexadecimal digits.
    pub(super) fn generate() -> Result<String> {
        let mark = names::new_mark().map_err(|error| Error::os("no random number", error))?;
        Ok(format!("mp_{}", &mark[..8]))
    }

    /// Opens the memory that has a name.
    pub(super) fn attach(text: &str) -> Result<(SharedFile, Name)> {
        check(text)?;
        let opened =
            names::open(text).and_then(|(fd, mark)| Ok((SharedFile::open(fd.into())?, mark)));
        let (file, mark) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::os(format!("there is no shared memory {text:?}"), error)
            }
            _ => Error::os(format!("cannot attach to shared memory {text:?}"), error),
        })?;
        Ok((file, Name { text: text.to_owned(), mark }))
    }

    /// Takes the name away from the memory.
    pub(super) fn unlink(&self) -> Result<()> {
        let text = &self.text;
        // One that somebody sent may hold anything.
        check(text)?;
        names::withdraw(text, &self.mark).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::os(format!("shared memory {text:?} has no such name any more"), error)
            }
            _ => Error::os(format!("cannot remove the name {text:?} of shared memory"), error),
        })
    }
}

/// Returns `true` if an error says that a name exists.
fn is_taken(error: &Error) -> bool {
    error.os_error().is_some_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

/// Checks that something can be a name at all: it is one component of a path.
fn check(text: &str) -> Result<()> {
    let why = match text {
        "" => "is empty",
        _ if text.contains('\0') => "has a NUL in it",
        _ if text.contains('/') => "has a '/' in it",
        _ if text.starts_with('.') => "begins with a dot",
        _ if text.len() > names::LONGEST => "is longer than 200 bytes",
        _ => return Ok(()),
    };
    Err(Cause::BadInput(format!("the name {text:?} of shared memory {why}")).into())
}

/// A name that this process gave; the name goes with it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: Name,
    /// A forked copy removes nothing.
    owner: Generation,
}

impl Given {
    /// Enters a name into this process's list.
    fn new(name: Name) -> Given {
        /// Removes the names when this process leaves with them, in each process anew.
        fn given() -> &'static Mutex<BTreeMap<String, Name>> {
            GIVEN.get_or_init(|_| {
                exit::also_at_exit(leaving);
                Mutex::default()
            })
        }
        given()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.mark.clone(), name.clone());
        Given { name, owner: Generation::current() }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if self.owner != Generation::current() {
            return;
        }
        if let Some(given) = GIVEN.get() {
            given.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name.mark);
        }
        // It may be somebody else's by now: the mark tells, and then it stays.
        let _ = self.name.unlink();
    }
}

/// Removes what names are left.
extern "C" fn leaving() {
    // Nothing may unwind into the C library.
    let _ = unwind::catch(|| {
        let Some(given) = GIVEN.get() else { return };
        let left = std::mem::take(&mut *given.lock().unwrap_or_else(PoisonError::into_inner));
        for name in left.values() {
            let _ = name.unlink();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_that_is_taken_is_not_the_last() {
        let taken = Name::generate().expect("generate");
        let (_file, _given) = Name::create(&taken, 10).expect("create");
        let free = Name::generate().expect("generate");
        let mut names = [taken.clone(), taken.clone(), free.clone()].into_iter();
        let (_, given) =
            Name::create_first(|| Ok(names.next().expect("a name")), 10).expect("create");
        assert_eq!(given.name.text, free);
        let error =
            Name::create_first(|| Ok(taken.clone()), 10).expect_err("only one that is taken");
        assert!(is_taken(&error), "{error}");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for text in ["", "a\0b", "a/b", "/a", ".", "..", ".hidden", &"x".repeat(201)] {
            let error = Name::create(text, 10).expect_err("created");
            assert!(error.to_string().contains("of shared memory"), "{error}");
            assert!(Name::attach(text).is_err());
            let sent = Name { text: text.to_owned(), mark: "m".to_owned() };
            assert!(sent.unlink().expect_err("unlinked").os_error().is_none());
        }
    }
}
