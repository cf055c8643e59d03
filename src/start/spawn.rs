//! The spawn method: every child executes our file.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::boot::{self, Boot, Role};
use super::method::StartMethod;
use super::order::{Launched, Order, in_populated_namespace};
use super::{lifeline, wire};
use crate::error::{Result, os};
use crate::sys::ipc::socket;
use crate::sys::process::exec::{Exec, Executed};
use crate::sys::program::environ::Environment;
use crate::sys::program::{own_file, title};

/// Starts a child.
pub(super) fn launch(mut order: Order) -> Result<Launched> {
    let (control, theirs) = socket::pair().map_err(os("cannot open a socket to a new process"))?;
    // The streams, directory and environment are laid before the exec, so that whatever runs before our hook (the
    // loader, other initialisers) sees them.
    let directory = order.open_directory()?;
    let environment = order.environment.take().unwrap_or_else(Environment::now);
    // What does not go through exec, and what initialisers change, is set once more when they are done.
    order.job.environment = Some(environment.clone());
    // Waits in the socket until the child asks for it; it fits, so nothing blocks.
    let fds: Vec<BorrowedFd<'_>> = order.lifeline().into_iter().chain(order.arguments.as_fds()).collect();
    wire::send(control.as_fd(), &order.job, &order.arguments.bytes, &fds)
        .map_err(os("cannot hand over the arguments"))?;
    let executed = execute(
        Role::Child,
        &format!("{}: {}", order.job.program, order.job.name),
        &theirs,
        &environment,
        order.streams.as_fds(),
        directory.as_ref().map(AsFd::as_fd),
    )?;
    drop(theirs);
    order.wait_until_untied(control.as_fd());
    Ok(Launched {
        pid: executed.pid,
        control,
        pidfd: Some(executed.pidfd),
        method: StartMethod::Spawn,
        pipes: order.streams.pipes,
    })
}

/// Executes our file in a child with a role.
pub(super) fn execute(
    role: Role,
    title: &str,
    control: &OwnedFd,
    environment: &Environment,
    stdio: [Option<BorrowedFd<'_>>; 3],
    directory: Option<BorrowedFd<'_>>,
) -> Result<Executed> {
    let lifeline = lifeline::current().map_err(os("cannot open the lifeline"))?.reader();
    let own = own_file::own().map_err(os("cannot execute /proc/self/exe again"))?;
    let boot = Boot::new(role, control, lifeline, own.id);
    // The loader takes what stands behind the path for the program's arguments; it gets the path for a title.
    let arguments = match &own.loader {
        Some(loader) => loader.command.clone(),
        None => vec![title::padded(title)],
    };
    let variable = CString::new(format!("{}={boot}", boot::VARIABLE)).unwrap_or_default();
    let exec =
        Exec { arguments, environment, variable: &variable, stdio, directory, keep: &[control.as_fd(), lifeline] };
    in_populated_namespace(|| exec.start().map_err(os("cannot start a process")))
}
