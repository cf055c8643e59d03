//! The environment, as it crosses to a child: byte for byte (`environ(7)`).
//!
//! Read and replaced through the C library's `environ`, not `std::env`, which loses what is no
//! variable.

use std::ffi::{CStr, OsStr, c_char};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

unsafe extern "C" {
    /// The C library's: an array of strings that ends with a null pointer, or null for an empty
    /// environment.
    static mut environ: *const *const c_char;
}

/// A whole environment: its entries in their order, each with a NUL behind it.
///
/// Most entries are `name=value`. Others (without a `=`, with an empty name, with a name that
/// stands twice) have no meaning for `getenv`, but belong to the environment, so they are kept as
/// they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<u8>);

impl Environment {
    /// Returns this process's, as it is now.
    pub(crate) fn now() -> Environment {
        let mut block = Vec::with_capacity(4096);
        // SAFETY: the C library's array of C strings. Nobody changes it meanwhile: who calls
        // `setenv`, or `std::env::set_var`, promises that no other thread reads the environment, as
        // `getenv` would.
        unsafe {
            let mut entry = (&raw const environ).read_volatile();
            while !entry.is_null() && !(*entry).is_null() {
                block.extend_from_slice(CStr::from_ptr(*entry).to_bytes_with_nul());
                entry = entry.add(1);
            }
        }
        Environment(block)
    }

    /// Iterates over the entries, without the NULs behind them.
    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split_inclusive(|byte| *byte == 0)
            .map(|entry| entry.strip_suffix(&[0]).unwrap_or(entry))
    }

    /// Removes every entry whose name `is_unwanted`.
    pub(crate) fn remove(&mut self, is_unwanted: impl Fn(&OsStr) -> bool) {
        let mut block = Vec::with_capacity(self.0.len());
        for entry in self
            .entries()
            .filter(|entry| !name(entry).is_some_and(|name| is_unwanted(OsStr::from_bytes(name))))
        {
            block.extend_from_slice(entry);
            block.push(0);
        }
        self.0 = block;
    }

    /// Puts a variable behind the others. The caller has removed what stood there under that name,
    /// and knows that neither name nor value holds a NUL.
    pub(crate) fn push(&mut self, name: &OsStr, value: &OsStr) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
    }

    /// Makes it the environment of this process. Only for a process without other threads of its
    /// own, at its beginning.
    pub(crate) fn install(self) {
        if self == Environment::now() {
            return;
        }
        // Neither is ever freed: somebody may hold what `getenv` gave.
        let block: &'static [u8] = self.0.leak();
        let entries: &'static [*const c_char] = pointers(block).leak();
        // SAFETY: one store; a null-terminated array of C strings that live for ever. What other
        // threads of an initialiser read meanwhile is the old array or the new one, and both are
        // whole.
        unsafe { (&raw mut environ).write_volatile(entries.as_ptr()) };
    }

    /// Returns its entries as `execve(2)` takes them, with `first` before them. They point into
    /// both.
    pub(crate) fn for_exec(&self, first: &CStr) -> Vec<*const c_char> {
        [first.as_ptr()].into_iter().chain(pointers(&self.0)).collect()
    }

    /// As much of it as every kernel takes: what the loader and the allocator look at before any
    /// code of ours runs, then the rest in its order as long as there is room.
    pub(crate) fn for_small_exec(&self, first: &CStr) -> Vec<*const c_char> {
        let for_start_up = |entry: &[u8]| STARTS_UP.iter().any(|prefix| entry.starts_with(prefix));
        let (early, late): (Vec<_>, Vec<_>) = self.entries().partition(|entry| for_start_up(entry));
        let mut room = ROOM;
        let mut fits = |entry: &[u8]| {
            let size = entry.len() + 1 + size_of::<*const c_char>();
            let fits = size <= room;
            room -= if fits { size } else { 0 };
            fits
        };
        // Each entry is followed by its NUL in the block.
        let entries = early
            .into_iter()
            .chain(late)
            .filter(|entry| fits(entry))
            .map(|entry| entry.as_ptr().cast());
        [first.as_ptr()].into_iter().chain(entries).chain([ptr::null()]).collect()
    }
}

/// The variables that the loader, the C library and profilers read before `main`.
const STARTS_UP: [&[u8]; 4] = [b"LD_", b"GLIBC_TUNABLES=", b"MALLOC_", b"LLVM_PROFILE_FILE="];

/// Bytes of environment that go through any exec: the kernel grants 128 KiB to arguments and
/// environment together, whatever the limit of the stack is (`execve(2)`).
const ROOM: usize = 96 << 10;

/// Returns the name of an entry; `None` if it has none by which it could be asked for.
fn name(entry: &[u8]) -> Option<&[u8]> {
    let end = entry.iter().position(|byte| *byte == b'=')?;
    (end > 0).then(|| &entry[..end])
}

/// Pointers to the entries of a block, with a null pointer behind them.
fn pointers(block: &[u8]) -> Vec<*const c_char> {
    let entries = block.split_inclusive(|byte| *byte == 0).filter(|entry| entry.last() == Some(&0));
    entries.map(|entry| entry.as_ptr().cast()).chain([ptr::null()]).collect()
}

impl fmt::Debug for Environment {
    /// Returns how many entries it has: what they hold may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} entries)", self.entries().count())
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Environment, D::Error> {
        struct Block;
        impl Visitor<'_> for Block {
            type Value = Environment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a block of environment")
            }

            /// Takes a block whose last entry ends; what an entry holds does not matter.
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Environment, E> {
                if bytes.last().is_some_and(|last| *last != 0) {
                    return Err(E::custom("a block of environment that does not end"));
                }
                Ok(Environment(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Block)
    }
}

/// Takes one variable out of this process's environment.
///
/// # Safety
/// Nobody else may read or write the environment meanwhile.
pub(crate) unsafe fn take(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    // SAFETY: as the caller promises.
    unsafe { std::env::remove_var(name) };
    Some(value.to_string_lossy().into_owned())
}

/// Returns `true` if a variable is set, without allocating: asked before main in every program that
/// links us.
///
/// # Safety
/// Nobody else may write the environment meanwhile.
pub(crate) unsafe fn is_set(name: &CStr) -> bool {
    // SAFETY: as the caller promises.
    !unsafe { libc::getenv(name.as_ptr()) }.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(entries: &[&str]) -> Environment {
        Environment(entries.iter().flat_map(|entry| entry.bytes().chain([0])).collect())
    }

    fn as_strings(pointers: &[*const c_char]) -> Vec<String> {
        let (end, entries) = pointers.split_last().expect("an end");
        assert!(end.is_null());
        // SAFETY: C strings that the caller holds.
        entries
            .iter()
            .map(|entry| unsafe { CStr::from_ptr(*entry) }.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn every_entry_is_kept_in_its_place() {
        let odd = ["A=1", "odd", "", "=x", "=y=z", "A=2", "B="];
        let mut environment = block(&odd);
        assert_eq!(as_strings(&environment.for_exec(c"FIRST=1"))[1..], odd);
        environment.remove(|name| name == "A" || name == "odd" || name.is_empty());
        environment.push("C".as_ref(), "3".as_ref());
        assert_eq!(environment, block(&["odd", "", "=x", "=y=z", "B=", "C=3"]));
        assert_eq!(as_strings(&block(&[]).for_exec(c"FIRST=1")), ["FIRST=1"]);
    }

    #[test]
    fn the_loader_s_variables_come_first_where_there_is_little_room() {
        let big = "BIG=".to_owned() + &"x".repeat(ROOM);
        let half = "HALF=".to_owned() + &"x".repeat(ROOM / 2);
        let environment = block(&["A=1", &big, &half, &half, "LD_LIBRARY_PATH=/x", "B=2"]);
        let small = as_strings(&environment.for_small_exec(c"FIRST=1"));
        assert_eq!(small, ["FIRST=1", "LD_LIBRARY_PATH=/x", "A=1", &half, "B=2"]);
    }

    #[test]
    fn a_block_crosses_whole_or_is_refused() {
        let environment = block(&["A=1", "odd", ""]);
        let bytes = postcard::to_stdvec(&environment).expect("encode");
        assert_eq!(postcard::from_bytes::<Environment>(&bytes), Ok(environment));
        assert!(postcard::from_bytes::<Environment>(&[1, b'x']).is_err());
    }
}
