//! The spawn method: every child executes our file.
//!
//! The job is sent before the child exists: it waits in the socket until the child asks for it. So
//! the only step that waits is the exec, whose failure is known before this returns.

use std::os::fd::{AsFd, BorrowedFd};

use super::boot::Role;
use super::execute::execute;
use super::method::StartMethod;
use super::order::{Launched, Order};
use super::wire;
use crate::error::{Result, os};
use crate::sys::ipc::socket;
use crate::sys::program::environ::Environment;

/// Starts a child.
///
/// # Errors
/// The working directory cannot be opened; the arguments bring more descriptors than the system
/// passes; no descriptor, process or memory is left.
pub(super) fn launch(mut order: Order) -> Result<Launched> {
    let (control, theirs) = socket::pair().map_err(os("cannot open a socket to a new process"))?;
    // The streams, directory and environment are laid before the exec, so that whatever runs before
    // our hook (the loader, other initialisers) sees them.
    let directory = order.open_directory()?;
    let environment = order.environment.take().unwrap_or_else(Environment::now);
    // What does not go through exec, and what initialisers change, is set once more when they are
    // done.
    order.job.environment = Some(environment.clone());
    // Waits in the socket until the child asks for it; it fits, so nothing blocks.
    let fds: Vec<BorrowedFd<'_>> =
        order.lifeline().into_iter().chain(order.arguments.as_fds()).collect();
    wire::send(control.as_fd(), &order.job, &order.arguments.bytes, &fds)
        .map_err(os("cannot hand over the arguments"))?;
    let executed = execute(
        Role::Child,
        &format!("{}: {}", order.job.program, order.job.spec.name),
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
