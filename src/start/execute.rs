//! Executing this program's file in a role: what the spawn method and the start of a fork server
//! have in common.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::boot::{self, Boot, Role};
use super::lifeline;
use super::order::in_populated_namespace;
use crate::error::{Result, os};
use crate::sys::process::exec::{Exec, Executed};
use crate::sys::program::environ::Environment;
use crate::sys::program::{own_file, title};

/// Executes our file in a child with a role. `title` is what `ps` shows.
///
/// It is the file that runs (`/proc/self/exe`), whatever its path leads to by now. The child
/// inherits `control`, the reading end of the lifeline, the three streams (`/dev/null` where none
/// is given) and nothing else.
///
/// # Errors
/// The lifeline or the file cannot be opened; `clone` or `execve` failed, which is known before
/// this returns.
pub(super) fn execute(
    role: Role,
    title: &str,
    control: &OwnedFd,
    environment: &Environment,
    stdio: [Option<BorrowedFd<'_>>; 3],
    directory: Option<BorrowedFd<'_>>,
) -> Result<Executed> {
    let lifeline = lifeline::current().map_err(os("cannot open the lifeline"))?.reader();
    let own = own_file::own().map_err(os("cannot execute the file of this program again"))?;
    let boot = Boot::new(role, control, lifeline, own.id);
    // The loader takes what stands behind the path for the program's arguments; it gets the path
    // for a title.
    // A title of full length, so that the process can set a longer one later.
    let arguments = match &own.loader {
        Some(loader) => loader.command.clone(),
        None => vec![title::padded(title)],
    };
    let variable = CString::new(format!("{}={boot}", boot::VARIABLE)).unwrap_or_default();
    let exec = Exec {
        arguments,
        environment,
        variable: &variable,
        stdio,
        directory,
        keep: &[control.as_fd(), lifeline],
    };
    in_populated_namespace(|| exec.start().map_err(os("cannot start a process")))
}
