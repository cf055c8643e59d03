//! The environment, as it crosses to a child.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::threads;

/// Name and value of every variable.
pub(crate) type Environment = Vec<(OsString, OsString)>;

/// This process's, now.
pub(crate) fn now() -> Environment {
    std::env::vars_os().collect()
}

/// As execve wants it.
pub(crate) fn for_exec(environment: &Environment) -> Vec<CString> {
    environment
        .iter()
        .filter_map(|(name, value)| {
            let mut entry = Vec::with_capacity(name.len() + value.len() + 1);
            entry.extend_from_slice(name.as_bytes());
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            // Whoever set it checked it for NUL (`Process::env`, `set_var`).
            CString::new(entry).ok()
        })
        .collect()
}

/// As bytes, for a message.
pub(crate) fn to_bytes(environment: Environment) -> Vec<(Vec<u8>, Vec<u8>)> {
    environment.into_iter().map(|(name, value)| (name.into_vec(), value.into_vec())).collect()
}

/// Makes this process's environment what a message says. Refused to a process with other threads.
pub(crate) fn replace(environment: Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<()> {
    if !threads::is_only_one()? {
        return Err(io::Error::other("the environment of a process with several threads cannot be replaced"));
    }
    // SAFETY: one thread, so nobody reads or writes the environment meanwhile.
    unsafe { libc::clearenv() };
    for (name, value) in environment {
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else { continue };
        // Refused for a name that begins with '=', which an environment may hold but nobody can set.
        // SAFETY: as above; two C strings, which are copied.
        unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
    }
    Ok(())
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

/// Whether a variable is set, without allocating: asked before main in every program that links us.
///
/// # Safety
/// Nobody else may write the environment meanwhile.
pub(crate) unsafe fn is_set(name: &CStr) -> bool {
    // SAFETY: as the caller promises.
    !unsafe { libc::getenv(name.as_ptr()) }.is_null()
}
